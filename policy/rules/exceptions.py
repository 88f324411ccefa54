"""Exceptions have a reason and an end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from policy.inventory.resource import Position
from policy.rules.base import Level, Report, Rule, Scope, Severity

if TYPE_CHECKING:
    from policy.inventory.inventory import World


def _known() -> frozenset[str]:
    # Imported late: the registry lists this theme among the others.
    from policy.rules.registry import BY_ID

    return frozenset(BY_ID)


def expired_exception(world: World) -> Iterator[Report]:
    for exemption in world.settings.exceptions:
        names = (exemption.rule, exemption.subject)
        what = f"the exception from {exemption.rule} for {exemption.subject}"
        if exemption.rule not in _known():
            yield Report(f"{what} names no rule. Correct the name, or remove it", Position(), names)
        elif exemption.expires < world.settings.today:
            yield Report(
                f"{what} ended on {exemption.expires.isoformat()}. Mend what it excused and remove it, or decide anew",
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
