"""`secret-authority enter`: what may be entered, and values that never come by argument nor leave by message."""

from __future__ import annotations

import argparse
import base64
import contextlib
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cli.commands.enter import read_values, register
from cli.main import main
from secret_authority.clients.vault import VaultRefusedError
from secret_authority.contract.consumption_settings import ConsumptionSettings
from secret_authority.core.errors import InvalidInputError, LostRace, Unavailable
from secret_authority.core.ledger.audit_trail import Event
from tests.support.fleets import Fleet, new_fleet

VALUE = "issued-7f3a"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    return new_fleet(tmp_path_factory.mktemp("enter"))


class FakeVault:
    """Stands at the far end of the tunnel; keeps what was asked."""

    def __init__(self) -> None:
        self.version = 0
        self.refusal: Exception | None = None
        self.event_refusal: Exception | None = None
        self.events: list[tuple[str, Any]] = []
        self.asked: list[tuple[str, str, Any]] = []

    def read(self, path: str) -> dict[str, Any] | None:
        self.asked.append(("GET", path, None))
        return {"data": {"current_version": self.version}} if self.version else None

    def write(self, path: str, data: dict[str, Any]) -> dict[str, Any]:
        if "/events/" in path:
            if self.event_refusal is not None:
                raise self.event_refusal
            self.events.append((path, data))
            return {}
        self.asked.append(("POST", path, data))
        if self.refusal is not None:
            raise self.refusal
        return {"data": {"version": self.version + 1, "created_time": "2026-01-02T03:04:05.678123456Z"}}


