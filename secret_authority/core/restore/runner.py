"""Carrying out a restore: observe, decide, do one thing, observe again.

Written once against `RestoreBackend`; it knows no Vault and no Kubernetes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from secret_authority.core.errors import LostRace, Unavailable
from secret_authority.core.restore.state_machine import Done, Move, Observation, Refused, Step, Wait, next_move

# How many looks a run takes before it gives up: about ten lead to an open Vault, the rest is waiting. The backend's
# `pause` decides for how long that is.
MOST_LOOKS = 240


class RestoreBackend(Protocol):
    """What a restore needs. Both calls raise `Unavailable`, and `LostRace` when another run was faster."""

    def observe(self) -> Observation: ...

    def do(self, step: Step, seen: Observation) -> None: ...

    def pause(self) -> None: ...


@dataclass(frozen=True)
class Result:
    """How a run ended: `Done`, `Refused`, or `Wait` when it gave up and has to be run again."""

    end: Done | Refused | Wait
    steps: tuple[Step, ...]


def restore(
    snapshot: str,
    backend: RestoreBackend,
    progress: Callable[[Step], object] = lambda _: None,
    most_looks: int = MOST_LOOKS,
) -> Result:
    """Restore `snapshot`, as far as it goes now. May be killed at any point and run again."""
    steps: list[Step] = []
    reason = ""
    for _ in range(most_looks):
        try:
            seen = backend.observe()
            move: Move = next_move(snapshot, seen)
            if isinstance(move, (Done, Refused)):
                return Result(move, tuple(steps))
            if isinstance(move, Step):
                backend.do(move, seen)
                progress(move)
                steps.append(move)
                continue
            reason = move.reason
        except (Unavailable, LostRace) as error:
            reason = str(error) or "another run was faster"
        backend.pause()
    return Result(Wait(reason or "more steps are due; run it again"), tuple(steps))
