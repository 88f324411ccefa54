"""Findings and rules: the shape that every theme of rules shares, independent of how they are run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from policy.inventory.resource import Position, Resource

if TYPE_CHECKING:
    from policy.inventory.inventory import World


class Severity(StrEnum):
    """How bad a violation is."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Level(StrEnum):
    """What a violation does: mandatory stops, advisory tells."""

    ADVISORY = "advisory"
    MANDATORY = "mandatory"
    DISABLED = "disabled"


class Scope(StrEnum):
    """RESOURCE rules judge one object, and so run before each step; STACK rules need all of them."""

    RESOURCE = "resource"
    STACK = "stack"


@dataclass(frozen=True)
class Report:
    """What a check yields. `names` are the subjects by which an exception may be written.

    The message holds names, namespaces, keys, paths and types; never a value.
    """

    message: str
    where: Position
    names: tuple[str, ...]


Check = Callable[["World"], Iterable[Report]]


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
    """A violation of a rule, ready to be shown."""

    rule: Rule
    report: Report
    level: Level

    @property
    def message(self) -> str:
        return self.report.message

    @property
    def where(self) -> Position:
        return self.report.where


def about(resource: Resource, message: str, *others: str) -> Report:
    """A report about one object; its label, location and logical name can be named in exceptions."""
    names = (resource.label, resource.name, resource.where.urn or resource.where.file, *others)
    return Report(f"{resource.label}: {message}", resource.where, names)
