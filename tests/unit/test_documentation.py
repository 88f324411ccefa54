"""What README and docs name is really there: files, make targets, verbs of the command."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cli.main import main

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def shown(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_every_link_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text())
    missing = [t for t in targets if not t.startswith("http") and not (page.parent / t).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_every_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(), flags=re.M))
    named = set(re.findall(r"(?:`|^    (?:\$ )?)make ([\w-]+)", page.read_text(), flags=re.M))
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_every_verb_exists(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    verbs = set(re.findall(r"^    ([\w-]+)", capsys.readouterr().out, flags=re.M))
    named = set(re.findall(r"(?<![\w./-])(?<!-n )secret-authority ([a-z][\w-]*)", page.read_text()))
    assert named <= verbs
