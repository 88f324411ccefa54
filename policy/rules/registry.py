"""All rules, in the order of the documentation, and the one way to run them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from policy.context import RuleContext
from policy.inventory.resource import Resource
from policy.rules import (
    config_values,
    declared,
    exceptions,
    funnel,
    git_hygiene,
    phase,
    single_authority,
    vault_hygiene,
)
from policy.rules.base import Finding, Rule, Scope, Severity, Violation
from policy.settings import Level, Settings
from secret_authority.core.errors import Problem

THEMES: Final = {
    "Single authority": (*single_authority.RULES, *config_values.RULES),
    "One-way funnel": funnel.RULES,
    "Phases": phase.RULES,
    "Catalogue and bootstrap secrets": declared.RULES,
    "Git": git_hygiene.RULES,
    "Vault": vault_hygiene.RULES,
    "Exceptions": exceptions.RULES,
}
RULES: Final[tuple[Rule, ...]] = tuple(rule for rules in THEMES.values() for rule in rules)
BY_ID: Final = {rule.id: rule for rule in RULES}
_ORDER = {severity: rank for rank, severity in enumerate(reversed(Severity))}


def new_context(
    resources: Iterable[Resource],
    settings: Settings | None = None,
    problems: Iterable[Problem] = (),
    elsewhere: Iterable[str] = (),
    unjudged: Iterable[str] = (),
) -> RuleContext:
    """What the rules judge, with the names of all rules."""
    return RuleContext(resources, settings, problems, elsewhere, unjudged, BY_ID)


def violations(rule: Rule, context: RuleContext) -> Iterator[Violation]:
    """What a rule finds, each message once, without what a valid exception covers."""
    settings = context.settings
    seen: set[tuple[str, str]] = set()
    for violation in rule.check(context):
        key = (violation.message, str(violation.where))
        if key in seen or any(
            exemption.covers(rule.id, violation.names) and exemption.expires >= settings.today
            for exemption in settings.exceptions
        ):
            continue
        seen.add(key)
        yield violation


def check(context: RuleContext, rules: Iterable[Rule] = RULES) -> list[Finding]:
    """Run rules. The worst comes first."""
    found = [
        Finding(rule, violation, level)
        for rule in rules
        if (level := context.settings.levels.get(rule.id, rule.level)) is not Level.DISABLED
        for violation in violations(rule, context)
    ]
    return sorted(found, key=lambda f: (f.level is not Level.MANDATORY, _ORDER[f.rule.severity], f.rule.id, f.message))


__all__ = ["BY_ID", "RULES", "THEMES", "Scope", "check", "new_context", "violations"]
