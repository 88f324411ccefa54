"""A Pulumi project of a few lines under the real CLI, with a backend in a folder."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.pulumi_home import pulumi_home
from toolchain.errors import ToolchainError
from toolchain.programs import pins, provide

PROGRAM = """
import os, sys, time
import pulumi
print("at work in", os.getpid(), flush=True)
{}
"""


class Project:
    """A Pulumi project with a backend, a home and a virtual environment of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "state").mkdir()
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PULUMI_")},
            "PATH": f"{provide.BIN}:{os.environ['PATH']}",
            "PULUMI_BACKEND_URL": f"file://{folder}/state",
            "PULUMI_HOME": pulumi_home(folder),
            "PULUMI_CONFIG_PASSPHRASE": "not secret",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
        }
        self.runtime(str(pins.CHECKOUT / ".venv"))
        self.pulumi("stack", "init", "test")

    def runtime(self, virtualenv: str) -> None:
        (self.folder / "Pulumi.yaml").write_text(
            f"name: host\nruntime: {{name: python, options: {{virtualenv: {virtualenv}}}}}\n"
        )

    def program(self, body: str) -> None:
        (self.folder / "__main__.py").write_text(PROGRAM.format(body))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["pulumi", "--non-interactive", "--color=never", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def pulumi(self, *arguments: str, code: int = 0) -> str:
        process = self.start(*arguments)
        output, _ = process.communicate(timeout=120)
        assert process.returncode == code, output
        return output


def new_project(folder: Path) -> Project:
    """In a test: it is skipped where the programs are not built."""
    try:
        for name in ("pulumi", "pulumi-language-python"):
            provide.location(pins.load().program(name), name)
    except ToolchainError as error:
        pytest.skip(str(error))
    return Project(folder)
