"""A root identity that is protected by a passphrase, in every command; the passphrase is never an argument."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pyrage
import pytest
from pyrage import x25519

from cli import passphrase as prompts
from cli.main import main
from secret_authority.clients.age import Identity, read_identity, write_identity
from secret_authority.clients.age_header import is_sealed
from secret_authority.core.errors import InvalidInputError
from tests.support.age_files import protect
from tests.support.fleets import Fleet, new_fleet

PASSPHRASE = "correct horse battery staple"


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    made = new_fleet(tmp_path)
    root = made.root()
    made.root_file.write_bytes(protect(root.as_file().encode(), PASSPHRASE))
    return made


@pytest.fixture
def pipe() -> Callable[[str], str]:
    """Puts a line into a pipe; gives the number of its end for reading."""

    def put(text: str) -> str:
        reading, writing = os.pipe()
        os.write(writing, text.encode())
        os.close(writing)
        return str(reading)

    return put


def test_check_opens_it(fleet: Fleet, pipe: Callable[[str], str], capsys: pytest.CaptureFixture[str]) -> None:
    where = [
        "check",
        "--repository",
        str(fleet.repository),
        "--cluster",
        "dev",
        "--root-identity",
        str(fleet.root_file),
    ]
    assert main([*where, "--passphrase-fd", pipe(f"{PASSPHRASE}\n")]) == 0
    assert "every MAC fits, the recipients are admitted" in capsys.readouterr().out
    assert main([*where, "--passphrase-fd", pipe("wrong\n")]) == 2
    assert "does not open with this passphrase" in capsys.readouterr().err


def test_it_is_asked_for_at_the_terminal(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(prompts, "at_terminal", lambda prompt: asked.append(prompt) or PASSPHRASE)
    command = [
        "cluster",
        "admit",
        "dev",
        "--repository",
        str(fleet.repository),
        "--root-identity",
        str(fleet.root_file),
    ]
    assert main(command) == 0
    assert asked == [f"Passphrase of {fleet.root_file}: "]


def test_without_a_terminal_the_way_out_is_said(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_terminal(*_: object) -> int:
        raise OSError

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", no_terminal)
        with pytest.raises(InvalidInputError, match=r"there is no terminal. Fix: run the command at a terminal, or"):
            prompts.at_terminal("")


def test_a_new_passphrase_is_asked_for_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["one", "two", "same", "same", "", ""])
    monkeypatch.setattr(prompts, "at_terminal", lambda _: next(answers))
    with pytest.raises(InvalidInputError, match="the two are different"):
        prompts.new_passphrase(None)
    assert prompts.new_passphrase(None) == "same"
    with pytest.raises(InvalidInputError, match="is empty"):
        prompts.new_passphrase(None)


def test_pulumi_gets_it_in_memory_and_not_by_argument(
    fleet: Fleet, tmp_path: Path, pipe: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "seen"
    seen.mkdir()
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "pulumi"
    program.write_text(
        f'#!/bin/sh\necho "$@" > {seen}/arguments\nenv > {seen}/environment\n'
        f'cat "$SECRET_AUTHORITY_ROOT_IDENTITY" > {seen}/identity\n'
        f'stat -L -c %a "$SECRET_AUTHORITY_ROOT_IDENTITY" > {seen}/mode\nexit 7\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("SECRET_AUTHORITY_ROOT_IDENTITY", str(fleet.root_file))
    assert main(["pulumi", "--passphrase-fd", pipe(PASSPHRASE), "up", "--yes"]) == 7
    root = read_identity(fleet.root_file, lambda _: PASSPHRASE)
    assert root.secret in (seen / "identity").read_text()
    assert (seen / "mode").read_text().strip() == "600"
    for name in ("arguments", "environment"):
        text = (seen / name).read_text()
        assert root.secret not in text and PASSPHRASE not in text


def test_an_identity_that_a_key_protects_comes_through_a_pipe(fleet: Fleet, tmp_path: Path) -> None:
    """As from `age --decrypt`, with any plugin: the program reads what the pipe gives."""
    identity, key = Identity.generate(), Identity.generate()
    file = tmp_path / "key.age"
    file.write_bytes(pyrage.encrypt(identity.as_file().encode(), [x25519.Recipient.from_str(key.recipient)]))
    file.chmod(0o600)
    with pytest.raises(InvalidInputError, match=r"encrypted to a key .* Fix: .* or give a pipe of age"):
        read_identity(file)
    reading, writing = os.pipe()
    os.write(writing, identity.as_file().encode())
    os.close(writing)
    assert read_identity(Path(f"/dev/fd/{reading}")) == identity
    os.close(reading)


def test_a_protected_file_is_private_and_damaged_ones_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "root.age"
    # pyrage's own, with the work factor of this machine: tests/integration/test_offline_ceremony.py.
    monkeypatch.setattr(pyrage.passphrase, "encrypt", lambda content, words, **_: protect(content, words))
    write_identity(Identity.generate(), file, PASSPHRASE)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and b"SECRET" not in file.read_bytes()
    assert is_sealed(file.read_bytes())
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(InvalidInputError, match="is a damaged age file"):
        read_identity(file, lambda _: PASSPHRASE)
