"""What README and docs name is really there: files, make targets, commands with all their options."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from cli.main import parser

ROOT = Path(__file__).parents[3]
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


def verb_alone(words: Sequence[str], of: argparse.ArgumentParser) -> bool:
    """Whether the words only name a verb, such as `root new`: prose may do that without its options."""
    for word in words:
        groups = [action for action in of._actions if isinstance(action, argparse._SubParsersAction)]
        if not groups or word not in groups[0].choices:
            return False
        of = groups[0].choices[word]
    return True


def commands_of_line(line: str) -> Iterator[list[str]]:
    """The words after `secret-authority` in a line of shell; capitals and $NAMES stand for values."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word and set(word) <= set("();<>|&"):
            while words and (words[0] == "$" or re.fullmatch(r"[A-Z_]+=.*", words[0])):
                words.pop(0)
            if words[:1] == ["secret-authority"]:
                yield words[1:]
            words = []
        else:
            words.append(word)


def commands(text: str) -> Iterator[tuple[list[str], bool]]:
    """Each command of a page, and whether it stands in prose."""
    text = text.replace("\\\n", " ")
    block = r"^```.*?^```|^(?: {4,}|\t).*?$"
    for found in re.findall(block, text, flags=re.M | re.S):
        for line in found.splitlines():
            if "secret-authority" in line and not line.startswith("```"):
                yield from ((words, False) for words in commands_of_line(line))
    for span in re.findall(r"`([^`]+)`", re.sub(block, "", text, flags=re.M | re.S)):
        if "secret-authority" in span:
            # A synopsis: what is in brackets may be given, of a|b any.
            plain = re.sub(r"(\w+)(?:\|\w+)+", r"\1", re.sub(r"[][]", "", span))
            yield from ((words, True) for words in commands_of_line(" ".join(plain.split())))


def wrong_commands(found: Iterable[tuple[list[str], bool]], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What the real parser says of each command that it refuses."""
    wrong = []
    for words, prose in found:
        if prose and verb_alone(words, parser()):
            continue
        try:
            parser().parse_args(words)
        except SystemExit as end:
            if end.code:
                wrong.append(f"{' '.join(words)}: {capsys.readouterr().err.strip().splitlines()[-1]}")
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_every_command_can_be_run_as_it_stands(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert wrong_commands(commands(page.read_text()), capsys) == []


def test_every_command_in_a_message_can_be_run_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    """Hints of the program name commands in backticks; what is in braces is put in when they are told."""
    rooms = ("cli", "components", "policy", "secret_authority", "toolchain")
    texts = [file.read_text() for room in rooms for file in sorted((ROOT / room).rglob("*.py"))]
    spans = [span for text in texts for span in re.findall(r"`secret-authority [^`\n]+`", text)]
    assert len(spans) > 10
    found = [command for span in spans for command in commands(re.sub(r"\{[^}]*\}", "VALUE", span))]
    assert wrong_commands(found, capsys) == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("`secret-authority ledger`", ""),
        ("`secret-authority root new`", ""),
        ("    $ secret-authority ledger", "required: --cluster"),
        ("    A=B secret-authority check --cluster $C | tail -1  # all", ""),
        ("    secret-authority check --cluster prod \\\n        --unknown", "unrecognized arguments: --unknown"),
        ("```\nsecret-authority policy check PATH --format xml\n```", "invalid choice: 'xml'"),
        ("`secret-authority enter NAME`", "required: --cluster"),
        ("`secret-authority\nenter --cluster C NAME`", ""),
        ("`secret-authority policy check PATH [--format text|json] [--phase N]`", ""),
        ("`secret-authority policy check PATH [--fromat text|json]`", "unrecognized arguments: --fromat"),
        ("`secret-authority nothing`", "invalid choice: 'nothing'"),
        ("    true && secret-authority root new --holder h", "required: --out"),
        ("    kubectl -n secret-authority get pods", ""),
    ],
)
def test_a_wrong_command_is_found(text: str, wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = wrong_commands(commands(text), capsys)
    assert len(found) == bool(wrong)
    assert all(wrong in message for message in found), found
