"""The commands of the toolchain that README and docs show: each exists, with these options and programs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from toolchain import __main__ as toolchain
from toolchain.images import __main__ as images
from toolchain.images.engine import RECIPE
from toolchain.programs import pins

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXT = "\n".join(page.read_text() for page in PAGES).replace("\\\n", " ")
PARSERS = {"toolchain": toolchain.parser, "toolchain.images": images.parser}
# Up to the end of the command in shell or in prose; a synopsis with brackets is none.
COMMANDS = sorted(set(re.findall(r"python3 -m (toolchain(?:\.images)?) ([a-z][^`\n)\[]*)(?=[`\n)])", TEXT)))


@pytest.mark.parametrize(("module", "words"), COMMANDS)
def test_every_shown_command_is_understood(module: str, words: str) -> None:
    found = PARSERS[module]().parse_args(shlex.split(words, comments=True))
    if module == "toolchain" and found.command == "build":
        assert [pins.load().program(name).name for name in found.name] == found.name


def test_the_commands_for_a_cluster_of_your_own_are_among_them() -> None:
    shown = {(module, words.split()[0]) for module, words in COMMANDS}
    wanted = {("toolchain", command) for command in ("build", "manifests", "venv")}
    assert shown >= wanted | {("toolchain.images", command) for command in ("engine-reference", "engine-context")}


def test_the_shown_containerfile_is_the_recipe() -> None:
    named = set(re.findall(r"buildah build -f (\S+)", TEXT))
    assert {ROOT / path for path in named} == {RECIPE}
