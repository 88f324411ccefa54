"""What the engine reads of Git: each revision once, and which files it cannot decrypt."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from pyrage import x25519

from secret_authority.clients.flux_artifact import Artifact, ArtifactError
from secret_authority.clients.kubernetes import Api
from secret_authority.contract.engine_settings import GitPlaces
from secret_authority.core.catalogue.schema import SecretClass
from secret_authority.core.digest import value_digest
from secret_authority.core.errors import InvalidInputError
from secret_authority.core.handover.state_machine import Reason
from secret_authority.engine.handover import git_state
from secret_authority.engine.handover.git_state import GitState, GitStateReader, read_artifact
from secret_authority.repository.bootstrap.encrypted_secrets import ciphertext_mark
from tests.support.fleets import Fleet, new_fleet

FILE = "clusters/dev/bootstrap/orders-db.yaml"
PLACES = GitPlaces("flux-system", "fleet", "secret-authority/dev/catalogue.yaml", ("clusters/dev/bootstrap",))


class Source(Api):
    """A GitRepository at a revision that a test sets."""

    def __init__(self) -> None:
        self.revision = "main@sha1:1"

    def get(self, path: str) -> dict[str, Any] | None:
        assert path == "apis/source.toolkit.fluxcd.io/v1/namespaces/flux-system/gitrepositories/fleet"
        return {"status": {"artifact": {"revision": self.revision, "url": "u", "digest": "d"}}}


class Seen:
    """A view over a repository in a folder, and how often it was fetched."""

    def __init__(self, fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
        self.source, self.fetched, self.identity = Source(), 0, fleet.identity().secret
        self.view = GitStateReader(self.source, PLACES, lambda: self.identity, read_artifact)

        def fetch(_artifact: Artifact, into: Path, _wanted: object) -> None:
            self.fetched += 1
            shutil.copytree(fleet.repository, into, dirs_exist_ok=True)

        monkeypatch.setattr(git_state, "fetch", fetch)

    def look(self) -> GitState:
        return self.view.read(b"k" * 32)


def known(state: GitState) -> set[str]:
    """The secrets whose value in Git is known."""
    return {name for name, value in state.values.items() if value.unknown is None and value.digest is not None}


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return new_fleet(tmp_path)


def test_a_file_that_cannot_be_decrypted_is_named_and_has_no_digest(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Seen(fleet, monkeypatch)
    names = {secret.name for secret in seen.look().catalogue.of_class(SecretClass.BOOTSTRAP)}
    file = fleet.read().file_of("orders-db")
    assert set(seen.look().ciphertexts) == names
    assert seen.look().ciphertexts["orders-db"] == ciphertext_mark(fleet.repository, file)
    assert known(seen.look()) == names and not seen.look().unreadable and seen.fetched == 1
    fleet.edit(FILE, lambda doc: doc["metadata"].update(labels={"a": "b"}))
    seen.source.revision = "main@sha1:2"
    found = seen.look()
    assert known(found) == names - {"orders-db"}
    assert found.value_of("orders-db").unknown is Reason.UNREADABLE and FILE in found.value_of("orders-db").detail
    assert {name: problem.file for name, problem in found.unreadable.items()} == {"orders-db": FILE}


def test_a_new_identity_reads_the_same_revision_again(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen(fleet, monkeypatch)
    right, seen.identity = seen.identity, str(x25519.Identity.generate())
    assert known(seen.look()) == set() and len(seen.look().unreadable) == 13
    seen.identity = right
    assert not seen.look().unreadable and seen.fetched == 2


def test_a_file_that_is_gone_or_lacks_a_key_gives_no_digest(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen(fleet, monkeypatch)
    names = known(seen.look())
    catalogue = PLACES.catalogue
    fleet.edit(catalogue, lambda doc: doc["secrets"][0]["bootstrap"].update(keys=["password", "none", "other"]))
    seen.source.revision = "main@sha1:2"
    found = seen.look().value_of("orders-db")
    assert (found.digest, found.unknown, found.detail) == (None, Reason.KEYS_NOT_IN_GIT, f"{FILE}: none, other")
    (fleet.repository / FILE).unlink()
    seen.source.revision = "main@sha1:3"
    found = seen.look().value_of("orders-db")
    assert (found.digest, found.unknown, found.detail) == (None, Reason.NOT_IN_GIT, "revision main@sha1:3")
    assert known(seen.look()) == names - {"orders-db"}


def test_while_the_source_is_away_the_value_of_git_is_unknown(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen(fleet, monkeypatch)
    before = seen.look().value_of("orders-db")

    def fetch(_artifact: Artifact, _into: Path, _wanted: object) -> None:
        raise ArtifactError("the artifact cannot be fetched")

    monkeypatch.setattr(git_state, "fetch", fetch)
    seen.source.revision = "main@sha1:2"
    state = seen.look()
    found = state.value_of("orders-db")
    assert (state.revision, found.digest, found.unknown) == ("main@sha1:1", before.digest, Reason.GIT_AWAY)
    assert "cannot be fetched" in found.detail
    seen.source.revision = "main@sha1:1"
    assert seen.look().value_of("orders-db") == before


@pytest.mark.parametrize("text", ["", "---\na: 1\n---\nb: 2\n"])
def test_a_catalogue_that_is_not_one_document_is_named(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    (fleet.repository / PLACES.catalogue).write_text(text)
    with pytest.raises(InvalidInputError, match=r"secret-authority/dev/catalogue.yaml: has \d documents"):
        Seen(fleet, monkeypatch).look()


@pytest.mark.parametrize("value", ["S3cr3tPlainText", "1234", "yes"])
def test_a_file_that_flux_cannot_apply_concerns_its_own_secret_only(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """Plain text or a number under `data` is a condition of that secret; every other one is read."""
    seen = Seen(fleet, monkeypatch)
    names = known(seen.look())
    fleet.add_entry("bad", "password")
    head = "apiVersion: v1\nkind: Secret\nmetadata: {name: bad, namespace: bootstrap-data}\n"
    fleet.encrypt("clusters/dev/bootstrap/bad.yaml", head + f"data: {{password: {value}}}")
    seen.source.revision = "main@sha1:2"
    found = seen.look()
    assert known(found) == names and set(found.unreadable) == {"bad"}
    assert found.value_of("bad").unknown is Reason.UNREADABLE
    assert "bootstrap/bad.yaml: data.password" in str(found.unreadable["bad"])
    assert "S3cr3tPlainText" not in str(found.unreadable["bad"])


def test_each_document_of_a_file_has_a_digest_of_its_own(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    texts, wanted = [], {"one": "first", "two": "second", "three": "first"}
    for name, value in wanted.items():
        fleet.add_entry(name, "password")
        head = f"apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: bootstrap-data}}\n"
        texts.append(f"{head}stringData: {{password: {value}}}\n")
    fleet.encrypt("clusters/dev/bootstrap/many.yaml", "---\n".join(texts))
    found = Seen(fleet, monkeypatch).look()
    for name, value in wanted.items():
        digest = value_digest(b"k" * 32, name, f"platform-data/{name}/team", {"password": value.encode()})
        assert found.value_of(name).digest == digest


def test_while_a_file_cannot_be_read_a_secret_without_a_file_is_unknown(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Seen(fleet, monkeypatch)
    (fleet.repository / FILE).write_text("metadata: {name: x\nCANARY: [")
    found = seen.look()
    assert set(found.unreadable) == {"orders-db"} and len(known(found)) == 12
    assert FILE in str(found.unreadable["orders-db"]) and "CANARY" not in str(found.unreadable)


@pytest.mark.parametrize("text", ["- a\n", "a: [", "a: 1\na: 2\n"])
def test_a_catalogue_that_is_no_catalogue_is_an_error_with_a_name(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    (fleet.repository / PLACES.catalogue).write_text(text)
    with pytest.raises(InvalidInputError, match=PLACES.catalogue):
        Seen(fleet, monkeypatch).look()


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lambda entry: entry.update(ownr="x"), "ownr"),
        (lambda entry: entry.update(vault="a text"), "vault"),
        (lambda entry: entry.pop("rotation"), "rotation"),
    ],
)
def test_a_wrong_entry_of_the_catalogue_stops_itself_only(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, change: Any, wrong: str
) -> None:
    seen = Seen(fleet, monkeypatch)
    names = known(seen.look())
    fleet.edit(PLACES.catalogue, lambda doc: change(doc["secrets"][0]))
    seen.source.revision = "main@sha1:2"
    found = seen.look()
    assert known(found) == names - {"orders-db"} and "orders-db" not in [secret.name for secret in found.catalogue]
    assert found.unreadable["orders-db"].file == PLACES.catalogue and wrong in str(found.unreadable["orders-db"])


def test_what_concerns_more_than_one_entry_stops_all(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    def named_twice(doc: Any) -> None:
        doc["secrets"].append(dict(doc["secrets"][0]))

    for change in (
        named_twice,
        lambda doc: doc["secrets"][0].pop("name"),
        lambda doc: doc["secrets"].append("a text"),
        lambda doc: doc["secrets"][1].update(bootstrap=doc["secrets"][0]["bootstrap"]),
        lambda doc: doc["secrets"][0]["consumers"][0].update(namespace="vault"),
        lambda doc: doc.update(kind="Other"),
    ):
        before = (fleet.repository / PLACES.catalogue).read_text()
        fleet.edit(PLACES.catalogue, change)
        with pytest.raises(InvalidInputError):
            Seen(fleet, monkeypatch).look()
        (fleet.repository / PLACES.catalogue).write_text(before)
