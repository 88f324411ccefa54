"""`make preview`: with the configuration that `up` would write and the root holder, and never without a node."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from toolchain import local_stack as module
from toolchain.local_stack import LocalStack
from toolchain.node.layout import Node

IMAGE = "ghcr.io/secret-authority/engine:0123456789ab"
KUBECONFIG = "/var/lib/secret-authority/nodes/blue/kubeconfig"


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStack:
    """A stack that an earlier `up` has left, with its node; the toolchain's answers are given here."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(module.layout, "find", lambda name: Node(name, 3))
    answers = {
        ("images", "engine-reference"): IMAGE,
        ("node", "kubeconfig", "--name", "blue"): KUBECONFIG,
        ("build",): "",
        ("manifests",): "",
        ("venv",): "",
    }
    monkeypatch.setattr(LocalStack, "run_toolchain", lambda _, *words, capture=True: f"{answers[words]}\n")
    made = LocalStack("blue")
    made.state.mkdir(parents=True)
    made.config_file.write_text("config:\n  secret-authority:phase: 1\nencryptionsalt: v1:salt\n")
    return made


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, str]]]:
    """The commands that were run, with their environment."""
    commands: list[tuple[list[str], dict[str, str]]] = []

    def keep(command: list[str], *, env: dict[str, str], **_: Any) -> subprocess.CompletedProcess[str]:
        commands.append((command, env))
        return subprocess.CompletedProcess(command, 7)

    monkeypatch.setattr(subprocess, "run", keep)
    return commands


def preview(*more: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["stack", "--name", "blue", "preview", *more])
        return module.main()


def test_it_shows_what_up_would_do_with_the_configuration_of_today(
    stack: LocalStack, run: list[tuple[list[str], dict[str, str]]]
) -> None:
    assert preview() == 7
    text = stack.config_file.read_text()
    found = yaml.safe_load(text)["config"]
    wanted = yaml.safe_load(module.TEMPLATE.read_text())["config"]
    assert found["secret-authority:phase"] == wanted["secret-authority:phase"]
    assert found["secret-authority:engineImage"] == IMAGE
    assert found["secret-authority:kubeconfig"] == KUBECONFIG
    assert found["secret-authority:repositoryUrl"] == "https://git.node.internal:8443/fleet.git"
    assert found["secret-authority:repositoryCaFile"] == "/var/lib/secret-authority/nodes/blue/pki/git-ca.crt"
    assert found["secret-authority:cluster"] == "blue"
    assert text.endswith("encryptionsalt: v1:salt\n"), "Pulumi's salt stays"
    ((command, environment),) = run
    assert command[1:5] == ["-m", "cli.main", "pulumi", "preview"]
    assert command[command.index("--config-file") + 1] == str(stack.config_file)
    assert environment["SECRET_AUTHORITY_ROOT_IDENTITY"] == str(stack.root_identity)
    assert environment["PATH"].endswith(os.environ["PATH"])


def test_without_a_node_it_says_what_makes_one(
    stack: LocalStack, run: list[tuple[list[str], dict[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = stack.config_file.read_text()
    monkeypatch.setattr(module.layout, "find", lambda _: None)
    with pytest.raises(SystemExit, match="run `make up NAME=blue`"):
        preview()
    assert not run and stack.config_file.read_text() == before


def test_a_node_without_its_stack_is_not_enough(stack: LocalStack, run: list[tuple[list[str], dict[str, str]]]) -> None:
    stack.config_file.unlink()
    with pytest.raises(SystemExit, match="run `make up NAME=blue`"):
        preview()
    assert not run and not stack.config_file.exists()
