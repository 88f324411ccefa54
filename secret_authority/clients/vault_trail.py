"""The audit trail as Vault holds it: one KV v2 path for each event, `events/SECRET/ID`, written create-only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from secret_authority.clients.vault import Vault
from secret_authority.contract.names import AUTHORITY_MOUNT, EVENTS
from secret_authority.core.catalogue.schema import DATA_MOUNT
from secret_authority.core.handover.state_machine import Record
from secret_authority.core.ledger.audit_trail import Event


@dataclass(frozen=True)
class Trail:
    """`events` in order of time. `malformed`: the paths of events that are not whole, each with what is wrong.

    One event that nobody can read hides no other: whoever may append one could else end every reader.
    """

    events: tuple[Event, ...]
    malformed: tuple[str, ...] = ()


def read_trail(vault: Vault, only: str | None = None) -> Trail:
    """The trail: all of it, or that of one secret. Raises what `Vault.read` raises."""
    events: list[Event] = []
    malformed: list[str] = []
    for secret in [f"{only}/"] if only else vault.list(f"{AUTHORITY_MOUNT}/metadata/{EVENTS}"):
        if not secret.endswith("/"):
            malformed.append(f"{EVENTS}/{secret}: an event is one level below its secret")
            continue
        for name in vault.list(f"{AUTHORITY_MOUNT}/metadata/{EVENTS}/{secret}"):
            found = vault.read(f"{AUTHORITY_MOUNT}/data/{EVENTS}/{secret}{name}")
            if found is None or not found["data"].get("data"):
                continue
            try:
                events.append(Event.from_fields(found["data"]["data"]))
            except ValueError as error:
                malformed.append(f"{EVENTS}/{secret}{name}: {error}")
    return Trail(tuple(sorted(events)), tuple(malformed))


@dataclass(frozen=True)
class Records:
    """The records of authority in Vault's metadata: ids by place (`mount/path`), and what is not whole."""

    ids: Mapping[str, str]
    broken: tuple[str, ...] = ()


def read_records(vault: Vault) -> Records:
    """The records of all secrets below `platform-data`. Raises what `Vault.read` raises."""
    ids: dict[str, str] = {}
    broken: list[str] = []
    for path in _paths(vault, ""):
        found = (vault.read(f"{DATA_MOUNT}/metadata/{path}") or {}).get("data") or {}
        try:
            record = Record.from_metadata(found.get("custom_metadata") or {})
        except ValueError as error:
            broken.append(f"the record of {DATA_MOUNT}/{path} is not whole: {error}")
            continue
        if record is not None:
            ids[f"{DATA_MOUNT}/{path}"] = record.id
    return Records(ids, tuple(broken))


def _paths(vault: Vault, below: str) -> Iterator[str]:
    for name in vault.list(f"{DATA_MOUNT}/metadata/{below}"):
        if name.endswith("/"):
            yield from _paths(vault, below + name)
        else:
            yield below + name
