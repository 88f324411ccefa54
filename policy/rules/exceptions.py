"""Exceptions have a reason and an end."""

from __future__ import annotations

from collections.abc import Iterator

from policy.context import RuleContext
from policy.inventory.resource import Position
from policy.rules.base import Rule, Scope, Severity, Violation
from policy.settings import Level


def expired_exception(context: RuleContext) -> Iterator[Violation]:
    for exemption in context.settings.exceptions:
        names = (exemption.rule, exemption.subject)
        what = f"the exception from {exemption.rule} for {exemption.subject}"
        if exemption.rule not in context.rule_ids:
            yield Violation(f"{what} names no rule. Correct the name, or remove it", Position(), names)
        elif exemption.expires < context.settings.today:
            yield Violation(
                f"{what} ended on {exemption.expires.isoformat()}. Correct what it excused and remove it, or set a new "
                "date",
                Position(),
                names,
            )


RULES = (
    Rule(
        "expired-exception",
        "Exceptions end",
        "An exception that nobody looks at again is a rule that does not exist.",
        "Mend the cause and remove the exception, or set a new date with a new decision.",
        "§2",
        Severity.HIGH,
        Level.MANDATORY,
        Scope.STACK,
        expired_exception,
    ),
)
