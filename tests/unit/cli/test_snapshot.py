"""`snapshot now|list|verify`: what they refuse before anything is written, and what they print."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli.commands import snapshot as command
from cli.main import main
from cli.saved_snapshots import bundles, standby_of
from secret_authority.access import cluster_state
from secret_authority.access.cluster_state import UNREACHABLE, ClusterState
from secret_authority.access.snapshot_store import read_credentials
from secret_authority.clients.object_store.folder import MARKER, FolderStore
from secret_authority.core.conditions import Condition
from secret_authority.core.errors import InvalidInputError
from secret_authority.core.recipients import TrustRecord
from secret_authority.core.snapshots.naming import PARTS, VERIFIED, BundleName
from secret_authority.core.snapshots.verification import Report, Verification, Verifications
from tests.support.fleets import Fleet, new_fleet

SETTINGS = "apiVersion: secret-authority.dev/v1\nkind: Snapshots\nstore:\n"
S3 = SETTINGS + "  s3: {endpoint: 'https://store.example', bucket: b}\n"
FILE = "secret-authority/dev/snapshots.yaml"


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return new_fleet(tmp_path)


@pytest.fixture
def store(fleet: Fleet, tmp_path: Path) -> FolderStore:
    folder = tmp_path / "store"
    folder.mkdir()
    (folder / MARKER).touch()
    (fleet.repository / FILE).write_text(f"{SETTINGS}  folder: {folder}\n")
    return FolderStore(folder)


def run(fleet: Fleet, verb: str, *more: str) -> int:
    return main(["snapshot", verb, "--cluster", "dev", "--repository", str(fleet.repository), *more])


def put(store: FolderStore, hours_ago: float, tag: str = "00000000") -> BundleName:
    name = BundleName("dev", datetime.now(UTC) - timedelta(hours=hours_ago), 1, tag)
    for part in PARTS:
        store.put_new(name.part(part), b"x")
    return name


def test_without_settings_every_verb_says_what_to_write(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    for verb, more in (("now", []), ("list", []), ("verify", ["--root-identity", str(fleet.root_file)])):
        assert run(fleet, verb, *more) == 2
        assert f"{FILE}: does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not one YAML mapping"),
        ("[]", "is not one YAML mapping"),
        (f"{SETTINGS}  {{}}\n", "names not exactly one"),
        (f"{SETTINGS}  folder: /mnt/a\n  s3: {{endpoint: 'https://a', bucket: b}}\n", "names not exactly one"),
        (f"{SETTINGS}  folder: here\n", "store.folder: is not an absolute path"),
        (f"{SETTINGS}  s3: {{endpoint: 'http://a', bucket: b}}\n", "store.s3.endpoint: does not begin with https://"),
        (f"{SETTINGS}  s3: {{bucket: b}}\n", "store.s3.endpoint: is missing"),
        (f"{SETTINGS}  s3: {{endpoint: 'https://a', bucket: b, secret: x}}\n", "store.s3.secret: is unknown"),
        (SETTINGS.replace("Snapshots", "Snapshot") + "  folder: /mnt/a\n", "kind"),
    ],
)
def test_wrong_settings_name_file_and_field(
    fleet: Fleet, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    (fleet.repository / FILE).write_text(text)
    assert run(fleet, "list") == 2
    said = capsys.readouterr().err
    assert said.startswith(f"{FILE}: ") and words in said


def test_a_bucket_asks_for_credentials(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    (fleet.repository / FILE).write_text(S3)
    assert run(fleet, "list") == 2
    assert "--credentials: is missing" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "a: b", "[", "{accessKeyId: a}", "{accessKeyId: a, secretAccessKey: 1}", "\0"])
def test_credentials_that_are_none_are_not_quoted(tmp_path: Path, text: str) -> None:
    file = tmp_path / "credentials"
    file.write_text(f"{text}\n# hunter2")
    with pytest.raises(InvalidInputError, match="can be read by others"):
        file.chmod(0o640)
        read_credentials(file)
    file.chmod(0o600)
    with pytest.raises(InvalidInputError) as refused:
        read_credentials(file)
    assert "hunter2" not in str(refused.value)


def test_credentials_do_not_show_their_secret(tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.write_text("{accessKeyId: a, secretAccessKey: hunter2}")
    file.chmod(0o600)
    found = read_credentials(file)
    assert found.secret_access_key == "hunter2" and "hunter2" not in repr(found)


def test_list_shows_complete_snapshots_and_says_when_the_newest_is_stale(
    fleet: Fleet, store: FolderStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(fleet, "list") == 1
    assert "no complete snapshot" in capsys.readouterr().err
    old = put(store, 30)
    store.put_new(BundleName("dev", datetime.now(UTC), 2, "11111111").part("snapshot.age"), b"x")
    assert run(fleet, "list") == 1
    said = capsys.readouterr()
    assert said.out.count("\n") == 1 and old.folder in said.out and "30 hours old" in said.err
    new = put(store, 0)
    assert run(fleet, "list") == 0
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()] == [old.folder, new.folder]


def test_a_store_that_is_not_there_is_no_empty_one(
    fleet: Fleet, store: FolderStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "store" / MARKER).unlink()
    assert run(fleet, "list") == 1
    said = capsys.readouterr()
    assert "cannot be listed" in said.err and "none" not in said.out


def test_nothing_is_written_for_recipients_that_nobody_admitted(
    fleet: Fleet, store: FolderStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipient, root = fleet.identity().recipient, fleet.root().recipient
    for record in (None, TrustRecord(recipient, frozenset()), TrustRecord(recipient, frozenset({root, "age1other"}))):
        state = ClusterState(True, recipient=recipient, trust=record)
        monkeypatch.setattr(cluster_state, "read_cluster_state", lambda _, state=state: state)
        assert run(fleet, "now") == 2
        assert "names other recipients" in capsys.readouterr().err
    admitted = ClusterState(True, trust=TrustRecord(recipient, frozenset({root})))
    assert command.admitted_recipients(fleet.read().trust, "dev", admitted) == sorted([recipient, root])
    monkeypatch.setattr(cluster_state, "read_cluster_state", lambda _: UNREACHABLE)
    assert run(fleet, "now") == 1
    assert "does not answer; nothing was written" in capsys.readouterr().err
    assert store.list("dev/") == []


def test_verify_needs_shares_that_are_known_from_elsewhere(
    fleet: Fleet, store: FolderStore, capsys: pytest.CaptureFixture[str]
) -> None:
    put(store, 0)
    (fleet.repository / "clusters/dev/unseal-shares.txt").unlink(missing_ok=True)
    assert run(fleet, "verify", "--root-identity", str(fleet.root_file)) == 2
    assert "nothing shows that a snapshot is of this cluster" in capsys.readouterr().err


def test_a_standby_names_the_pod_of_the_active_node() -> None:
    class Node:
        def __init__(self, answer: dict[str, object]) -> None:
            self.answer = answer

        def read(self, _path: str) -> dict[str, object]:
            return self.answer

    address = "https://vault-1.vault-internal.vault.svc:8200"
    assert standby_of(Node({"is_self": False, "leader_address": address})) == "vault-1"  # type: ignore[arg-type]
    assert standby_of(Node({"is_self": True, "leader_address": address})) == ""  # type: ignore[arg-type]
    assert standby_of(Node({"is_self": False, "leader_address": ""})) == ""  # type: ignore[arg-type]


def test_now_writes_what_was_taken_and_verify_prunes_only_after_it(
    fleet: Fleet,
    store: FolderStore,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What is taken and restored here is stood in for; tests/integration/test_snapshots.py has the real ones."""
    from secret_authority.clients import snapshot_bundle
    from secret_authority.engine.snapshots import verify as verifying
    from secret_authority.repository.trust.share_export import exported_text

    (fleet.repository / "clusters/dev/unseal-shares.txt").write_text(
        exported_text("dev", ["-----BEGIN AGE ENCRYPTED FILE-----\nx\n-----END AGE ENCRYPTED FILE-----"], 1)
    )
    older = [put(store, 24 * 400 + hour) for hour in (0, 1, 2)]
    newest = put(store, 0)
    monkeypatch.setattr(snapshot_bundle, "read_bundle", lambda *_: "the bundle")
    arguments = ["--root-identity", str(fleet.root_file), "--vault", "true", "--prune"]

    def refuse(*_: object) -> None:
        raise verifying.NotVerifiedError("it does not open")

    monkeypatch.setattr(verifying, "verify", refuse)
    assert run(fleet, "verify", *arguments) == 1
    assert "NOT verified: it does not open" in capsys.readouterr().err
    assert len(bundles(store, "dev")[0]) == 4
    monkeypatch.setattr(verifying, "verify", lambda *_: verifying.Verified(1.0, 15))
    assert run(fleet, "verify", *arguments) == 0
    said = capsys.readouterr().out
    left = bundles(store, "dev")[0]
    assert newest in left and "verified, 15 paths" in said
    assert all((bundle.folder in said) != (bundle in left) for bundle in older)


