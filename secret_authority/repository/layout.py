"""Where a cluster's intent is in the repository."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """Where things lie in the repository, relative to its root."""

    cluster: str
    catalogue: str
    # Folders that Flux applies with decryption.
    bootstrap: tuple[str, ...]

    @classmethod
    def of(cls, cluster: str, catalogue: str | None = None, bootstrap: Sequence[str] = ()) -> Layout:
        """The usual layout of a cluster, where nothing else is said."""
        home = f"clusters/{cluster}"
        return cls(cluster, catalogue or f"{home}/catalogue.yaml", tuple(bootstrap) or (f"{home}/bootstrap",))
