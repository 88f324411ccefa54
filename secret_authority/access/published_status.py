"""What the engines publish of their work, read from their ConfigMaps. None of it is proof; the audit trail is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from secret_authority.contract.names import (
    AUDIT_TRAIL,
    CONSUMPTION_STATUS,
    ENGINE_NAMESPACE,
    HANDOVER_STATUS,
    ROTATION_STATUS,
    TRAIL_WHOLE,
)
from secret_authority.core.catalogue.schema import Catalogue
from secret_authority.core.conditions import read_conditions, silence
from secret_authority.core.ledger.ledger import ConsumptionFacts
from secret_authority.core.ledger.lifecycle import RotationFact


@dataclass(frozen=True)
class PublishedStatus:
    """`notices` by secret: what the engine reports beside a handover. `revision` is that of Git which it compared.

    `failing` by secret: why it is not handed over or not delivered. `waiting`: secrets without a value in Vault, and
    `versions`: Vault's newest version by consumer Secret (`namespace/name`); both are None when the engine of
    consumption has published nothing. `trail_problem`: why the engine cannot vouch for the
    published trail, empty when it can.
    """

    revision: str = ""
    # Marks of the encrypted values that the engine compared, of secrets that are handed over.
    done: Mapping[str, str] = field(default_factory=dict)
    notices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    failing: Mapping[str, str] = field(default_factory=dict)
    waiting: frozenset[str] | None = None
    versions: Mapping[str, int] | None = None
    trail_problem: str = ""
    # By secret, what the engine of rotation knows; None when it has published nothing, or nothing for a while.
    rotation: Mapping[str, RotationFact] | None = None

    def consumption(self, catalogue: Catalogue) -> ConsumptionFacts | None:
        """What is published of the values of a catalogue's secrets."""
        if self.waiting is None or self.versions is None:
            return None
        numbers = {
            entry.name: max(self.versions.get(f"{consumer.namespace}/{consumer.secret}", 0) for consumer in consumers)
            for entry in catalogue
            if (consumers := entry.consumers)
        }
        return ConsumptionFacts({name: number for name, number in numbers.items() if number}, self.waiting)


def read_status(maps: Mapping[str, Mapping[str, str]], now: datetime | None = None) -> PublishedStatus:
    """The status from the data of the engines' ConfigMaps. What cannot be read is left out.

    An engine that has observed nothing for a while may be down: what it says of the trail is then a problem, and what
    it says of values in Vault is unknown.
    """
    now = now or datetime.now(UTC)
    handover, consumption = maps.get(HANDOVER_STATUS, {}), maps.get(CONSUMPTION_STATUS)
    if consumption is not None and silence(consumption.get("conditions", ""), now):
        consumption = None
    lines = [line for line in _json(handover, "handover", []) if isinstance(line, dict) and "secret" in line]
    failing = {str(line["secret"]): str(line.get("message")) for line in lines if line.get("state") != "done"}
    notices = {str(line["secret"]): tuple(map(str, line.get("notices") or ())) for line in lines}
    waiting: frozenset[str] | None = None
    versions: dict[str, int] | None = None
    if consumption is not None:
        missing = _json(consumption, "waiting", {})
        for said in (missing, _json(consumption, "failing", {}), _undelivered(consumption)):
            failing |= {str(name): str(text) for name, text in said.items()}
        waiting = frozenset(map(str, missing))
        numbers = _json(consumption, "versions", {})
        versions = {str(name): number for name, number in numbers.items() if isinstance(number, int)}
    rotation = maps.get(ROTATION_STATUS)
    return PublishedStatus(
        rotation=None if rotation is None or silence(rotation.get("conditions", ""), now) else _rotation(rotation),
        revision=str(_json(handover, "evidence", {}).get("revision") or ""),
        done={str(line["secret"]): str(line.get("ciphertext") or "") for line in lines if line.get("state") == "done"},
        notices={secret: said for secret, said in notices.items() if said},
        failing=failing,
        waiting=waiting,
        versions=versions,
        trail_problem=_trail_problem(maps, now),
    )


def _trail_problem(maps: Mapping[str, Mapping[str, str]], now: datetime) -> str:
    """Why nobody vouches for the published trail; empty when the engine does, or has published nothing at all."""
    handover = maps.get(HANDOVER_STATUS)
    if handover is None:
        held = any(name.startswith(AUDIT_TRAIL) for name in maps)
        return f"ConfigMap {ENGINE_NAMESPACE}/{HANDOVER_STATUS} is missing beside the audit trail" if held else ""
    text = handover.get("conditions", "")
    if silent := silence(text, now):
        return f"{silent}; see the pods of namespace {ENGINE_NAMESPACE}"
    whole = read_conditions(text).get(TRAIL_WHOLE)
    known = whole.known(now) if whole else None
    if whole is None or known is None:
        since = f" since {whole.observed_at}" if whole and whole.observed_at else ""
        return f"whether the published audit trail is whole is unknown{since}; see ConfigMap {HANDOVER_STATUS}"
    return "" if known else whole.message


def _rotation(data: Mapping[str, str]) -> dict[str, RotationFact]:
    """Secrets that the engine rotates, and those whose expiry it watches. One without a time is left out."""
    found = {**_json(data, "watched", {}), **_json(data, "secrets", {})}
    return {
        str(name): RotationFact(since, _moment(entry.get("due")))
        for name, entry in found.items()
        if isinstance(entry, dict) and (since := _moment(entry.get("since")))
    }


def _moment(text: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(text or ""))
    except ValueError:
        return None
    return found if found.tzinfo else None


def _undelivered(data: Mapping[str, str]) -> dict[str, str]:
    """Secrets whose consumers lack the newest version, from the evidence of consumption."""
    found = _json(data, "evidence", {}).get("findings") or []
    rows = [row for row in found if isinstance(row, list) and len(row) == 3]
    return {str(secret): f"{outcome}: {where}" for secret, outcome, where in rows if outcome != "matches"}


def _json(data: Mapping[str, str], key: str, otherwise: Any) -> Any:
    try:
        found = json.loads(data.get(key, ""))
    except ValueError:
        return otherwise
    return found if isinstance(found, type(otherwise)) else otherwise
