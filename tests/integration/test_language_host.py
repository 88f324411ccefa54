"""The Python language host under the real CLI: programs, errors, policy packs, interrupts."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.pulumi_project import Project, new_project
from toolchain.programs import pins

pytestmark = pytest.mark.engine

DEADLINE = 30.0  # seconds


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return new_project(tmp_path)


def test_program_runs_without_configuration(project: Project) -> None:
    project.program("pulumi.export('seen', 'yes')")
    project.pulumi("up", "--yes", "--skip-preview")
    assert project.pulumi("stack", "output", "seen").strip() == "yes"


def test_program_gets_configuration_and_secrets(project: Project) -> None:
    project.program(
        "config = pulumi.Config()\n"
        "pulumi.export('plain', config.require('plain'))\n"
        "pulumi.export('hidden', config.require_secret('hidden'))"
    )
    project.pulumi("config", "set", "plain", "text")
    project.pulumi("config", "set", "--secret", "hidden", "word")
    project.pulumi("up", "--yes", "--skip-preview")
    assert project.pulumi("stack", "output", "plain").strip() == "text"
    assert project.pulumi("stack", "output", "hidden").strip() == "[secret]"
    assert project.pulumi("stack", "output", "hidden", "--show-secrets").strip() == "word"


def test_hooks_are_called_back(project: Project) -> None:
    project.program(
        "class C(pulumi.ComponentResource):\n"
        "    pass\n"
        "hook = pulumi.ResourceHook('h', lambda args: pulumi.log.info('hook saw ' + args.name))\n"
        "options = pulumi.ResourceOptions(hooks=pulumi.ResourceHookBinding(after_create=[hook]))\n"
        "C('t:a:C', 'thing', {}, options).register_outputs({})"
    )
    assert "hook saw thing" in project.pulumi("up", "--yes", "--skip-preview")


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ("raise pulumi.RunError('file a: field b is wrong; say c')", "error: file a: field b is wrong; say c"),
        ("raise ValueError('boom')", "error: Program failed with an unhandled exception:"),
        ("sys.exit(3)", "error: an unhandled error occurred: the Python program ended with exit code 3"),
    ],
)
def test_failing_program_prints_one_error(project: Project, body: str, shown: str) -> None:
    project.program(body)
    output = project.pulumi("preview", code=1)
    diagnostics = output[output.index("Diagnostics:") :]
    assert re.findall(r"error: .*", diagnostics) == [shown]


def test_missing_virtual_environment_is_named(project: Project) -> None:
    project.program("")
    project.runtime("nowhere")
    assert re.search(r"'virtualenv' option in Pulumi\.yaml is set to \"nowhere\"", project.pulumi("preview", code=1))


def test_unknown_runtime_option_is_refused(project: Project) -> None:
    project.program("")
    (project.folder / "Pulumi.yaml").write_text("name: host\nruntime: {name: python, options: {typechecker: mypy}}\n")
    assert 'runtime option "typechecker" is not supported' in project.pulumi("preview", code=1)


def test_policy_pack_runs_in_its_own_environment(project: Project) -> None:
    pack = project.folder / "pack"
    pack.mkdir()
    venv = os.path.relpath(pins.CHECKOUT / ".venv", pack)
    (pack / "PulumiPolicy.yaml").write_text(
        f"version: 0.0.1\nruntime: {{name: python, options: {{virtualenv: {venv}}}}}\n"
    )
    (pack / "__main__.py").write_text(
        "from pulumi_policy import EnforcementLevel, PolicyPack, ResourceValidationPolicy\n"
        "def check(args, report):\n"
        "    if args.name == 'bad':\n"
        "        report('bad is not allowed')\n"
        "PolicyPack('pack', [ResourceValidationPolicy('no-bad', 'd', check, EnforcementLevel.MANDATORY)])\n"
    )
    project.program("pulumi.ComponentResource('t:a:C', pulumi.Config().require('name'))")
    project.pulumi("config", "set", "name", "good")
    project.pulumi("preview", "--policy-pack", "pack")
    project.pulumi("config", "set", "name", "bad")
    assert "bad is not allowed" in project.pulumi("preview", "--policy-pack", "pack", code=1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_stopped_cli_leaves_no_program_behind(project: Project, number: signal.Signals) -> None:
    project.program("time.sleep(600)")
    process = project.start("preview")
    assert process.stdout is not None
    started = next(found for line in process.stdout if (found := re.search(r"at work in (\d+)", line)))
    program = Path("/proc") / started[1]
    assert b"pulumi-language-python" in (program / "cmdline").read_bytes()
    process.send_signal(number)
    process.communicate(timeout=DEADLINE)
    assert process.returncode != 0
    _await(lambda: not program.exists())


def _await(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)