@pytest.fixture(autouse=True)
def cluster(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that is built with what the repository says."""
    monkeypatch.setattr("cli.commands.enter.read_built", lambda _: fleet.built())


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch) -> FakeVault:
    fake = FakeVault()

    @contextlib.contextmanager
    def reading(session: Any) -> Iterator[FakeVault]:
        assert (session.role, session.account) == ("consumer-system.entry", "secret-authority-entry")
        yield fake

    monkeypatch.setattr("cli.commands.enter.reading", reading)
    monkeypatch.setattr("cli.commands.enter.kubernetes_user", lambda _: "ada@example.org")
    return fake


def enter(fleet: Fleet, monkeypatch: pytest.MonkeyPatch, *arguments: str, given: bytes = VALUE.encode()) -> int:
    # As with a real pipe: text over bytes, in an encoding that the bytes need not have.
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given), encoding="utf-8", errors="surrogateescape"))
    return main(["enter", "--repository", str(fleet.repository), "--cluster", "dev", *arguments])


def test_a_value_is_entered_once_with_check_and_set(
    fleet: Fleet, vault: FakeVault, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert enter(fleet, monkeypatch, "payment-api") == 0
    body = {"options": {"cas": 0}, "data": {"api-key": VALUE}}
    assert vault.asked[-1] == ("POST", "platform-data/data/payment/billing", body)
    said = capsys.readouterr()
    assert "payment-api: version 1 written to platform-data/payment/billing, keys api-key" in said.out
    assert VALUE not in said.out + said.err


def test_a_value_that_stands_is_replaced_only_when_that_is_said(
    fleet: Fleet, vault: FakeVault, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    vault.version = 3
    assert enter(fleet, monkeypatch, "payment-api") == 2
    assert "holds version 3 already. Fix: add --replace" in capsys.readouterr().err
    assert [method for method, _, _ in vault.asked] == ["GET"]
    assert enter(fleet, monkeypatch, "payment-api", "--replace") == 0
    assert vault.asked[-1][2]["options"] == {"cas": 3}


@pytest.mark.parametrize(("version", "change"), [(0, "value entered, version 1"), (3, "value replaced, version 4")])
def test_an_entry_leaves_an_event_with_the_person(
    fleet: Fleet, vault: FakeVault, monkeypatch: pytest.MonkeyPatch, version: int, change: str
) -> None:
    vault.version = version
    assert enter(fleet, monkeypatch, "payment-api", "--replace") == 0
    ((path, body),) = vault.events
    assert path == f"platform-authority/data/events/payment-api/en-{version + 1}-1767323045678"
    assert body["options"] == {"cas": 0} and VALUE not in str(body)
    assert (body["data"]["change"], body["data"]["person"]) == (change, "ada@example.org")
    assert Event.from_fields(body["data"]).place == "platform-data/payment/billing"


def test_an_event_that_cannot_be_written_is_no_success(
    fleet: Fleet, vault: FakeVault, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    vault.event_refusal = VaultRefusedError("POST", "p", 403, ["permission denied"])
    assert enter(fleet, monkeypatch, "payment-api") == 1
    said = capsys.readouterr().err
    assert "version 1 is written to platform-data/payment/billing, but the audit trail has no event" in said
    assert VALUE not in said


def changed(settings: ConsumptionSettings, name: str, /, **changes: Any) -> ConsumptionSettings:
    """A cluster that was built with another entry of this name."""
    entries = [entry.model_copy(update=changes) if entry.name == name else entry for entry in settings.catalogue]
    return replace(settings, catalogue=settings.catalogue.model_copy(update={"secrets": tuple(entries)}))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("swapped", "is external platform-data/other/place in the cluster, not external platform-data/payment/billing"),
        ("unbuilt", "is not built in the cluster yet"),
        ("before consumption", "is not built in the cluster yet"),
        ("delivered elsewhere", "is delivered to elsewhere/payment-api in the cluster, other than the checkout says"),
        ("another cluster", "the cluster that answers is prod"),
    ],
)
def test_a_value_goes_nowhere_while_the_cluster_says_another_place(
    fleet: Fleet,
    vault: FakeVault,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: str,
    reason: str,
) -> None:
    built: ConsumptionSettings | None = fleet.built()
    assert built is not None
    entry = next(entry for entry in built.catalogue if entry.name == "payment-api")
    (consumer, *_) = entry.consumers
    match change:
        case "swapped":
            built = changed(
                built, entry.name, vault=entry.vault.model_copy(update={"datasource": "other", "consumer": "place"})
            )
        case "unbuilt":
            built = changed(built, entry.name, name="another")
        case "before consumption":
            built = None
        case "delivered elsewhere":
            other = consumer.model_copy(update={"namespace": "elsewhere", "secret": "payment-api"})
            built = changed(built, entry.name, consumers=(*entry.consumers, other))
        case "another cluster":
            built = replace(built, cluster="prod")
    monkeypatch.setattr("cli.commands.enter.read_built", lambda _: built)
    monkeypatch.setattr("cli.commands.enter.read_values", lambda *_: pytest.fail("asked for a value"))
    assert enter(fleet, monkeypatch, "payment-api") == 2
    assert reason in capsys.readouterr().err and not vault.asked


def test_a_cluster_that_does_not_say_where_a_value_goes_gets_none(
    fleet: Fleet, vault: FakeVault, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unknown(_: object) -> None:
        raise Unavailable("ConfigMap secret-authority/x: the cluster does not answer")

    monkeypatch.setattr("cli.commands.enter.read_built", unknown)
    assert enter(fleet, monkeypatch, "payment-api") == 1
    assert "payment-api: ConfigMap secret-authority/x: the cluster does not answer" in capsys.readouterr().err
    assert not vault.asked


def test_a_consumer_that_is_not_built_yet_does_no_harm(
    fleet: Fleet, vault: FakeVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "cli.commands.enter.read_built", lambda _: changed(fleet.built(), "payment-api", consumers=(), owner="somebody")
    )
    assert enter(fleet, monkeypatch, "payment-api") == 0


class Rotating(FakeVault):
    """Beside it an engine of rotation, which answers each request."""

    def __init__(self, answer: str) -> None:
        super().__init__()
        self.answer, self.version = answer, 3

    def read(self, path: str) -> dict[str, Any] | None:
        if "/rotation-requests/" in path:
            return {"data": {"data": {"outcome": self.answer}}}
        return super().read(path)


def rotating(monkeypatch: pytest.MonkeyPatch, answer: str) -> FakeVault:
    fake = Rotating(answer)
    monkeypatch.setattr("cli.commands.enter.reading", lambda _session: contextlib.nullcontext(fake))
    monkeypatch.setattr("cli.commands.enter.kubernetes_user", lambda _: "ada@example.org")
    return fake


def test_a_later_value_of_what_has_a_rotator_is_given_to_the_rotation(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    vault = rotating(monkeypatch, "accepted as ro-1")
    followed: list[Any] = []

    def follow(_way: object, *what: Any) -> int:
        followed.append(what[:2])
        return 0

    monkeypatch.setattr("cli.commands.enter.follow", follow)
    assert enter(fleet, monkeypatch, "session-key", "--replace") == 0
    given, asked = [(path, body) for method, path, body in vault.asked if method == "POST"]
    name = given[0].rpartition("/")[2]
    assert given[0] == f"platform-rotation/data/given-values/session-key/{name}" and name.startswith("en-")
    assert given[1] == {"options": {"cas": 0}, "data": {"key": VALUE}}
    assert asked[0] == f"platform-rotation/data/rotation-requests/session-key/{name}"
    assert asked[1]["options"] == {"cas": 0} and asked[1]["data"]["given"] is True
    assert asked[1]["data"]["why"] == "value entered by ada@example.org" and VALUE not in str(asked)
    assert followed == [("session-key", "ro-1")]
    assert vault.events == [], "the rotation leaves the event"
    said = capsys.readouterr()
    assert "session-key: accepted as ro-1" in said.out and VALUE not in said.out + said.err


def test_a_value_that_the_engine_refuses_is_no_success(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rotating(monkeypatch, "refused: rotation ro-7 is published")
    assert enter(fleet, monkeypatch, "session-key", "--replace") == 1
    assert "refused: rotation ro-7 is published" in capsys.readouterr().out


def test_a_first_value_is_not_given_to_the_rotation(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    vault = rotating(monkeypatch, "accepted as ro-1")
    vault.version = 0
    assert enter(fleet, monkeypatch, "session-key", "--replace") == 2
    assert "holds no value yet" in capsys.readouterr().err
    assert [method for method, _, _ in vault.asked] == ["GET"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("orders-db", "born in Git"),
        ("session-key", "generated in the cluster"),
        ("orders-db-endpoint", "decided by Git"),
        ("nobody", "has no nobody"),
    ],
)
def test_what_is_not_entered_by_hand_is_refused_before_vault_is_asked(
    fleet: Fleet,
    vault: FakeVault,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    reason: str,
) -> None:
    assert enter(fleet, monkeypatch, name) == 2
    assert reason in capsys.readouterr().err
    assert not vault.asked


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (VaultRefusedError("POST", "p", 403, ["permission denied"]), "Vault refused POST p (403): permission denied"),
        (Unavailable("Vault is sealed"), "Vault is sealed; whether the value was written is not known"),
        (LostRace("p"), "somebody else wrote a version meanwhile; nothing was written"),
    ],
)
def test_a_refusal_of_vault_is_told_without_the_value(
    fleet: Fleet,
    vault: FakeVault,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    refusal: Exception,
    words: str,
) -> None:
    vault.refusal = refusal
    assert enter(fleet, monkeypatch, "payment-api") == 1
    said = capsys.readouterr()
    assert words in said.err and VALUE not in said.err + said.out


def test_there_is_no_option_for_a_value() -> None:
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers()
    register(verbs)
    with pytest.raises(SystemExit):
        parser.parse_args(["enter", "--cluster", "dev", "payment-api", VALUE])


def test_several_keys_come_as_a_mapping_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text('user: "a"\npassword: "b: c"\n')
    assert read_values(["password", "user"], file, "x") == {"user": "a", "password": "b: c"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"user: {VALUE}", ["password: is missing"]),
        (f"user: {VALUE}\npassword: {VALUE}\nother: {VALUE}", ["other: is not a key that a consumer reads"]),
        (f"user: ''\npassword: {VALUE}", ["user: is empty"]),
        (f"user: 5\npassword: {VALUE}", ["user: is not a text"]),
        (f"user: [{VALUE}", ["line 1: is not valid YAML"]),
        (f"- {VALUE}", ["is not a mapping"]),
    ],
)
def test_values_that_do_not_fit_are_told_by_key_and_never_shown(tmp_path: Path, text: str, words: list[str]) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(text)
    with pytest.raises(InvalidInputError) as caught:
        read_values(["password", "user"], file, "x")
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert VALUE not in str(caught.value)


@pytest.fixture
def binary(fleet: Fleet, tmp_path: Path) -> Fleet:
    """A fleet whose payment-api is a key store."""
    copy = new_fleet(tmp_path)
    file = "secret-authority/dev/catalogue.yaml"

    def mark(document: Any) -> None:
        entry = next(entry for entry in document["secrets"] if entry["name"] == "payment-api")
        entry["binary"] = ["api-key"]

    copy.edit(file, mark)
    return copy


KEY_FILE = b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----\n"


@pytest.mark.parametrize("by", ["file", "pipe"])
@pytest.mark.parametrize(
    "value",
    [
        KEY_FILE,
        b"line1\r\nline2\rx\r\n",
        "gr\u00fc\u00dfe".encode(),
        b"nul\x00nul",
        b"\n",
        b" x ",
        "\u2028\ufeff".encode(),
    ],
)
def test_texts_arrive_byte_for_byte_by_file_and_by_pipe(
    fleet: Fleet, vault: FakeVault, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: bytes, by: str
) -> None:
    file = tmp_path / "value"
    file.write_bytes(value)
    arguments = ["--file", str(file)] if by == "file" else []
    assert enter(fleet, monkeypatch, "payment-api", *arguments, given=value) == 0
    assert vault.asked[-1][2]["data"]["api-key"].encode() == value


@pytest.mark.parametrize("by", ["file", "pipe"])
def test_bytes_that_are_no_text_are_refused_or_travel_in_base64(
    fleet: Fleet,
    binary: Fleet,
    vault: FakeVault,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    by: str,
) -> None:
    value = b"\xff\xfe\x00pw\xe9"
    file = tmp_path / "value"
    file.write_bytes(value)
    arguments = ["--file", str(file)] if by == "file" else []
    assert enter(fleet, monkeypatch, "payment-api", *arguments, given=value) == 2
    assert "api-key: is not UTF-8 text. Fix: name api-key in `binary`" in capsys.readouterr().err
    assert not vault.asked
    monkeypatch.setattr("cli.commands.enter.read_built", lambda _: binary.built())
    assert enter(binary, monkeypatch, "payment-api", *arguments, given=value) == 0
    assert base64.b64decode(vault.asked[-1][2]["data"]["api-key"], validate=True) == value


def test_a_line_end_at_the_end_is_written_and_said(
    fleet: Fleet, vault: FakeVault, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert enter(fleet, monkeypatch, "payment-api", given=f"{VALUE}\n".encode()) == 0
    assert vault.asked[-1][2]["data"] == {"api-key": f"{VALUE}\n"}
    said = capsys.readouterr()
    assert "the line end after api-key is part of the value" in said.err and VALUE not in said.err
    assert enter(fleet, monkeypatch, "payment-api", given=KEY_FILE) == 0
    assert "line end" not in capsys.readouterr().err


def test_input_without_an_end_is_not_read_to_its_end(
    fleet: Fleet, vault: FakeVault, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert enter(fleet, monkeypatch, "payment-api", "--file", "/dev/zero") == 2
    assert "/dev/zero: has more than 16777216 bytes, and no secret can have as many. Fix: " in capsys.readouterr().err
    assert enter(fleet, monkeypatch, "payment-api", "--file", str(tmp_path)) == 2
    assert f"{tmp_path}: cannot be read: Is a directory" in capsys.readouterr().err
    assert enter(fleet, monkeypatch, "payment-api", given=b"x" * (16 * 2**20 + 1)) == 2
    assert "standard input: has more than 16777216 bytes" in capsys.readouterr().err
    assert not vault.asked


def test_a_typed_value_is_taken_as_it_is(fleet: Fleet, vault: FakeVault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("getpass.getpass", lambda _prompt: " gr\u00fc\u00dfe ")
    assert main(["enter", "--repository", str(fleet.repository), "--cluster", "dev", "payment-api"]) == 0
    assert vault.asked[-1][2]["data"] == {"api-key": " gr\u00fc\u00dfe "}


@pytest.mark.parametrize("name", ["missing", "."])
def test_a_file_that_cannot_be_read_is_named(
    fleet: Fleet,
    vault: FakeVault,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    name: str,
) -> None:
    assert enter(fleet, monkeypatch, "payment-api", "--file", str(tmp_path / name)) == 2
    assert "cannot be read" in capsys.readouterr().err and not vault.asked


def test_more_than_vault_can_take_is_refused_before_vault_is_asked(
    fleet: Fleet, vault: FakeVault, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert enter(fleet, monkeypatch, "payment-api", given=b"x" * 2_000_000) == 2
    assert "Kubernetes takes 1048576" in capsys.readouterr().err and not vault.asked


def test_several_keys_take_bytes_with_a_tag_and_no_key_twice(tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text("store: !!binary |\n  /wA=\npassword: b\n")
    assert read_values(["password", "store"], file, "x", ["store"]) == {"password": "b", "store": "/wA="}
    with pytest.raises(InvalidInputError, match="store: is not UTF-8 text"):
        read_values(["password", "store"], file, "x")
    file.write_text(f"password: b\nstore: a\nstore: {VALUE}\n")
    with pytest.raises(InvalidInputError, match="a key is there twice") as caught:
        read_values(["password", "store"], file, "x")
    assert VALUE not in str(caught.value)
