"""What is gathered while a tree is read."""

from __future__ import annotations

from dataclasses import dataclass, field

from policy.inventory.coverage import Coverage
from policy.inventory.resource import Resource
from policy.readers.git.appliers import Appliers
from policy.readers.git.flux.sources import Sources
from policy.readers.git.kustomize.build import Build
from policy.readers.git.kustomize.renderer import Renderer
from secret_authority.core.errors import Problem


@dataclass
class Tree:
    """What a tree holds: the resources of every cluster, and what could not be read."""

    resources: list[Resource] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    # Kustomizations and Applications whose source is another one than this tree.
    elsewhere: list[str] = field(default_factory=list)
    # What is in the tree and was not judged: templates, and files that no cluster gets.
    unjudged: list[str] = field(default_factory=list)
    coverage: Coverage = field(default_factory=Coverage)

    @property
    def clusters(self) -> tuple[str, ...]:
        return self.coverage.clusters


@dataclass
class Reading:
    """The reading of a whole tree, which clusters add to."""

    renderer: Renderer
    sources: Sources
    # Repositories that are this tree.
    own: frozenset[str]
    appliers: Appliers
    tree: Tree = field(default_factory=Tree)
    problems: dict[Problem, None] = field(default_factory=dict)
    remote: dict[str, None] = field(default_factory=dict)
    unexpanded: dict[str, None] = field(default_factory=dict)
    # What is wrong with builds and files that nothing in the tree applies. Where all rules count, it is a problem too.
    unapplied: dict[Problem, None] = field(default_factory=dict)
    all_count: bool = False
    # Files that a cluster gets, and who applies them.
    reached: dict[str, list[str]] = field(default_factory=dict)
    # Folders that were built, and who applies them.
    built: dict[str, set[str]] = field(default_factory=dict)
    # Files that nothing applies, read as if somebody did by hand.
    hand_read: list[str] = field(default_factory=list)

    def note(self, build: Build, by: str, guessed: bool = False) -> None:
        """Notes who gets the files of a build, and what it does not hold. `guessed`: nothing says that it is."""
        for file in build.files:
            who = self.reached.setdefault(file, [])
            if by not in who:
                who.append(by)
        for folder in build.folders:
            self.built.setdefault(folder, set()).add(by)
        for entry in sorted(build.remote):
            folder = min(build.folders, default=".")
            self.remote[f"{_shortened(entry)} (taken in below {folder})"] = None
        for plugin in sorted(build.plugins):
            self.unexpanded[plugin] = None
        (self.unapplied if guessed and not self.all_count else self.problems).update(dict.fromkeys(build.problems))


def _shortened(entry: str) -> str:
    """A remote entry without what could be a credential in its URL."""
    scheme, found, rest = entry.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2] if '@' in rest.partition('/')[0] else rest}" if found else entry
