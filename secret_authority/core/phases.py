"""The five phases, who holds authority in each, and which moves between phases are allowed.

RFC-SECOPS-0001 §3.2 (phase model) and §3.3 (authority by phase).
"""

from __future__ import annotations

from enum import IntEnum, StrEnum


class Authority(StrEnum):
    """The systems that may hold authority over a secret. Kubernetes and the Pulumi state are not among them."""

    OFFLINE_ROOT = "offline-root"
    GIT = "git"
    VAULT = "vault"


class Phase(IntEnum):
    """Phases come in order; a cluster may stay in any of them for ever (RFC §3.2)."""

    ROOT_OF_TRUST = 0
    GITOPS = 1
    BOOTSTRAP = 2
    RUNTIME_AUTHORITY = 3
    CONSUMPTION = 4

    @property
    def title(self) -> str:
        return self.name.lower().replace("_", " ")

    @property
    def authority(self) -> Authority:
        """The authoritative system of the phase. In phases 3 and 4 a secret that is not yet handed over
        still belongs to Git: ask the ledger for a single secret."""
        if self is Phase.ROOT_OF_TRUST:
            return Authority.OFFLINE_ROOT
        return Authority.GIT if self <= Phase.BOOTSTRAP else Authority.VAULT


class PhaseRefusedError(Exception):
    """A move between phases that would send authority upwards, or a phase that does not exist."""


def parse_phase(value: object) -> Phase:
    """Read a phase from configuration. Raises `PhaseRefusedError` with the allowed values."""
    allowed = ", ".join(f"{phase.value} ({phase.title})" for phase in Phase)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise PhaseRefusedError(f"phase must be one of {allowed}, not {value!r}")
    try:
        return Phase(int(value))
    except ValueError:
        raise PhaseRefusedError(f"phase must be one of {allowed}, not {value!r}") from None


def check_transition(reached: Phase | None, wanted: Phase) -> tuple[Phase, ...]:
    """Say which phases have to be built, in order, to get from `reached` to `wanted`.

    `reached` is the highest phase on record for this cluster, None for a new one. The same phase again
    gives an empty tuple. A lower phase raises `PhaseRefusedError`: authority never flows up (RFC §3.4).
    """
    if reached is not None and wanted < reached:
        moved = (
            f"authority would move from {reached.authority} back to {wanted.authority}"
            if reached.authority is not wanted.authority
            else f"what phase {reached.value} built would be taken away from under its users"
        )
        raise PhaseRefusedError(
            f"this cluster has reached phase {reached.value} ({reached.title}); phase {wanted.value} "
            f"({wanted.title}) is refused because {moved}, and authority never flows up. "
            f"Set phase back to {reached.value}, or, when the cluster is lost and built again, go by "
            "docs/runbooks/rebuild.md."
        )
    start = 0 if reached is None else reached.value + 1
    return tuple(Phase(number) for number in range(start, wanted.value + 1))
