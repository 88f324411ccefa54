"""Root and cluster identities: made offline, sealed to the root, never where they do not belong."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path
from typing import Any

import pyrage
import pytest
import yaml
from pyrage import x25519

from cli.main import main
from secret_authority.clients.age import Identity, count_recipients, open_sealed, read_identity, seal, write_identity
from secret_authority.clients.sops import sops_program
from secret_authority.core.errors import InvalidInputError
from secret_authority.repository.trust.root_of_trust import read_trust
from secret_authority.repository.trust.writer import reseal_cluster
from tests.support.fleets import Fleet, new_fleet


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return new_fleet(tmp_path)


def test_a_sealed_identity_opens_with_each_root_identity_and_no_other(tmp_path: Path) -> None:
    cluster, alice, bob = Identity.generate(), Identity.generate(), Identity.generate()
    file = tmp_path / "identity.age"
    file.write_bytes(seal(cluster, [alice.recipient, bob.recipient]))
    assert cluster.secret not in file.read_text()
    assert open_sealed(file, "identity.age", alice) == cluster
    assert open_sealed(file, "identity.age", bob) == cluster
    with pytest.raises(InvalidInputError, match="cannot be opened by the given root identity"):
        open_sealed(file, "identity.age", Identity.generate())


def test_an_identity_never_shows_its_secret() -> None:
    identity = Identity.generate()
    assert identity.secret not in repr(identity)
    assert identity.recipient in repr(identity)


def test_an_identity_file_is_private_and_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "root.age"
    identity = Identity.generate()
    write_identity(identity, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_identity(file) == identity
    with pytest.raises(InvalidInputError, match="none is overwritten"):
        write_identity(Identity.generate(), file)
    assert read_identity(file) == identity


def test_an_identity_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "root.age"
    write_identity(Identity.generate(), file)
    file.chmod(0o644)
    with pytest.raises(InvalidInputError, match="chmod 600"):
        read_identity(file)


def test_a_root_identity_is_not_written_into_a_repository(fleet: Fleet) -> None:
    with pytest.raises(InvalidInputError, match="inside a Git work tree"):
        write_identity(Identity.generate(), fleet.repository / "root.age")
    assert not (fleet.repository / "root.age").exists()


@pytest.mark.parametrize("text", ["", "AGE-SECRET-KEY-1NONSENSE\n", "one\ntwo\n"])
def test_what_is_no_identity_file(text: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        Identity.parse(text, "root.age")
    assert "NONSENSE" not in str(caught.value)


def test_a_repository_from_nothing_with_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repository = tmp_path / "fleet"
    repository.mkdir()
    for holder in ("alice", "bob"):
        file = tmp_path / f"{holder}.age"
        assert main(["root", "new", "--out", str(file), "--holder", holder, "--repository", str(repository)]) == 0
    assert "Custody checklist for bob" in capsys.readouterr().out
    assert main(["cluster", "new", "prod", "--repository", str(repository)]) == 0
    recipient = capsys.readouterr().out.strip()
    trust = read_trust(repository)
    assert {root.holder for root in trust.root} == {"alice", "bob"}
    assert trust.cluster("prod").recipient == recipient
    sealed = repository / trust.cluster("prod").identity
    assert open_sealed(sealed, "identity.age", read_identity(tmp_path / "alice.age")).recipient == recipient
    assert recipient in (repository / ".sops.yaml").read_text()
    assert main(["cluster", "new", "prod", "--repository", str(repository)]) == 2
    assert "has prod already" in capsys.readouterr().err


def test_a_second_cluster_keeps_what_people_wrote(fleet: Fleet) -> None:
    file = fleet.repository / "root-of-trust.yaml"
    file.write_text(file.read_text().replace("clusters:\n", "# our clusters\nclusters:\n"))
    assert main(["cluster", "new", "prod", "--repository", str(fleet.repository)]) == 0
    assert "# our clusters" in file.read_text()
    assert [cluster.name for cluster in read_trust(fleet.repository).clusters] == ["prod", "dev"]
    assert fleet.problems() == []


@pytest.mark.parametrize("empty", ["clusters:", "clusters: []", "clusters: null", "retired:"])
def test_a_list_left_empty_is_an_empty_list(tmp_path: Path, empty: str) -> None:
    root = f"root:\n  - {{holder: alice, recipient: {Identity.generate().recipient}}}\n"
    text = f"apiVersion: secret-authority.dev/v1\nkind: RootOfTrust\n{root}{empty}\n"
    (tmp_path / "root-of-trust.yaml").write_text(text)
    trust = read_trust(tmp_path)
    assert (trust.clusters, trust.retired) == ((), ())
    assert main(["cluster", "new", "prod", "--repository", str(tmp_path)]) == 0
    assert [cluster.name for cluster in read_trust(tmp_path).clusters] == ["prod"]
    assert (tmp_path / "root-of-trust.yaml").read_text().count("clusters:") == 1


@pytest.mark.parametrize("rewritten", [False, True], ids=["as written", "rewritten by another tool"])
def test_a_new_identity_replaces_the_rule_of_the_old(fleet: Fleet, rewritten: bool) -> None:
    old = fleet.read().trust.cluster("dev").recipient
    rules, repository = fleet.repository / ".sops.yaml", str(fleet.repository)
    assert main(["cluster", "new", "prod", "--repository", repository]) == 0
    rules.write_text(rules.read_text().replace("creation_rules:\n", "# ours\ncreation_rules:\n"))
    if rewritten:
        fleet.edit(".sops.yaml", lambda doc: None)
    before = yaml.safe_load(rules.read_text())["creation_rules"]
    fleet.edit("root-of-trust.yaml", lambda doc: doc.update(clusters=None))
    assert main(["cluster", "new", "dev", "--repository", repository]) == 0
    after = yaml.safe_load(rules.read_text())["creation_rules"]
    assert [rule["path_regex"] for rule in after] == [rule["path_regex"] for rule in before]
    assert after[0] == before[0], "the rule of prod is left alone"
    assert old not in rules.read_text()
    assert set(after[1]["age"].split(",")) == read_trust(fleet.repository).wanted("dev")
    assert rewritten or "# ours" in rules.read_text()


def test_the_recipients_of_a_sealed_file_are_counted(tmp_path: Path) -> None:
    file, recipients = tmp_path / "identity.age", [Identity.generate().recipient for _ in range(3)]
    assert count_recipients(file) is None
    for number in (1, 2, 3):
        file.write_bytes(seal(Identity.generate(), recipients[:number]))
        assert count_recipients(file) == number
    parsed = [x25519.Recipient.from_str(recipient) for recipient in recipients]
    file.write_bytes(pyrage.encrypt(b"value", parsed))
    assert count_recipients(file) == 3
    for text in (b"", b"age-encryption.org/v1\n", b"-----BEGIN AGE ENCRYPTED FILE-----\n"):
        file.write_bytes(text)
        assert count_recipients(file) is None


def test_a_holder_who_is_added_or_gone_shows_in_the_check(fleet: Fleet) -> None:
    sealed, bob = "clusters/dev/identity.age", Identity.generate().recipient
    fleet.edit("root-of-trust.yaml", lambda doc: doc["root"].append({"holder": "bob", "recipient": bob}))
    assert [problem for problem in fleet.problems() if problem.startswith(sealed)] == [
        f"{sealed}: is sealed to 1 of 2 root recipients. Fix: "
        "run `secret-authority cluster reseal dev --root-identity FILE`."
    ]
    reseal_cluster(fleet.repository, "dev", fleet.root(), [bob])
    assert not any(sealed in problem for problem in fleet.problems())
    fleet.edit("root-of-trust.yaml", lambda doc: doc["root"].pop())
    (gone, not_named) = fleet.problems()
    assert gone.startswith(f"{sealed}: is sealed to 2 recipients, but root-of-trust.yaml names 1 in root")
    assert "Fix: run `secret-authority cluster new dev`, see docs/runbooks/retire-a-recipient.md" in gone
    assert not_named.startswith(f"root-of-trust.yaml: root: does not name {bob} any more, who was admitted to cluster")


@pytest.mark.parametrize("successor", [False, True])
def test_a_retired_holder_means_a_new_identity_and_not_a_new_seal(fleet: Fleet, successor: bool) -> None:
    bob, carol = Identity.generate(), Identity.generate()
    fleet.edit("root-of-trust.yaml", lambda doc: doc["root"].append({"holder": "bob", "recipient": bob.recipient}))
    reseal_cluster(fleet.repository, "dev", fleet.root(), [bob.recipient])
    sealed = fleet.repository / "clusters/dev/identity.age"
    before = sealed.read_bytes()

    def retire(doc: Any) -> None:
        doc["root"].pop()
        doc["retired"] = [{"recipient": bob.recipient, "retired": "2026-01-31", "reason": "left"}]
        if successor:
            doc["root"].append({"holder": "carol", "recipient": carol.recipient})

    fleet.edit("root-of-trust.yaml", retire)
    with pytest.raises(InvalidInputError, match="for a retired holder run `secret-authority cluster new dev`"):
        reseal_cluster(fleet.repository, "dev", fleet.root())
    assert sealed.read_bytes() == before


def test_a_retired_holder_by_the_runbook(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/root-of-trust.md, "Add a holder", then docs/runbooks/retire-a-recipient.md, with the real sops."""
    monkeypatch.setenv("SOPS_AGE_KEY_FILE", str(fleet.root_file))
    files, bob = sorted(fleet.bootstrap.glob("*.yaml")), Identity.generate()
    sealed = fleet.repository / "clusters/dev/identity.age"

    def sops(*verb: str) -> None:
        for file in files:
            subprocess.run([sops_program(), *verb, str(file)], cwd=fleet.repository, check=True, capture_output=True)

    repository = ["--repository", str(fleet.repository)]
    assert main(["root", "add", "--holder", "bob", "--recipient", bob.recipient, *repository]) == 0
    key = ["--root-identity", str(fleet.root_file)]
    assert main(["cluster", "reseal", "dev", *repository, *key, "--admit", bob.recipient]) == 0
    sops("updatekeys", "--yes")
    assert fleet.problems() == []
    kept = open_sealed(sealed, "identity.age", bob)

    def retire(doc: Any) -> None:
        gone = (doc["root"].pop(), doc["clusters"].pop())
        doc["retired"] = [{"recipient": e["recipient"], "retired": "2026-01-31", "reason": "left"} for e in gone]

    fleet.edit("root-of-trust.yaml", retire)
    assert main(["cluster", "new", "dev", "--repository", str(fleet.repository)]) == 0
    said = fleet.problems()
    assert all(any(file.name in problem and "retired recipient" in problem for problem in said) for file in files)
    sops("updatekeys", "--yes")
    sops("rotate", "--in-place")
    assert fleet.problems() == []
    for identity in (bob, kept):
        with pytest.raises(InvalidInputError, match="cannot be opened"):
            open_sealed(sealed, "identity.age", identity)
        monkeypatch.setenv("SOPS_AGE_KEY", identity.secret)
        monkeypatch.delenv("SOPS_AGE_KEY_FILE", raising=False)
        with pytest.raises(subprocess.CalledProcessError):
            sops("decrypt")


