"""The corpus: repositories in the manner of public ones, each with the verdict that it must get."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.policy.stacks import CANARY
from tests.support.policy.trees import TREE_RULES, Repository, corpus, findings_of

REPOSITORIES = corpus()


@pytest.mark.parametrize("repository", REPOSITORIES, ids=[r.name for r in REPOSITORIES])
def test_the_verdict(repository: Repository, tmp_path: Path) -> None:
    found = findings_of(repository.write(tmp_path), repository.settings)
    missed = [
        (rule, part)
        for rule, parts in repository.expect.items()
        for part in parts
        if not any(rule == other and part in message for other, message in found)
    ]
    false_alarms = [
        (rule, message)
        for rule, message in found
        if not any(part in message for part in repository.expect.get(rule, []))
    ]
    assert not missed, (missed, found)
    assert not false_alarms
    assert CANARY not in str(found)


def test_true_and_false_positives(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """The figures over the whole corpus; each wrong verdict is named by the test above."""
    wanted = true = false = clean = 0
    for repository in REPOSITORIES:
        found = findings_of(repository.write(tmp_path / repository.name), repository.settings)
        parts = [(rule, part) for rule, listed in repository.expect.items() for part in listed]
        hits = {(rule, part) for rule, part in parts for other, m in found if rule == other and part in m}
        wanted, true = wanted + len(parts), true + len(hits)
        false += sum(not any(p in m for p in repository.expect.get(rule, [])) for rule, m in found)
        clean += not found
    record_property("corpus", f"{len(REPOSITORIES)} repositories, {clean} clean, {true}/{wanted} found, {false} false")
    assert (true, false) == (wanted, 0)
    assert wanted >= 30
    assert clean >= 8


def test_every_tree_rule_has_a_case() -> None:
    assert {rule for r in REPOSITORIES for rule in r.expect} >= TREE_RULES
