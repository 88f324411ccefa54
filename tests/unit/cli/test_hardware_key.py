"""A root identity that a hardware key protects through its age plugin: made, and used in every ceremony."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cli import passphrase as prompts
from cli.main import main
from secret_authority.clients.age import Identity, open_sealed
from secret_authority.clients.age_header import parse_header
from tests.support import age_plugin
from tests.support.fleets import Fleet, new_fleet


class Key:
    """A hardware key on this machine, and the file that says which one it is."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        (folder / "bin").mkdir()
        self.recipient, identity = age_plugin.install(folder / "bin")
        patch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
        self.file = folder / "key.txt"
        self.file.write_text(f"# serial: 1\n{identity}\n")
        self.pin = age_plugin.PIN
        self.asked: list[str] = []
        patch.setattr(prompts, "at_terminal", self._ask)

    def _ask(self, prompt: str) -> str:
        self.asked.append(prompt)
        return self.pin


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Key:
    return Key(tmp_path, monkeypatch)


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return new_fleet(tmp_path)


@pytest.fixture
def protected(fleet: Fleet, tmp_path: Path, key: Key, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The fleet's root identity as `root new` writes it for the key; the clear file is gone."""
    out = tmp_path / "protected.age"
    with monkeypatch.context() as patched:
        patched.setattr(Identity, "generate", fleet.root)
        assert main(["root", "new", "--out", str(out), "--holder", "alice", "--protect-to", key.recipient]) == 0
    fleet.root_file.unlink()
    return out


def test_the_file_is_encrypted_to_the_key(protected: Path, key: Key) -> None:
    content = protected.read_bytes()
    header = parse_header(content)
    assert header and header.stanzas[0].kind == age_plugin.NAME
    assert b"AGE-SECRET-KEY" not in content and not key.asked


@pytest.mark.parametrize(
    "command",
    [
        ["check", "--cluster", "dev", "--repository", "{fleet}"],
        ["cluster", "admit", "dev", "--repository", "{fleet}"],
        ["cluster", "reseal", "dev", "--repository", "{fleet}"],
        ["root", "rewrap", "--in", "{fleet}/clusters/dev/identity.age", "--out", "{out}", "--to", "{once}"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_every_ceremony_takes_it(
    command: list[str], fleet: Fleet, tmp_path: Path, protected: Path, key: Key, capsys: pytest.CaptureFixture[str]
) -> None:
    once = Identity.generate()
    words = {"fleet": fleet.repository, "out": tmp_path / "answer.age", "once": once.recipient}
    arguments = [word.format(**words) for word in command]
    where = ["--root-identity", str(protected), "--unlock-with", str(key.file)]
    assert main([*arguments, *where]) == 0
    assert key.asked == ["PIN of the key: "]
    said = capsys.readouterr()
    assert f"{age_plugin.TOUCH} [2J" in said.err, "said without what steers the terminal"
    assert "AGE-SECRET-KEY" not in said.out + said.err
    if command[1] == "rewrap":
        answer = open_sealed(tmp_path / "answer.age", "answer", once)
        assert answer.recipient == fleet.read().trust.cluster("dev").recipient


def test_pulumi_gets_it_in_memory(
    fleet: Fleet, tmp_path: Path, protected: Path, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "seen"
    program = tmp_path / "bin" / "pulumi"
    program.write_text(f'#!/bin/sh\ncat "$SECRET_AUTHORITY_ROOT_IDENTITY" > {seen}\nexit 7\n')
    program.chmod(0o755)
    monkeypatch.setenv("SECRET_AUTHORITY_ROOT_IDENTITY", str(protected))
    assert main(["pulumi", "--unlock-with", str(key.file), "up", "--yes"]) == 7
    assert "AGE-SECRET-KEY" in seen.read_text() and not fleet.root_file.exists()


def check(fleet: Fleet, protected: Path, *more: str) -> int:
    where = ["check", "--cluster", "dev", "--repository", str(fleet.repository)]
    return main([*where, "--root-identity", str(protected), *more])


def test_what_does_not_open_it_is_said(
    fleet: Fleet, tmp_path: Path, protected: Path, key: Key, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(fleet, protected) == 2
    assert "is encrypted to a key and not with a passphrase. Fix: name that key: --unlock-with KEY" in (
        capsys.readouterr().err
    )
    key.pin = "wrong"
    assert check(fleet, protected, "--unlock-with", str(key.file)) == 2
    assert "does not open with" in capsys.readouterr().err
    other = tmp_path / "other.txt"
    for content, words in {
        "": "holds no age identity",
        "AGE-PLUGIN-FAKE-1QQQQ": "holds a damaged age identity",
        Identity.generate().secret: "does not open with",
    }.items():
        other.write_text(content)
        assert check(fleet, protected, "--unlock-with", str(other)) == 2
        assert words in capsys.readouterr().err
    assert check(fleet, protected, "--unlock-with", str(tmp_path / "nothing")) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_a_plugin_that_is_not_installed_is_named(
    fleet: Fleet, tmp_path: Path, protected: Path, key: Key, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bin" / f"age-plugin-{age_plugin.NAME}").unlink()
    assert check(fleet, protected, "--unlock-with", str(key.file)) == 2
    assert "Fix: install age-plugin-fake" in capsys.readouterr().err
    where = ["--out", str(tmp_path / "x.age"), "--holder", "bob", "--protect-to", key.recipient]
    assert main(["root", "new", *where]) == 2
    assert "Fix: install age-plugin-fake" in capsys.readouterr().err and not (tmp_path / "x.age").exists()


@pytest.mark.parametrize("recipient", ["", "age1", "age1fake1qqqq", "ssh-ed25519 AAAA"])
def test_a_recipient_that_is_none_writes_nothing(
    recipient: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--out", str(tmp_path / "x.age"), "--holder", "bob", "--protect-to", recipient or " "]
    assert main(["root", "new", *where]) == 2
    assert "is not an age recipient" in capsys.readouterr().err and not (tmp_path / "x.age").exists()


def test_one_protection_only(tmp_path: Path, key: Key, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--out", str(tmp_path / "x.age"), "--holder", "bob", "--passphrase", "--protect-to", key.recipient]
    assert main(["root", "new", *where]) == 2
    assert "choose one" in capsys.readouterr().err and not (tmp_path / "x.age").exists()
