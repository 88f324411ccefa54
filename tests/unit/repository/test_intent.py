"""What a person can get wrong in Git is found before the first change, with file, field and fix."""

from __future__ import annotations

import secrets
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyrage
import pytest
import yaml
from pyrage import x25519

from examples.make_fleet import git, write_encrypted
from secret_authority.clients.age import Identity
from secret_authority.core.errors import InvalidInputError
from tests.support.fleets import CLUSTER, Fleet, new_fleet

CATALOGUE = f"secret-authority/{CLUSTER}/catalogue.yaml"
ORDERS = f"clusters/{CLUSTER}/bootstrap/orders-db.yaml"


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return new_fleet(tmp_path)


def only(fleet: Fleet, *wanted: str) -> None:
    """There is exactly one problem, and it says all of `wanted`."""
    problems = fleet.problems()
    assert len(problems) == 1, problems
    for part in wanted:
        assert part in problems[0]


def test_the_example_has_no_problem(fleet: Fleet) -> None:
    assert fleet.problems() == []
    intent = fleet.read()
    assert len(intent.encrypted) == 13
    assert len({secret.namespace for secret in intent.encrypted}) == 3


def test_git_facts_name_file_and_commit_time(fleet: Fleet) -> None:
    facts = fleet.read().git_facts()
    stamp = int(git(fleet.repository, "log", "-1", "--format=%ct").strip())
    assert facts["orders-db"].file == ORDERS
    assert facts["orders-db"].added is not None
    assert facts["orders-db"].added.timestamp() == stamp


def test_the_last_commit_that_added_a_file_counts(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fleet.read().git_facts()
    text = (fleet.repository / ORDERS).read_bytes()
    (fleet.repository / ORDERS).unlink()
    git(fleet.repository, "commit", "-qam", "away")
    (fleet.repository / ORDERS).write_bytes(text)
    git(fleet.repository, "add", ".")
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2031-01-01T00:00:00Z")
    git(fleet.repository, "commit", "-qm", "again")
    found = fleet.read().git_facts()
    assert found["orders-db"].added == datetime(2031, 1, 1, tzinfo=UTC)
    assert {name: fact for name, fact in found.items() if name != "orders-db"} == {
        name: fact for name, fact in before.items() if name != "orders-db"
    }
    # A checkout within another repository: names are those of the checkout. One that no commit has is without a time.
    shutil.move(fleet.repository / ".git", fleet.repository.parent / ".git")
    assert not any(fact.added for fact in fleet.read().git_facts().values())
    git(fleet.repository.parent, "add", ".")
    git(fleet.repository.parent, "commit", "-qm", "moved")
    assert all(fact.added for fact in fleet.read().git_facts().values())


def test_a_renamed_secret_breaks_the_mac(fleet: Fleet) -> None:
    fleet.edit(ORDERS, lambda doc: doc["metadata"].update(labels={"owner": "mallory"}))
    only(fleet, ORDERS, "MAC does not fit", "restore the file")


def test_tampered_ciphertext_is_found_without_a_key_or_with_one(fleet: Fleet) -> None:
    def flip(doc: Any) -> None:
        value = doc["data"]["password"]
        at = value.index("data:") + 5
        doc["data"]["password"] = value[:at] + ("A" if value[at] != "A" else "B") + value[at + 1 :]

    fleet.edit(ORDERS, flip)
    only(fleet, ORDERS, "ciphertext is damaged")


def test_a_secret_in_the_clear(fleet: Fleet) -> None:
    manifest = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "oops", "namespace": "bootstrap-data"},
        "stringData": {"password": "CANARY-in-the-clear"},
    }
    (fleet.bootstrap / "oops.yaml").write_text(yaml.safe_dump(manifest))
    only(fleet, "bootstrap/oops.yaml", "is a Secret in the clear", "sops encrypt")
    assert "CANARY" not in str(fleet.problems())


