"""Findings and rules: the shape that every theme of rules shares, independent of how they are run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from policy.context import RuleContext
from policy.inventory.resource import Position, Resource
from policy.settings import Level
from secret_authority.core.errors import Problem

# How many names a message lists.
LISTED = 8


class Severity(StrEnum):
    """How bad a violation is."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Scope(StrEnum):
    """RESOURCE rules judge one object, and so run before each step; STACK rules need all of them."""

    RESOURCE = "resource"
    STACK = "stack"


@dataclass(frozen=True)
class Violation:
    """What a check yields. `names` are the subjects by which an exception may be written.

    The message holds names, namespaces, keys, paths and types; never a value.
    """

    message: str
    where: Position
    names: tuple[str, ...]
    # The level of this one violation, where it is not that of its rule.
    level: Level | None = None
    # The object that the message is about, which it begins with; empty where it is about none, or already about all.
    about: str = ""
    # What has to be mended, where that is not the place: violations of one cause are one finding.
    cause: str = ""
    # What comes before the names of the others of one cause.
    others: str = "The same place makes"


Check = Callable[[RuleContext], Iterable[Violation]]


@dataclass(frozen=True)
class Rule:
    """One rule. `rfc` is the section of RFC-SECOPS-0001 that asks for it; `fix` the way out."""

    id: str
    title: str
    why: str
    fix: str
    rfc: str
    severity: Severity
    level: Level
    scope: Scope
    check: Check
    # Type tokens that a RESOURCE rule looks at, as a quick test; None means all.
    concerns: Callable[[Resource], bool] | None = None


@dataclass(frozen=True)
class Finding:
    """A violation with its rule and the level that counts here, ready to be shown."""

    rule: Rule
    violation: Violation
    level: Level

    @property
    def message(self) -> str:
        return self.violation.message

    @property
    def where(self) -> Position:
        return self.violation.where


def about(resource: Resource, message: str, *others: str) -> Violation:
    """A violation by one object; its label, location and logical name can be named in exceptions."""
    names = (resource.label, resource.name, resource.where.urn or resource.where.file, *others)
    return Violation(f"{resource.label}: {message}", resource.where, names, about=resource.label)


def by_cause(violations: Iterable[Violation]) -> list[Violation]:
    """One violation for each cause in a file: what one place makes in ten namespaces is mended once."""
    causes: dict[object, list[Violation]] = {}
    for number, violation in enumerate(violations):
        cause: object = violation.cause or (violation.where, violation.message.removeprefix(violation.about))
        if not violation.about or not violation.where.file or violation.where.urn:
            cause = number
        causes.setdefault(cause, []).append(violation)
    return [_of_all(found) for found in causes.values()]


def _of_all(found: list[Violation]) -> Violation:
    first = found[0]
    others = sorted({other.about for other in found[1:]} - {first.about})
    if not others:
        return first
    names = tuple(dict.fromkeys([*first.names, *others]))
    return replace(first, message=f"{first.message}. {first.others} {some(others)}", names=names)


def some(names: Sequence[str]) -> str:
    """The first names of a list, and how many more there are."""
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")


def refused(problem: Problem) -> Violation:
    """What `secret-authority check` refuses, in its own words."""
    return Violation(str(problem), Position(file=problem.file), (problem.file, problem.field))
