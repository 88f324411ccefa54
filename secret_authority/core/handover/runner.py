"""Carrying out a handover: observe, decide, do one step, observe again.

The loop is written once against `HandoverBackend` and knows no Vault and no Kubernetes. The engine passes an
adapter to the real systems, the tests one that fails at every boundary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from secret_authority.core.errors import LostRace, Unavailable
from secret_authority.core.handover.state_machine import (
    Begun,
    Blocked,
    Bootstrap,
    Done,
    InGit,
    InVault,
    Notice,
    Observation,
    Plan,
    Record,
    SecretTrail,
    Step,
    next_move,
    notices,
)


class HandoverBackend(Protocol):
    """The systems that a handover reads and changes. Each call is one request or a few reads.

    Changes are conditional: they raise `LostRace` when what they build on has changed, and `Unavailable`
    when it is not known whether they were done.
    """

    def observe_vault(self, plan: Plan) -> InVault: ...

    def observe_bootstrap(self, plan: Plan) -> Bootstrap | None: ...

    def observe_git(self, plan: Plan) -> InGit: ...

    def observe_trail(self, plan: Plan, whole: bool) -> SecretTrail:
        """The event of this handover; with `whole`, the other events that gave the secret to Vault as well."""

    def observe_begun(self, plan: Plan) -> Begun | None: ...

    def begin(self, plan: Plan) -> None:
        """Note id and place, create-only."""

    def write(self, plan: Plan) -> None:
        """Copy the value of the bootstrap Secret last observed to Vault, check-and-set 0."""

    def record(self, plan: Plan, digest: str) -> None:
        """Patch the record into the metadata. Raises `LostRace` when there is one by now."""

    def consume(self, plan: Plan, record: Record) -> None:
        """Empty and mark the bootstrap Secret last observed."""

    def audit(self, plan: Plan, record: Record) -> None:
        """Append the event, create-only."""


@dataclass(frozen=True)
class Result:
    """How a run left one secret. `steps` are those that this run did."""

    secret: str
    end: Done | Blocked | Unavailable
    steps: tuple[Step, ...]
    notices: tuple[Notice, ...] = ()


# Each step is needed at most once; the rest is for lost races and a Secret that Flux creates again meanwhile.
_MOST_MOVES = 16


def hand_over(plan: Plan, backend: HandoverBackend) -> Result:
    """Take one secret as far as possible. Never raises for what the systems do; see `Result.end`."""
    steps: list[Step] = []
    noticed: tuple[Notice, ...] = ()
    try:
        seen = _observe(plan, backend)
        for _ in range(_MOST_MOVES):
            noticed = tuple(dict.fromkeys((*noticed, *notices(seen))))
            move = next_move(plan, seen)
            if not isinstance(move, Step):
                return Result(plan.secret, move, tuple(steps), noticed)
            try:
                seen = _do(move, plan, backend, seen)
                steps.append(move)
            except LostRace:
                seen = _observe(plan, backend)
    except Unavailable as error:
        return Result(plan.secret, error, tuple(steps), noticed)
    return Result(plan.secret, Unavailable("the systems change faster than they can be read"), tuple(steps), noticed)


def _observe(plan: Plan, backend: HandoverBackend) -> Observation:
    # The Secret is read before Vault: a Secret seen as consumed then never comes with an older view of Vault in
    # which the record was not there yet.
    bootstrap = backend.observe_bootstrap(plan)
    vault = backend.observe_vault(plan)
    if vault.record is not None:
        return Observation(vault, bootstrap, backend.observe_git(plan), backend.observe_trail(plan, whole=False))
    trail, begun = backend.observe_trail(plan, whole=True), backend.observe_begun(plan)
    if trail.own is not None:
        # Another run has recorded it meanwhile, or the record is lost: only Vault as it is after the trail tells.
        vault = backend.observe_vault(plan)
    return Observation(vault, bootstrap, backend.observe_git(plan), trail, begun)


def _do(step: Step, plan: Plan, backend: HandoverBackend, seen: Observation) -> Observation:
    """Do one step, then observe again what it changed, in the systems and not in memory."""
    record = seen.vault.record
    match step:
        case Step.BEGIN:
            backend.begin(plan)
            return replace(seen, begun=backend.observe_begun(plan))
        case Step.WRITE:
            backend.write(plan)
            return replace(seen, vault=backend.observe_vault(plan))
        case Step.RECORD:
            assert seen.vault.digest is not None  # noqa: S101  next_move compared it
            backend.record(plan, seen.vault.digest.current)
            vault = backend.observe_vault(plan)
            return replace(seen, vault=vault, trail=backend.observe_trail(plan, whole=False))
        case Step.CONSUME:
            assert record is not None  # noqa: S101
            backend.consume(plan, record)
            return replace(seen, bootstrap=backend.observe_bootstrap(plan))
        case Step.AUDIT:
            assert record is not None  # noqa: S101
            backend.audit(plan, record)
            return replace(seen, trail=backend.observe_trail(plan, whole=False))