def test_one_value_in_the_clear_inside_an_encrypted_file(fleet: Fleet) -> None:
    fleet.edit(ORDERS, lambda doc: doc["data"].update(username="Q0FOQVJZ"))
    only(fleet, ORDERS, "data.username", "in the clear in an encrypted file")
    assert "Q0FOQVJZ" not in str(fleet.problems())


def test_a_mac_over_ciphertext_only_is_refused(fleet: Fleet) -> None:
    fleet.edit(ORDERS, lambda doc: doc["sops"].update(mac_only_encrypted=True))
    assert any("without a MAC" in problem for problem in fleet.problems())


def test_a_missing_recipient(fleet: Fleet) -> None:
    fleet.edit(ORDERS, lambda doc: doc["sops"].update(age=doc["sops"]["age"][:1]))
    only(fleet, ORDERS, "not readable by cluster dev", "sops updatekeys")


def data_key_for(recipient: str) -> str:
    """A data key as sops seals it, which only its recipient could tell from the real one."""
    sealed: bytes = pyrage.encrypt(secrets.token_bytes(32), [x25519.Recipient.from_str(recipient)], armored=True)
    return sealed.decode()


def test_an_unknown_recipient(fleet: Fleet) -> None:
    stranger = Identity.generate().recipient
    entry = {"recipient": stranger, "enc": data_key_for(stranger)}
    fleet.edit(ORDERS, lambda doc: doc["sops"]["age"].append(entry))
    only(fleet, ORDERS, stranger, "does not name")


def test_a_retired_recipient(fleet: Fleet) -> None:
    old = Identity.generate().recipient
    entry = {"recipient": old, "enc": data_key_for(old)}
    fleet.edit(ORDERS, lambda doc: doc["sops"]["age"].append(entry))
    retired = [{"recipient": old, "retired": "2026-01-31", "reason": "left"}]
    fleet.edit("root-of-trust.yaml", lambda doc: doc.update(retired=retired))
    only(fleet, ORDERS, "retired recipient", "sops rotate", "new value")


def test_a_recipient_that_is_used_and_retired(fleet: Fleet) -> None:
    def retire(doc: Any) -> None:
        doc["retired"] = [{"recipient": doc["root"][0]["recipient"], "retired": "2026-01-31", "reason": "left"}]

    fleet.edit("root-of-trust.yaml", retire)
    only(fleet, "root-of-trust.yaml", "also in use")


def test_another_kind_of_key_beside_the_root_of_trust(fleet: Fleet) -> None:
    fleet.edit(ORDERS, lambda doc: doc["sops"].update(pgp=[{"fp": "0123"}]))
    assert any("also be opened through pgp" in problem for problem in fleet.problems())


def test_an_entry_without_a_file(fleet: Fleet) -> None:
    (fleet.repository / ORDERS).unlink()
    only(fleet, CATALOGUE, "secrets[orders-db]", "no encrypted file", "bootstrap-data/orders-db")


def test_a_file_without_an_entry(fleet: Fleet) -> None:
    fleet.edit(CATALOGUE, lambda doc: doc["secrets"].pop(0))
    only(fleet, ORDERS, "not in the catalogue", "add an entry")


def test_keys_that_differ(fleet: Fleet) -> None:
    fleet.edit(CATALOGUE, lambda doc: doc["secrets"][0]["bootstrap"].update(keys=["password"]))
    only(fleet, ORDERS, "username", "not in the catalogue")
    fleet.edit(CATALOGUE, lambda doc: doc["secrets"][0]["bootstrap"].update(keys=["password", "username", "port"]))
    only(fleet, CATALOGUE, "has no port")


def test_a_field_of_the_catalogue_that_is_there_twice(fleet: Fleet) -> None:
    path = fleet.repository / CATALOGUE
    line = "    vault: {datasource: postgres, consumer: orders}\n"
    assert path.read_text().count(line) == 1
    path.write_text(path.read_text().replace(line, line + line.replace("orders", "elsewhere")))
    only(fleet, CATALOGUE, "line ", "a key is there twice", "remove one of them")


