"""The documentation and the rules are the same list, and the examples of the documentation are true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from policy.rules.base import Rule, Scope
from policy.rules.registry import RULES, THEMES
from policy.settings import parse_settings
from tests.support.policy.trees import findings_of

PAGE = Path(__file__).parents[3] / "docs" / "policy" / "rules.md"
_SECTION = re.compile(r"^### (\S+)$", re.MULTILINE)
_BLOCK = re.compile(r"```(\w+)\n(.*?)\n```", re.DOTALL)
_FILE = re.compile(r"^# file: (\S+)$", re.MULTILINE)
_SETTINGS = re.compile(r"^# settings: (.*)$", re.MULTILINE)


def sections() -> dict[str, str]:
    pieces = _SECTION.split(PAGE.read_text())
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


SECTIONS = sections()
EXECUTED = [rule for rule in RULES if "```yaml" in SECTIONS.get(rule.id, "")]


def test_documentation_and_rules_are_the_same_list_in_the_same_order() -> None:
    assert list(SECTIONS) == [rule.id for rule in RULES]
    assert re.findall(r"^## (.+)$", PAGE.read_text(), re.MULTILINE) == list(THEMES)


@pytest.mark.parametrize("rule", RULES, ids=[rule.id for rule in RULES])
def test_a_section_says_what_the_rule_says(rule: Rule) -> None:
    text = SECTIONS[rule.id]
    scope = "object" if rule.scope is Scope.RESOURCE else "stack"
    head = f"**{rule.title}.** {rule.severity.value}, {rule.level.value}, {scope} rule, RFC-SECOPS-0001 {rule.rfc}."
    for wanted in (head, f"Why: {rule.why}", f"Fix: {rule.fix}", "Fails:"):
        assert wanted in text
    assert len(_BLOCK.findall(text)) == 2


def _check(example: str, into: Path) -> set[str]:
    lines = _SETTINGS.findall(example)
    given = yaml.safe_load("\n".join(lines)) if lines else {}
    settings = parse_settings({"profile": "rfc", **given}, "example")
    pieces = _FILE.split(example)
    files = dict(zip(pieces[1::2], pieces[2::2], strict=True)) or {"all.yaml": example}
    for name, text in files.items():
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        (into / name).write_text(text)
    return {rule for rule, _ in findings_of(into, settings)}


@pytest.mark.parametrize("rule", EXECUTED, ids=[rule.id for rule in EXECUTED])
def test_the_failing_example_fails_and_the_fix_passes(rule: Rule, tmp_path: Path) -> None:
    (_, bad), (_, good) = _BLOCK.findall(SECTIONS[rule.id])
    assert rule.id in _check(bad, tmp_path / "bad")
    assert rule.id not in _check(good, tmp_path / "good")


def test_most_examples_are_run() -> None:
    assert len(EXECUTED) >= 30
