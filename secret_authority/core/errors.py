"""Errors in what people wrote: each names the file, the field and the fix.

Every check in the project collects `Problem`s and raises them together, so that one run shows all that
has to be mended. Messages never carry a secret value: callers pass names, paths and field names only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Problem:
    """One thing to mend: where it is, what is wrong, what to do."""

    file: str
    field: str
    message: str
    fix: str

    def __str__(self) -> str:
        where = f"{self.file}: {self.field}" if self.field else self.file
        return f"{where}: {self.message}. Fix: {self.fix}."


class InvalidInputError(Exception):
    """Raised before the first change, with every problem found."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(sorted(set(problems)))
        if not self.problems:
            raise ValueError("InvalidInputError needs at least one problem")
        super().__init__("\n".join(str(problem) for problem in self.problems))


def raise_if_any(problems: Iterable[Problem]) -> None:
    """Raise `InvalidInputError` when there is at least one problem."""
    found = tuple(problems)
    if found:
        raise InvalidInputError(found)


class Unavailable(Exception):
    """A system cannot be asked now (Vault sealed, API server away, network cut). A later run continues."""


class LostRace(Exception):
    """A conditional change found the world changed. Look again."""
