"""Every rule over a stack, through the SDK's own servicer: fails, passes, and says what it must."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from policy.readers.state import read_state
from policy.rules.base import Level
from policy.rules.registry import BY_ID, RULES, check, new_context
from policy.settings import parse_settings
from tests.support.policy.cases import CASES, Case, external, plain, store
from tests.support.policy.stacks import CANARY, UNKNOWN, R, SecretMark, context_of_state, secret, state_of, verdicts
from tests.support.policy.trees import TREE_RULES

IDS = [case.rule for case in CASES]


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_the_bad_stack_fails_and_says_why(case: Case) -> None:
    found = verdicts(case.bad, case.config)
    assert case.rule in found, found
    text = "\n".join(found[case.rule])
    for wanted in case.says:
        assert wanted in text


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_the_near_twin_passes(case: Case) -> None:
    assert case.rule not in verdicts(case.good)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_a_state_file_gives_the_same_verdict(case: Case) -> None:
    settings = parse_settings(case.config or None, "settings")
    ids = {finding.rule.id for finding in check(context_of_state(case.bad, settings))}
    assert case.rule in ids
    assert case.rule not in {finding.rule.id for finding in check(context_of_state(case.good))}


@pytest.mark.parametrize(("mark", "claims"), [(None, True), ("external", False), ("delete", False)])
def test_what_a_stack_only_reads_or_deletes_makes_no_claim(mark: str | None, claims: bool) -> None:
    state = state_of([plain("shop/db"), store("shop"), external("shop/db", "pg/shop")])
    for entry in state["deployment"]["resources"]:
        if entry["type"] == "kubernetes:core/v1:Secret" and mark:
            entry[mark] = True
    found = {finding.rule.id for finding in check(new_context(read_state(state, "state.json")))}
    assert ("single-authority" in found) is claims
    assert ("pulumi-held-secret" in found) is claims


@pytest.mark.parametrize(("platform", "found"), [("platform", False), ("vault", True)])
def test_only_the_platform_uses_bootstrap_secrets(platform: str, found: bool) -> None:
    case = next(case for case in CASES if case.rule == "bootstrap-secret-used")
    assert (case.rule in verdicts(case.bad, {"platformNamespaces": [platform]})) is found


def test_every_rule_has_a_case() -> None:
    assert {case.rule for case in CASES} | TREE_RULES == set(BY_ID)


def _spots(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value, also of mappings and lists."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _spots(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _spots(inner, (*path, index))


def _with(resource: R, path: tuple[Any, ...], change: Any) -> R:
    props = copy.deepcopy(dict(resource.props))
    spot: Any = props
    for step in path[:-1]:
        spot = spot[step]
    spot[path[-1]] = change(spot[path[-1]])
    return replace(resource, props=props)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_an_unknown_in_any_position_never_ends_a_policy(case: Case) -> None:
    """Each value in turn is made unknown. No policy may give up: the SDK would turn that into an advisory line."""
    for number, resource in enumerate(case.bad):
        for path in _spots(dict(resource.props)):
            stack = list(case.bad)
            stack[number] = _with(resource, path, lambda _: UNKNOWN)
            for rule, messages in verdicts(stack, case.config).items():
                assert not [m for m in messages if "can't run policy" in m], (rule, path)
                assert CANARY not in "".join(messages), (rule, path)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_a_secret_in_any_position_changes_no_verdict(case: Case) -> None:
    plain = verdicts(case.bad, case.config)
    for number, resource in enumerate(case.bad):
        for path in _spots(dict(resource.props)):
            stack = list(case.bad)
            stack[number] = _with(resource, path, lambda v: v if isinstance(v, SecretMark) else secret(v))
            assert verdicts(stack, case.config) == plain, path


def test_identity_that_is_not_known_fails_closed() -> None:
    """Made unknown, each part of the identity turns the certain conflict into one that cannot be ruled out."""
    case = next(case for case in CASES if case.rule == "single-authority")
    external = case.bad[-1]
    for path in (("metadata", "namespace"), ("metadata", "name"), ("spec", "target")):
        found = verdicts([*case.bad[:-1], _with(external, path, lambda _: UNKNOWN)])
        assert "undecided-authority" in found or "single-authority" in found, path
    hidden = _with(external, ("metadata", "name"), lambda _: UNKNOWN)
    (message,) = verdicts([*case.bad[:-1], hidden])["undecided-authority"]
    assert "Make known: metadata.name of externalsecret-one-db" in message


def test_no_message_ever_carries_a_value() -> None:
    for case in CASES:
        for stack in (case.bad, case.good):
            assert CANARY not in str(verdicts(stack, case.config))


def test_the_pack_is_silent_on_an_empty_stack() -> None:
    assert verdicts([]) == {}


def test_levels_are_the_rules_own() -> None:
    assert {rule.level for rule in RULES} == {Level.MANDATORY, Level.ADVISORY}
    advisory = {rule.id for rule in RULES if rule.level is Level.ADVISORY}
    assert "single-authority" not in advisory
