"""What a run of the program does before it builds a Vault: build an empty one, or one that waits for a snapshot.

A lost cluster that is built again from Git alone comes back with Git's values, and every newer one is gone. So where
Git says that there was a Vault, a person decides, once, before anything is built. RFC-SECOPS-0001 §3.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from secret_authority.core.phases import Phase
from secret_authority.core.restore.report import Report, text

WITHOUT = "without-snapshot"


@dataclass(frozen=True)
class RebuildFacts:
    """`reached`: the phase on record in the cluster. `wanted`: the stack's `restore`, empty when it says nothing.

    `restored`: the snapshot that this cluster's Vault was restored from, empty for none. `was_there`: Git says that
    this cluster had a Vault. `snapshots`: those of the store, oldest first; None when a store is named that cannot be
    listed from here; empty also without a store. `alone`: what a rebuild from Git alone gives back.
    """

    reached: Phase | None
    wanted: str
    restored: str
    was_there: bool
    snapshots: tuple[str, ...] | None
    alone: Report


@dataclass(frozen=True)
class Proceed:
    """Build as usual. `warning`: what is lost by it, empty for nothing."""

    warning: str = ""


@dataclass(frozen=True)
class Await:
    """Build Vault and its engine, and stop there until this snapshot is restored."""

    snapshot: str


@dataclass(frozen=True)
class Ask:
    """Build nothing: a person has to decide."""

    message: str
    fix: str


Decision: TypeAlias = Proceed | Await | Ask


def decide(facts: RebuildFacts) -> Decision:
    """Before phase 3 is built in a cluster."""
    if facts.reached is not None and facts.reached >= Phase.RUNTIME_AUTHORITY:
        return Proceed()
    if facts.wanted == WITHOUT:
        return Proceed(_lost(facts) if facts.was_there and facts.alone.losses else "")
    if facts.wanted:
        return Proceed() if facts.restored == facts.wanted else Await(facts.wanted)
    if facts.restored:
        return Proceed()
    if facts.snapshots:
        newest = facts.snapshots[-1]
        message = (
            f"this cluster has no Vault yet, and the store has {len(facts.snapshots)} snapshots of one that it had"
        )
        return Ask(message, f"{_choose(newest)}, or {_without()} to begin with what Git holds")
    if not facts.was_there:
        return Proceed()
    if facts.snapshots is None:
        message = "Git says that this cluster had a Vault, and its snapshots cannot be listed from here"
        fix = f"name one that `secret-authority snapshot list` shows: {_choose('NAME')}; or {_without()}"
        return Ask(message, fix)
    if facts.alone.losses:
        return Ask(
            f"Git says that this cluster had a Vault, and no snapshot of it is known. {_lost(facts)}", _without()
        )
    return Proceed()


def _lost(facts: RebuildFacts) -> str:
    return "A rebuild from Git alone gives back:\n" + "\n".join(text(facts.alone)) + "\n"


def _choose(snapshot: str) -> str:
    return f"`pulumi config set secret-authority:restore {snapshot}`"


def _without() -> str:
    return f"`pulumi config set secret-authority:restore {WITHOUT}`"