@pytest.mark.parametrize("left", [0, 1, 2])
def test_a_retirement_that_stops_half_way_is_refused_until_no_file_is_left(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, left: int
) -> None:
    """Step 1 is done and step 3 for some files: each of the others is named, and no other."""
    monkeypatch.setenv("SOPS_AGE_KEY_FILE", str(fleet.root_file))
    files = sorted(fleet.bootstrap.glob("*.yaml"))

    def retire(doc: Any) -> None:
        gone = doc["clusters"].pop()
        doc["retired"] = [{"recipient": gone["recipient"], "retired": "2026-01-31", "reason": "leaked"}]

    fleet.edit("root-of-trust.yaml", retire)
    # Before there is a new identity: nothing of the cluster can be applied.
    with pytest.raises(InvalidInputError, match="has no cluster dev"):
        fleet.read()
    assert main(["cluster", "new", "dev", "--repository", str(fleet.repository)]) == 0
    for file in files[left:]:
        command = [sops_program(), "updatekeys", "--yes", str(file)]
        subprocess.run(command, cwd=fleet.repository, check=True, capture_output=True)
    named = [problem for problem in fleet.problems() if "retired recipient" in problem]
    assert {file.name for file in files if any(file.name in problem for problem in named)} == {
        file.name for file in files[:left]
    }
    assert bool(fleet.problems()) is (left > 0)


