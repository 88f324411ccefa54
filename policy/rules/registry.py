"""All rules, in the order of the documentation, and the one way to run them over a world."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from policy.inventory.inventory import World
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
from policy.rules.base import Finding, Level, Report, Rule, Scope, Severity

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
_ORDER = {severity: location for location, severity in enumerate(reversed(Severity))}


def reports(rule: Rule, world: World) -> Iterator[Report]:
    """What a rule finds, each message once, without what a valid exception covers."""
    settings = world.settings
    seen: set[tuple[str, str]] = set()
    for report in rule.check(world):
        key = (report.message, str(report.where))
        if key in seen or any(
            exemption.covers(rule.id, report.names) and exemption.expires >= settings.today
            for exemption in settings.exceptions
        ):
            continue
        seen.add(key)
        yield report


def check(world: World, rules: Iterable[Rule] = RULES) -> list[Finding]:
    """Run rules over a world. The worst comes first."""
    found = [
        Finding(rule, report, level)
        for rule in rules
        if (level := world.settings.levels.get(rule.id, rule.level)) is not Level.DISABLED
        for report in reports(rule, world)
    ]
    return sorted(found, key=lambda f: (f.level is not Level.MANDATORY, _ORDER[f.rule.severity], f.rule.id, f.message))


__all__ = ["BY_ID", "RULES", "THEMES", "Scope", "check", "reports"]
