"""How much of a Git tree was read: where clusters start and why, and which files about secrets no cluster gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

# What a reader says of a file that another one takes in and the tree does not hold.
MISSING = "does not exist"
# The same where Git ignores the file: somebody's machine may have it.
HIDDEN = "is encrypted, so nobody can see which secret this is"
NOT_IN_GIT = "is ignored by Git (.gitignore), so it is not in the repository"
# Why a cluster starts somewhere, where the tree does not say it.
GUESS = "nothing in the tree says what is applied where"
ALTERNATIVE = "it defines objects that another folder defines too"
OVERLAY = "it is an overlay"
GUESSES = frozenset({GUESS, ALTERNATIVE, OVERLAY})


@dataclass(frozen=True, order=True)
class Entry:
    """Where a cluster starts: a folder or an object of the tree, and why."""

    cluster: str
    start: str
    why: str


@dataclass(frozen=True)
class Coverage:
    """What was read of a tree. Files are those about secrets; paths are relative to the root of the tree."""

    entries: tuple[Entry, ...] = ()
    read: tuple[str, ...] = ()
    # File -> why no cluster gets it, as far as the tree shows.
    unread: Mapping[str, str] = field(default_factory=dict)
    # File -> what leaves it out on purpose: a kustomization that lists its neighbours.
    left_out: Mapping[str, str] = field(default_factory=dict)
    # Files that the settings exclude, or that are examples and tests where nothing says what is applied.
    excluded: tuple[str, ...] = ()
    # What the tree takes in and does not hold, and what makes objects in a way that is not followed.
    remote: tuple[str, ...] = ()
    unexpanded: tuple[str, ...] = ()
    # Any file -> who applies it.
    reached: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    # Those of `read` that nothing in the tree applies, read as if they were applied by hand.
    by_hand: tuple[str, ...] = ()
    # Manifests that are beside the repository, and that Git ignores.
    ignored: tuple[str, ...] = ()

    @property
    def clusters(self) -> tuple[str, ...]:
        return tuple(sorted({entry.cluster for entry in self.entries}))

    @cached_property
    def guessed(self) -> frozenset[str]:
        """The clusters of which nothing in the tree says what they get."""
        said = {entry.cluster for entry in self.entries if entry.why not in GUESSES}
        return frozenset(self.clusters) - said

    @property
    def missing(self) -> int:
        """How many files and makers of objects were not read."""
        return len(self.unread) + len(self.remote) + len(self.unexpanded)

    @property
    def total(self) -> int:
        """Files about secrets, and makers of objects that are not followed. What is remote is not counted."""
        return len(self.read) + len(self.unread) + len(self.unexpanded)

    @property
    def percent(self) -> float:
        """Share of what is about secrets that was read, rounded down to a tenth; 100 where there is nothing."""
        return 100.0 if len(self.read) == self.total else int(1000 * len(self.read) / self.total) / 10
