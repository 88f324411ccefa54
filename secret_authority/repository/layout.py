"""Where a cluster's intent is in the repository."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from secret_authority.core.errors import InvalidInputError, Problem, raise_if_any

# The catalogue, its tombstones and its configuration values are no Kubernetes objects: Flux refuses to apply a folder
# that holds them. So they have a place of their own at the top of the repository, outside of the folders of clusters.
HOME = "secret-authority"


def refuse_outside(*paths: str) -> None:
    """Raise `InvalidInputError` with each path that leads out of the repository: nothing is read or written there."""
    fix = "give it relative to its root, without .."
    raise_if_any(
        Problem(path or '""', "", "is not a path inside of the repository", fix)
        for path in paths
        if not path or not path.isprintable() or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts
    )


@dataclass(frozen=True)
class Layout:
    """The files and folders of one cluster, relative to the root of the repository.

    Raises `InvalidInputError` for a path that leads out of it.
    """

    cluster: str
    catalogue: str
    # Folders that Flux applies with decryption.
    bootstrap: tuple[str, ...]

    def __post_init__(self) -> None:
        refuse_outside(self.catalogue, *self.bootstrap)

    @classmethod
    def of(
        cls, cluster: str, catalogue: str | None = None, bootstrap: Sequence[str] = (), root: Path | None = None
    ) -> Layout:
        """The usual layout of a cluster, where nothing else is said.

        With `root`, a catalogue in the place of earlier versions, `clusters/CLUSTER`, is found as well. Raises
        `InvalidInputError` when there is one in both places.
        """
        folders = tuple(bootstrap) or (f"clusters/{cluster}/bootstrap",)
        return cls(cluster, catalogue or _usual_catalogue(cluster, root), folders)

    @property
    def home(self) -> str:
        """The folder of the catalogue; tombstones are beside it."""
        return str(PurePosixPath(self.catalogue).parent)

    @property
    def config(self) -> str:
        """The folder of configuration values, one file for each entry of class config."""
        return f"{self.home}/config"


def _usual_catalogue(cluster: str, root: Path | None) -> str:
    usual, earlier = f"{HOME}/{cluster}/catalogue.yaml", f"clusters/{cluster}/catalogue.yaml"
    if root is None or not (root / earlier).exists():
        return usual
    if (root / usual).exists():
        fix = f"remove the one that is out of date; {earlier} is the place of earlier versions"
        raise InvalidInputError([Problem(usual, "", f"is a second catalogue of {cluster}, beside {earlier}", fix)])
    return earlier