def test_a_catalogue_behind_a_link(fleet: Fleet, tmp_path: Path) -> None:
    path = fleet.repository / CATALOGUE
    path.rename(tmp_path / "elsewhere.yaml")
    path.symlink_to(tmp_path / "elsewhere.yaml")
    only(fleet, CATALOGUE, "is reached through a symbolic link", "put the file itself here")


def test_a_consumer_of_a_key_that_does_not_exist(fleet: Fleet) -> None:
    consumer = {"namespace": "shop", "secret": "orders-db", "keys": {"DB_PASSWORD": "passwrd"}}
    fleet.edit(CATALOGUE, lambda doc: doc["secrets"][0].update(consumers=[consumer]))
    only(fleet, CATALOGUE, "secrets[orders-db].consumers: read passwrd", "use one of username, password")


def test_two_files_over_one_secret(fleet: Fleet) -> None:
    shutil.copy(fleet.repository / ORDERS, fleet.bootstrap / "copy.yaml")
    only(fleet, "two authorities", "bootstrap/copy.yaml", "bootstrap/orders-db.yaml", "orders-db")


def test_a_consumer_over_a_bootstrap_secret(fleet: Fleet) -> None:
    consumer = {"namespace": "bootstrap-data", "secret": "orders-db", "keys": {"a": "password"}}
    fleet.edit(CATALOGUE, lambda doc: doc["secrets"][0].update(consumers=[consumer]))
    only(fleet, "two authorities", "ExternalSecret bootstrap-data/orders-db", "orders-db.yaml")


def test_two_secrets_on_one_vault_path(fleet: Fleet) -> None:
    fleet.edit(CATALOGUE, lambda doc: doc["secrets"][1].update(vault=doc["secrets"][0]["vault"]))
    assert any("two authorities over Vault platform-data/postgres/orders" in p for p in fleet.problems())


def test_two_entries_over_one_key_of_a_bootstrap_secret(fleet: Fleet) -> None:
    """The first handover would empty what the second needs."""

    def twin(doc: Any) -> None:
        entry = next(entry for entry in doc["secrets"] if entry["name"] == "orders-db")
        vault = {**entry["vault"], "consumer": "twin"}
        doc["secrets"].append({**entry, "name": "orders-db-twin", "vault": vault, "consumers": []})

    fleet.edit(CATALOGUE, twin)
    only(fleet, CATALOGUE, "secrets[orders-db-twin].bootstrap.secret", "bootstrap Secret of orders-db already")


def test_a_secret_outside_the_allowed_namespaces(fleet: Fleet) -> None:
    fleet.edit(CATALOGUE, lambda doc: doc.update(bootstrapNamespaces=["bootstrap-messaging", "bootstrap-edge"]))
    problems = fleet.problems()
    assert len(problems) == 6
    assert all("not one of bootstrapNamespaces" in problem for problem in problems)


def test_yaml_that_does_not_parse_names_the_line_and_quotes_nothing(fleet: Fleet) -> None:
    (fleet.repository / ORDERS).write_text("metadata: {name: x\nCANARY: [")
    problems = fleet.problems()
    assert any(problem.startswith(f"{ORDERS}: line") for problem in problems)
    assert "CANARY" not in str(problems)


def test_rules_for_new_files_must_name_the_present_recipients(fleet: Fleet) -> None:
    fleet.edit(".sops.yaml", lambda doc: doc["creation_rules"][0].update(age=Identity.generate().recipient))
    only(fleet, ".sops.yaml", "creation_rules[0].age", "does not name the recipients")


def test_the_wrong_root_identity(fleet: Fleet, tmp_path: Path) -> None:
    fleet.root_file.write_text(Identity.generate().as_file())
    only(fleet, "identity.age", "cannot be opened by the given root identity")


