"""All rules, in the order of the documentation, and the one way to run them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from policy.context import RuleContext
from policy.inventory.coverage import Coverage
from policy.inventory.resource import Position, Resource
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
from policy.rules.base import Finding, Rule, Scope, Severity, Violation, by_cause
from policy.rules.git_hygiene import shown_in_the_clear
from policy.rules.named_only import carried_elsewhere, unread_policies, written_by_commands
from policy.rules.single_authority import hidden_names
from policy.rules.unknown_kinds import of_unknown_effect
from policy.settings import Level, Profile, Settings
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
# The rules of the profile "authority": who decides a value, what is readable in Git, and what could not be seen.
AUTHORITY: Final = frozenset(
    {
        "single-authority",
        "undecided-authority",
        "catalogued-key-in-config",
        "upward-flow",
        "catalogue-valid",
        "plaintext-secret",
        "half-encrypted-secret",
        "sops-rules",
        "encrypted-not-decrypted",
        "unread-manifest",
        "coverage",
        "vault-injection",
        "root-token",
        "expired-exception",
    }
)
_ORDER = {severity: rank for rank, severity in enumerate(reversed(Severity))}


def new_context(
    resources: Iterable[Resource],
    settings: Settings | None = None,
    problems: Iterable[Problem] = (),
    elsewhere: Iterable[str] = (),
    unjudged: Iterable[str] = (),
    coverage: Coverage | None = None,
) -> RuleContext:
    """What the rules judge, with the names of all rules."""
    return RuleContext(resources, settings, problems, elsewhere, unjudged, BY_ID, coverage)


def unjudged(context: RuleContext) -> list[str]:
    """What was read and could not be judged, by a reader or by a rule of the profile."""
    notes = [
        ("plaintext-secret", shown_in_the_clear),
        ("undecided-authority", hidden_names),
        ("undecided-authority", unread_policies),
        ("undecided-authority", carried_elsewhere),
        ("undecided-authority", written_by_commands),
        ("undecided-authority", of_unknown_effect),
    ]
    found = [note for rule, told in notes if counts(BY_ID[rule], context) for note in told(context)]
    return list(dict.fromkeys([*context.unjudged, *found]))


def violations(rule: Rule, context: RuleContext) -> list[Violation]:
    """What a rule finds, each cause in a file once, without what a valid exception covers."""
    return by_cause(_not_excepted(rule, context))


def _not_excepted(rule: Rule, context: RuleContext) -> Iterator[Violation]:
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


def counts(rule: Rule, context: RuleContext) -> bool:
    """Whether a rule is of the profile, or named in the levels of the settings."""
    listed = context.settings.levels.get(rule.id)
    if listed is not None:
        return listed is not Level.DISABLED
    return rule.level is not Level.DISABLED and (context.profile is Profile.RFC or rule.id in AUTHORITY)


def check(context: RuleContext, rules: Iterable[Rule] = RULES) -> list[Finding]:
    """Run the rules of the profile. The worst comes first. A rule that cannot judge something says so in a finding."""
    found: list[Finding] = []
    for rule in rules:
        if not counts(rule, context):
            continue
        try:
            judged = violations(rule, context)
        except (TypeError, ValueError, AttributeError, KeyError, IndexError, RecursionError) as error:
            message = f"rule {rule.id} cannot judge what is there ({type(error).__name__}): a field has a wrong type"
            found.append(Finding(BY_ID["unread-manifest"], Violation(message, Position(), (rule.id,)), Level.MANDATORY))
            continue
        for violation in judged:
            level = context.settings.levels.get(rule.id) or violation.level or rule.level
            found.append(Finding(rule, violation, level))
    return sorted(
        found,
        key=lambda f: (
            f.level is not Level.MANDATORY,
            _ORDER[f.rule.severity],
            f.rule.id,
            f.where.file,
            f.where.line,
            f.message,
        ),
    )


__all__ = ["AUTHORITY", "BY_ID", "RULES", "THEMES", "Scope", "check", "counts", "new_context", "violations"]