def test_verify_of_a_snapshot_that_is_not_there_is_refused(
    fleet: Fleet, store: FolderStore, capsys: pytest.CaptureFixture[str]
) -> None:
    from secret_authority.repository.trust.share_export import exported_text

    (fleet.repository / "clusters/dev/unseal-shares.txt").write_text(
        exported_text("dev", ["-----BEGIN AGE ENCRYPTED FILE-----\nx\n-----END AGE ENCRYPTED FILE-----"], 1)
    )
    for more in ([], ["--snapshot", "dev/2026/11/20261127T190000Z-1-00000000"]):
        assert run(fleet, "verify", "--root-identity", str(fleet.root_file), *more) == 2
        assert "has no such complete snapshot" in capsys.readouterr().err


def test_status_is_good_only_while_everything_is_known_to_be() -> None:
    now = datetime.now(UTC)

    def shown(status: bool, seen: datetime, saved: str = '{"at": "then", "name": "dev/x", "state": "s"}') -> bool:
        fields = Condition(status, "why", seen.isoformat(), seen.isoformat()).fields()
        lines, good = command.status_lines({"saved": saved, "conditions": json.dumps({"Fresh": fields})}, now)
        assert len(lines) == 3 and lines[2].startswith("Fresh: ")
        return good

    assert shown(True, now)
    assert not shown(False, now)
    assert not shown(True, now - timedelta(hours=1)), "an engine that is down says nothing"
    assert not shown(True, now, "{}")


def test_list_shows_which_snapshots_were_verified_in_the_cluster(
    fleet: Fleet, store: FolderStore, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, marked = put(store, 2), put(store, 1, "11111111")
    store.put_new(marked.part(VERIFIED), b"then")
    assert run(fleet, "list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[2:] for line in lines] == [["-", plain.folder], ["verified", marked.folder]]
    assert run(fleet, "list", "--format", "json") == 0
    assert [one["verified"] for one in json.loads(capsys.readouterr().out)] == [False, True]


def test_status_names_the_newest_verified_snapshot() -> None:
    report = Report("dev/2026/11/20261127T000000Z-7-0123abcd", paths=3)
    state = Verifications().and_then(Verification(report, datetime(2026, 11, 27, 1, tzinfo=UTC)))
    lines, _ = command.status_lines({"verifications": state.to_json()}, datetime.now(UTC))
    assert lines[1] == f"last verified: 2026-11-27T01:00:00+00:00  {report.snapshot}"
    assert command.status_lines({}, datetime.now(UTC))[0][1] == "last verified: none"
