"""How a Job waits for what an engine publishes: one look after the other, until all is there or the time is over."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from secret_authority.clients.kubernetes import Api, named
from secret_authority.core.conditions import Condition, read_conditions
from secret_authority.core.errors import Unavailable
from secret_authority.core.evidence import Evidence


@dataclass(frozen=True)
class Seen:
    """What the last look saw. `missing` is empty when fresh evidence covers every wanted secret.

    `waiting` are secrets without a first value, with what they wait for: nobody waits for them here.
    """

    missing: str
    wanted: frozenset[str]
    waiting: dict[str, str]


def add_arguments(verb: argparse.ArgumentParser, secrets_must: str) -> None:
    """The arguments of `wait_for_evidence`."""
    verb.add_argument("--namespace", required=True, help="namespace of the engine's status")
    verb.add_argument("--secrets", type=Path, required=True, help=f"file with the names that must {secrets_must}")
    verb.add_argument("--seconds", type=int, default=300, help="how long to wait")


def wait_for_evidence(options: argparse.Namespace, status_config: str) -> Seen:
    """Wait for evidence, newer than this call, in the ConfigMap that an engine publishes."""
    api, begun = Api.in_cluster(), datetime.now(UTC)
    wanted = frozenset(options.secrets.read_text().split())
    waiting: dict[str, str] = {}

    def look() -> str | None:
        nonlocal waiting
        found = (api.get(named("configmaps", options.namespace, status_config)) or {}).get("data") or {}
        waiting = json.loads(found.get("waiting", "{}"))
        return missing(found, wanted - set(waiting), begun)

    reason = wait(look, options.seconds)
    return Seen(reason, wanted, waiting)


def wait(look: Callable[[], str | None], seconds: float) -> str:
    """Look once a second until nothing is missing. Returns what the last look missed, "" for nothing.

    A system that is away (`Unavailable`) is waited for like all else. There is at least one look.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            reason = look() or ""
        except Unavailable as error:
            reason = str(error)
        if not reason or time.monotonic() >= end:
            return reason
        time.sleep(1)  # between two looks at a condition that has a deadline


def missing(status: dict[str, str], wanted: Set[str], not_before: datetime) -> str | None:
    """What is missing in the engine's status; None when fresh evidence covers every wanted secret."""
    now = datetime.now(UTC)
    failed = [
        f"{name}: {condition.message}" if condition.known(now) is False else f"{name}: {_unknown(condition)}"
        for name, condition in read_conditions(status.get("conditions", "{}")).items()
        if condition.known(now) is not True
    ]
    if "evidence" not in status:
        return "\n".join(failed) or "the engine has published no evidence yet"
    evidence = Evidence.from_json(status["evidence"])
    if evidence.at < not_before:
        return "\n".join(failed) or f"the evidence is of {evidence.at.isoformat()}, before this look began"
    return "\n".join(evidence.lacking(wanted)) or None


def _unknown(condition: Condition) -> str:
    when = condition.observed_at or "an unknown time"
    return (
        f"unknown; at {when} it was {condition.status}, {condition.message or 'without a message'}. Is the engine up?"
    )
