"""What a folder gives when it is built."""

from __future__ import annotations

from dataclasses import dataclass

from policy.readers.git.files.manifests import Document
from secret_authority.core.errors import Problem


@dataclass(frozen=True)
class Build:
    """What a folder gives, and what was read for it. `remote` is what it takes in and the tree does not hold."""

    documents: tuple[Document, ...] = ()
    files: frozenset[str] = frozenset()
    folders: frozenset[str] = frozenset()
    remote: frozenset[str] = frozenset()
    problems: tuple[Problem, ...] = ()
    # Plugins that would make more, and are not run.
    plugins: frozenset[str] = frozenset()


class Building:
    """A build in the making."""

    def __init__(self) -> None:
        self.documents: list[Document] = []
        self.files: set[str] = set()
        self.folders: set[str] = set()
        self.remote: set[str] = set()
        self.problems: dict[Problem, None] = {}
        self.plugins: set[str] = set()

    def take(self, build: Build) -> None:
        self.documents += build.documents
        self.files |= build.files
        self.folders |= build.folders
        self.remote |= build.remote
        self.problems.update(dict.fromkeys(build.problems))
        self.plugins |= build.plugins

    def done(self) -> Build:
        return Build(
            tuple(self.documents),
            frozenset(self.files),
            frozenset(self.folders),
            frozenset(self.remote),
            tuple(self.problems),
            frozenset(self.plugins),
        )