def test_a_resealed_identity_opens_for_a_new_holder(
    fleet: Fleet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new, repository = tmp_path / "bob.age", str(fleet.repository)
    assert main(["root", "new", "--out", str(new), "--holder", "bob", "--repository", repository]) == 0
    before = fleet.identity()
    reseal = ["cluster", "reseal", "dev", "--repository", repository, "--root-identity"]
    assert main([*reseal, str(new)]) == 2, "bob cannot open what is not sealed to bob yet"
    said = capsys.readouterr().err
    assert "Fix: a holder to whom it is sealed runs `secret-authority cluster reseal dev --root-identity FILE`" in said
    assert main([*reseal, str(fleet.root_file), "--admit", read_identity(new).recipient]) == 0
    assert open_sealed(fleet.repository / "clusters/dev/identity.age", "identity.age", read_identity(new)) == before


def test_check_says_how_deep_it_looked(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["check", "--repository", str(fleet.repository), "--cluster", "dev"]
    assert main(where) == 0
    assert "headers only" in capsys.readouterr().out
    assert main([*where, "--root-identity", str(fleet.root_file)]) == 0
    assert "every MAC fits" in capsys.readouterr().out
    assert main(["check", "--repository", str(fleet.repository), "--cluster", "prod"]) == 2
    assert "has no cluster prod" in capsys.readouterr().err
