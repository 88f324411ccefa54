"""When `secret-authority pulumi` opens a session with Vault before pulumi starts, and what it does without one."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli import pulumi_session as early_session
from cli.pulumi_session import NoVaultError, around, reads_first, wanted_session
from components.settings.stack import HOME
from secret_authority.access.kubeconfig import ClusterConnection
from secret_authority.access.vault_session import OPEN_VARIABLE, configurator
from secret_authority.access.vault_tunnel import VaultSessionError

SESSION = configurator(ClusterConnection(Path("kubeconfig")), Path("folder"), 21013)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["refresh", "--yes"], True),
        (["up", "--refresh"], True),
        (["preview", "-r"], True),
        (["destroy", "--refresh=true"], True),
        (["up", "--refresh=false"], False),
        (["up", "--yes"], False),
        (["stack", "output", "--refresh"], False),
    ],
)
def test_which_runs_read_before_the_program(arguments: list[str], wanted: bool) -> None:
    assert reads_first(arguments, {}) is wanted


def test_the_variable_of_pulumi_counts_too() -> None:
    assert reads_first(["up"], {"PULUMI_OPTION_REFRESH": "true"})
    assert not reads_first(["up"], {"PULUMI_OPTION_REFRESH": "false"})


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A pulumi whose export is the file `export.json`, and which notes its arguments."""
    made = tmp_path / "pulumi"
    made.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\ncat {tmp_path}/export.json\n')
    made.chmod(0o755)
    return made


def exported(folder: Path, *resources: dict[str, Any]) -> None:
    (folder / "export.json").write_text(json.dumps({"deployment": {"resources": resources}}))


def test_the_session_is_that_of_the_stacks_providers(program: Path) -> None:
    exported(
        program.parent,
        {"type": "pulumi:pulumi:Stack"},
        {"type": "pulumi:providers:kubernetes", "inputs": {"kubeconfig": "/there/kubeconfig", "context": "blue"}},
        {
            "type": "pulumi:providers:vault",
            "inputs": {
                "address": "https://127.0.0.1:21999",
                "authLoginTokenFile": '{"filename":".local/blue/vault-session/token"}',
            },
        },
    )
    found = wanted_session(str(program), ["refresh", "--stack", "blue", "--yes", "-C=there"])
    assert found is not None
    assert (found.connection, found.port) == (ClusterConnection(Path("/there/kubeconfig"), "blue"), 21999)
    assert found.folder == HOME / ".local/blue/vault-session"
    assert (program.parent / "arguments").read_text().split() == ["--stack", "blue", "-C=there", "stack", "export"]


def test_a_stack_with_nothing_in_vault_needs_none(program: Path) -> None:
    exported(program.parent, {"type": "pulumi:providers:kubernetes", "inputs": {"kubeconfig": "k"}})
    assert wanted_session(str(program), ["refresh"]) is None
    (program.parent / "export.json").write_text("{}")
    assert wanted_session(str(program), ["refresh"]) is None


def test_the_program_is_told_that_the_session_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early_session, "held_session", lambda _: contextlib.nullcontext())
    with around(SESSION, ["refresh", "--yes"]) as (arguments, more):
        assert arguments == ["refresh", "--yes"] and OPEN_VARIABLE in more


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def refused(_: object) -> Iterator[None]:
        raise VaultSessionError("no Vault pod is ready")
        yield

    monkeypatch.setattr(early_session, "held_session", refused)


def test_a_refresh_without_vault_leaves_out_what_lies_in_it(away: None, capsys: pytest.CaptureFixture[str]) -> None:
    with around(SESSION, ["refresh", "--yes"]) as (arguments, more):
        assert arguments == ["refresh", "--yes", "--exclude", "**vault:**"] and not more
    assert "no Vault pod is ready. What is in Vault is left out" in capsys.readouterr().out


def test_an_update_that_refreshes_is_refused_without_vault(away: None) -> None:
    with pytest.raises(NoVaultError, match=r"no Vault pod is ready. Fix: run it without --refresh"):
        around(SESSION, ["up", "--refresh"]).__enter__()
