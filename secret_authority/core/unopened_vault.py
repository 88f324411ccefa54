"""A Vault that was initialised and lost its unseal shares before they were stored: may it be cleared?

Nobody can open it, and nothing was ever written to it. That is decided from what is seen alone, and everything that
would be otherwise if it had ever been in service counts. What is unknown is none of the expected answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from secret_authority.core.phases import Phase

# What the record of an initialisation holds while nothing has come of it.
CLAIM = frozenset({"claimed", "run"})


@dataclass(frozen=True)
class SealSeen:
    """What one Vault pod answers without a token: `shares` and `threshold` as it was initialised with."""

    initialised: bool
    sealed: bool
    shares: int = 0
    threshold: int = 0


@dataclass(frozen=True)
class Traces:
    """What a Vault that was ever in service leaves behind, each empty where there is none.

    `objects`: records, consumed Secrets and stored shares in the cluster, as they are shown to people. `in_git`: a copy
    of unseal shares, or tombstones. `reached` and `stack`: the highest phase on record in the cluster and in the stack.
    """

    objects: tuple[str, ...]
    in_git: tuple[str, ...]
    reached: Phase | None
    stack: Phase | None


@dataclass(frozen=True)
class UnopenedVault:
    """One look at Vault. `record`: the data of the record of its initialisation, None for no record.

    `pods`: the pods by number, None for one that does not answer. `wanted`: unseal shares and threshold as configured.
    """

    record: Mapping[str, str] | None
    pods: tuple[SealSeen | None, ...]
    wanted: tuple[int, int]
    traces: Traces


def why_not_cleared(seen: UnopenedVault) -> str:
    """Why this Vault is left alone; empty when it never held a value and never can."""
    if seen.record is None:
        return "this program has not asked for its initialisation"
    if extra := sorted(set(seen.record) ^ CLAIM):
        return f"the record of its initialisation is not a bare claim: {', '.join(extra)}"
    if not seen.pods or any(pod is None for pod in seen.pods):
        return "not every Vault pod answers"
    first, *others = (pod for pod in seen.pods if pod is not None)
    if not first.initialised:
        return "it is not initialised"
    if not first.sealed:
        return "it is unsealed"
    if (first.shares, first.threshold) != seen.wanted:
        return "it was initialised with other numbers of unseal shares"
    if any(pod.initialised or not pod.sealed for pod in others):
        return "another pod is initialised as well"
    return _traces(seen.traces)


def _traces(found: Traces) -> str:
    if signs := [*found.objects, *found.in_git]:
        return f"there are signs that it was in service: {', '.join(signs)}"
    for where, phase in (("the cluster", found.reached), ("the stack", found.stack)):
        if phase is not None and phase >= Phase.RUNTIME_AUTHORITY:
            return f"{where} has reached phase {phase.value} on record"
    return ""
