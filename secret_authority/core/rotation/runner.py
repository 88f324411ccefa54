"""Carrying out a rotation: observe, decide, do one thing, observe again.

Written once against `RotationBackend`; it knows no Vault, no Kubernetes and no target.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from secret_authority.core.errors import LostRace, Unavailable
from secret_authority.core.rotation.document import Document
from secret_authority.core.rotation.rotator import TargetRefusedError
from secret_authority.core.rotation.state_machine import Change, Move, Observation, Rules, Wait, next_move
from secret_authority.core.rotation.strategies import Strategy, after_failure

# A rotation of three steps needs about thirty; the rest is for lost races.
MOST_MOVES = 48


class NotAcceptedError(TargetRefusedError):
    """The target does not accept a value that was applied a moment ago."""


class RotationBackend(Protocol):
    """What one rotation needs. A change that depends on what was seen raises `LostRace` when it is no longer so."""

    def observe(self) -> Observation: ...

    def do(self, move: Move, seen: Observation) -> None:
        """Do what `move` says, never `Wait`. Raises `LostRace`, `Unavailable`, `TargetRefusedError`."""


@dataclass(frozen=True)
class Result:
    """How a look left one secret. `moves` are the things done; `unavailable` says what did not answer."""

    document: Document
    moves: tuple[Move, ...]
    waits_for: str = ""
    unavailable: str = ""


def advance(
    rules: Rules, strategy: Strategy, backend: RotationBackend, draw: Callable[[], float], most: int = MOST_MOVES
) -> Result:
    """Take one secret as far as it goes now. Raises nothing that the outside does."""
    done: list[Move] = []
    document = Document()
    try:
        for _ in range(most):
            try:
                seen = backend.observe()
            except TargetRefusedError as error:
                # Asked for nothing but a look, and refused: a login of the engine's own, say. It concerns this secret.
                return Result(document, tuple(done), unavailable=str(error))
            document = seen.document
            move = next_move(rules, seen)
            if isinstance(move, Wait):
                return Result(document, tuple(done), waits_for=move.reason)
            try:
                try:
                    backend.do(move, seen)
                    done.append(move)
                except TargetRefusedError as error:
                    failed = Change(after_failure(document, strategy, str(error), seen.now, draw()), "failed")
                    backend.do(failed, seen)
                    done.append(failed)
            except LostRace:
                continue
    except Unavailable as error:
        return Result(document, tuple(done), unavailable=str(error))
    return Result(document, tuple(done), waits_for="more moves are due; the next look continues")
