"""`secret-authority enter`: what may be entered, and values that never come by argument nor leave by message."""

from __future__ import annotations

import argparse
import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.commands.enter import read_values, register
from cli.main import main
from secret_authority.clients.vault import VaultRefusedError
from secret_authority.core.errors import InvalidInputError, LostRace, Unavailable
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
        self.asked: list[tuple[str, str, Any]] = []

    def read(self, path: str) -> dict[str, Any] | None:
        self.asked.append(("GET", path, None))
        return {"data": {"current_version": self.version}} if self.version else None

    def write(self, path: str, data: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(("POST", path, data))
        if self.refusal is not None:
            raise self.refusal
        return {"data": {"version": self.version + 1}}


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch) -> FakeVault:
    fake = FakeVault()

    @contextlib.contextmanager
    def reading(session: Any) -> Iterator[FakeVault]:
        assert (session.role, session.account) == ("consumer-system.entry", "secret-authority-entry")
        yield fake

    monkeypatch.setattr("cli.commands.enter.reading", reading)
    return fake


def enter(fleet: Fleet, monkeypatch: pytest.MonkeyPatch, *arguments: str, text: str = f"{VALUE}\n") -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
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