def test_an_identity_of_another_cluster(fleet: Fleet) -> None:
    other = Identity.generate().recipient
    files = sorted(fleet.bootstrap.glob("*.yaml"))
    old = fleet.read().trust.cluster(CLUSTER).recipient
    for path in [*files, fleet.repository / "root-of-trust.yaml", fleet.repository / ".sops.yaml"]:
        path.write_text(path.read_text().replace(old, other))
    only(fleet, "identity.age", "holds the identity of", other)


def test_a_second_secret_through_the_tools_is_well(fleet: Fleet) -> None:
    entry = {
        "name": "extra",
        "class": "bootstrap",
        "owner": "team",
        "bootstrap": {"namespace": "bootstrap-data", "secret": "extra", "keys": ["token"]},
        "vault": {"datasource": "extra", "consumer": "team"},
        "rotation": {"type": "static"},
    }
    fleet.edit(CATALOGUE, lambda doc: doc["secrets"].append(entry))
    manifest = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "extra", "namespace": "bootstrap-data"},
        "stringData": {"token": "CANARY"},
    }
    path = write_encrypted(fleet.repository, CLUSTER, "extra", manifest)
    assert fleet.problems() == []
    assert "CANARY" not in path.read_text()


def change_entry(fleet: Fleet, name: str, **fields: Any) -> None:
    def change(document: Any) -> None:
        next(entry for entry in document["secrets"] if entry["name"] == name).update(fields)

    fleet.edit(CATALOGUE, change)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a field that is none": ({"vault": {"datasource": "a/b", "consumer": "team"}}, "vault.datasource"),
    "a key that its file lacks": (
        {"bootstrap": {"namespace": "bootstrap-data", "secret": "orders-db", "keys": ["username", "password", "more"]}},
        "bootstrap.keys",
    ),
    "a consumer of a key that it lacks": (
        {"consumers": [{"namespace": "shop", "secret": "orders-db", "keys": {"DB_USER": "usrname"}}]},
        "consumers",
    ),
}


@pytest.mark.parametrize(("fields", "where"), WRONG.values(), ids=WRONG)
def test_an_entry_that_is_wrong_by_itself_may_be_left_out(fleet: Fleet, fields: dict[str, Any], where: str) -> None:
    whole = fleet.read(leave_out=True)
    assert not whole.left_out
    change_entry(fleet, "orders-db", **fields)
    only(fleet, CATALOGUE, f"secrets[orders-db].{where}")
    intent = fleet.read(leave_out=True)
    assert list(intent.left_out) == ["orders-db"] and where in intent.left_out["orders-db"].field
    assert list(intent.catalogue) == [entry for entry in whole.catalogue if entry.name != "orders-db"]
    # Its file is read all the same: who may open it is checked.
    assert [secret.file for secret in intent.encrypted] == [secret.file for secret in whole.encrypted]
    fleet.edit(ORDERS, lambda doc: doc["sops"]["age"].pop())
    with pytest.raises(InvalidInputError, match=r"orders-db\.yaml"):
        fleet.read(leave_out=True)


def test_an_entry_without_a_file_may_be_left_out(fleet: Fleet) -> None:
    (fleet.repository / ORDERS).unlink()
    assert list(fleet.read(leave_out=True).left_out) == ["orders-db"]


def test_where_authority_is_at_stake_nothing_is_left_out(fleet: Fleet) -> None:
    """A file of no entry, an entry whose Secret nobody knows, and two entries over one Secret stop everything."""
    change_entry(fleet, "orders-db", bootstrap={"namespace": "bootstrap-data"})
    with pytest.raises(InvalidInputError, match="orders-db is not in the catalogue"):
        fleet.read(leave_out=True)
    change_entry(
        fleet,
        "orders-db",
        bootstrap={"namespace": "bootstrap-data", "secret": "orders-db", "keys": ["username", "password"]},
        vault={"datasource": "postgres", "consumer": "billing"},
    )
    with pytest.raises(InvalidInputError, match="two authorities"):
        fleet.read(leave_out=True)
