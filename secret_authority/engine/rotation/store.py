"""One secret's rotation in Vault: its document, its requests, its newest version, its metadata and its events.

The document is at `platform-rotation/data/docs/{datasource}/{consumer}`. Every write says on which version it builds.
Upstream: developer.hashicorp.com/vault, KV v2.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from secret_authority.clients.vault import Vault, server_time
from secret_authority.contract.names import (
    AUTHORITY_MOUNT,
    EVENTS,
    ROTATION_DOCUMENTS,
    ROTATION_GIVEN,
    ROTATION_MOUNT,
    ROTATION_REQUESTS,
)
from secret_authority.core.catalogue.schema import CatalogueSecret
from secret_authority.core.digest import value_digest
from secret_authority.core.errors import LostRace
from secret_authority.core.ledger.audit_trail import ENTRY_PREFIX, Event
from secret_authority.core.rotation.document import Document, Request, RequestKind
from secret_authority.core.rotation.events import EVENT_PREFIX
from secret_authority.core.rotation.rotator import Value
from secret_authority.core.rotation.schedule import MOST_SKEW
from secret_authority.core.rotation.state_machine import Newest
from secret_authority.core.timestamps import api_time
from secret_authority.engine.consumption.versions import Version

log = logging.getLogger(__name__)

OUTCOME = "outcome"
# A value is entered first and its request is filed right after it.
GIVEN_FOR = timedelta(minutes=10)


def vault_clock(vault: Vault) -> tuple[datetime, bool]:
    """Vault's time to the second, and whether this machine's differs by at most `MOST_SKEW`. Raises `Unavailable`."""
    now = server_time(vault)
    return now, abs(datetime.now(UTC) - now) <= MOST_SKEW


def read_requests(vault: Vault, secret: str, answered: set[str]) -> tuple[Request, ...]:
    """The requests for a secret that have no outcome. Those in `answered` are not read; what is found so is added."""
    base = f"{ROTATION_MOUNT}/data/{ROTATION_REQUESTS}/{secret}"
    found: list[Request] = []
    for name in vault.list(f"{ROTATION_MOUNT}/metadata/{ROTATION_REQUESTS}/{secret}"):
        if f"{secret}/{name}" in answered:
            continue
        data = ((vault.read(f"{base}/{name}") or {}).get("data") or {}).get("data")
        if not data or OUTCOME in data:
            answered.add(f"{secret}/{name}")
            continue
        try:
            found.append(_of_its_prefix(Request.from_fields({**data, "id": name})))
        except ValueError as error:
            # What is not a request is nobody's wish, and does not stand in the way of others.
            answered.add(f"{secret}/{name}")
            log.error("%s: request %s is invalid: %s", secret, name, error)
    return tuple(found)


def _of_its_prefix(request: Request) -> Request:
    """Who may create requests with a prefix may only ask for what that prefix is for. Raises ValueError."""
    event, entry = request.id.startswith(EVENT_PREFIX), request.id.startswith(ENTRY_PREFIX)
    if (event or entry) and request.kind is not RequestKind.ROTATE:
        raise ValueError(f"a request of this name cannot be {request.kind}")
    if request.given is not entry:
        raise ValueError("a value is given by those who may enter one")
    return request


@dataclass
class VaultRotationStore:
    """`RotationStore` for one secret. `key` is the cluster's digest key; `answered` is shared by all secrets.

    `looks`: as whom document and metadata are read, by default as who writes them; `rotation_looks_policy` has why.
    """

    vault: Vault
    entry: CatalogueSecret
    key: bytes
    answered: set[str] = field(default_factory=set)
    looks: Vault | None = None

    @property
    def _reads(self) -> Vault:
        return self.looks or self.vault

    @property
    def secret(self) -> str:
        return self.entry.name

    @property
    def place(self) -> str:
        return str(self.entry.vault)

    @property
    def _document(self) -> str:
        return f"{ROTATION_DOCUMENTS}/{self.entry.vault.path}"

    @property
    def _data(self) -> str:
        return f"{self.entry.vault.mount}/data/{self.entry.vault.path}"

    @property
    def metadata_path(self) -> str:
        return f"{self.entry.vault.mount}/metadata/{self.entry.vault.path}"

    def clock(self) -> tuple[datetime, bool]:
        return vault_clock(self.vault)

    def document(self) -> tuple[Document, int, tuple[int, ...]]:
        """Raises ValueError for a document that somebody else has written or deleted."""
        found = (self._reads.read(f"{ROTATION_MOUNT}/data/{self._document}") or {}).get("data")
        if not found:
            return Document(), 0, ()
        if not found.get("data"):
            raise ValueError(f"the rotation document of {self.secret} was deleted; see docs/rotation.md")
        version = int(found["metadata"]["version"])
        versions = (self._reads.read(f"{ROTATION_MOUNT}/metadata/{self._document}") or {})["data"]["versions"]
        older = [int(number) for number, one in versions.items() if not one["destroyed"] and int(number) < version]
        return Document.from_fields(found["data"]), version, tuple(sorted(older))

    def write_document(self, document: Document, cas: int) -> None:
        body = {"options": {"cas": cas}, "data": document.fields()}
        self.vault.write(f"{ROTATION_MOUNT}/data/{self._document}", body)

    def destroy(self, versions: tuple[int, ...]) -> None:
        self.vault.write(f"{ROTATION_MOUNT}/destroy/{self._document}", {"versions": list(versions)})

    def newest(self) -> Newest:
        found = (self.vault.read(self._data) or {}).get("data")
        if not found:
            return Newest()
        details = found["metadata"]
        version = Version(int(details["version"]), api_time(details["created_time"]))
        fields = _texts(found.get("data"))
        if fields is None:
            return Newest(version.number, version.mark, None, version.written)
        value = Value(fields)
        return Newest(version.number, version.mark, self.digest(value), version.written, value)

    def digest(self, value: Value) -> str:
        values = {name: text.encode() for name, text in value.fields.items()}
        return value_digest(self.key, self.secret, self.place, values).current

    def digest_of(self, version: int) -> str | None:
        found = (self.vault.read(f"{self._data}?version={version}") or {}).get("data") or {}
        fields = _texts(found.get("data"))
        return None if fields is None else self.digest(Value(fields))

    def publish(self, value: Value, cas: int) -> None:
        self.vault.write(self._data, {"options": {"cas": cas}, "data": dict(value.fields)})

    def metadata(self) -> Mapping[str, str]:
        found = (self._reads.read(self.metadata_path) or {}).get("data") or {}
        return dict(found.get("custom_metadata") or {})

    def version(self) -> int:
        """The number of the newest version; 0 without any."""
        found = (self._reads.read(self.metadata_path) or {}).get("data") or {}
        return int(found.get("current_version") or 0)

    def patch_metadata(self, fields: Mapping[str, str | None]) -> None:
        self.vault.patch(self.metadata_path, {"custom_metadata": dict(fields)})

    def audited(self, event_id: str) -> bool:
        found = self.vault.read(f"{AUTHORITY_MOUNT}/data/{EVENTS}/{self.secret}/{event_id}")
        return bool(((found or {}).get("data") or {}).get("data"))

    def append(self, event: Event) -> None:
        path = f"{AUTHORITY_MOUNT}/data/{EVENTS}/{self.secret}/{event.id}"
        try:
            self.vault.write(path, {"options": {"cas": 0}, "data": event.fields()})
        except LostRace:
            return  # another engine wrote it meanwhile

    def requests(self) -> tuple[Request, ...]:
        return read_requests(self.vault, self.secret, self.answered)

    def answer(self, request: str, outcome: str) -> None:
        path = f"{ROTATION_MOUNT}/data/{ROTATION_REQUESTS}/{self.secret}/{request}"
        asked = ((self.vault.read(path) or {}).get("data") or {}).get("data") or {}
        try:
            self.vault.write(path, {"options": {"cas": 1}, "data": {**asked, OUTCOME: outcome}})
        except LostRace:
            return  # another engine answered it meanwhile
        if asked.get("given") is True:
            self._forget(request)

    def given(self, request: str) -> Value | None:
        found = (self.vault.read(f"{ROTATION_MOUNT}/data/{self._given}/{request}") or {}).get("data") or {}
        fields = _texts(found.get("data"))
        return Value(fields) if fields else None

    def forget_given(self, now: datetime) -> None:
        """Destroy values that nobody waits for: their request was answered, or was not filed within `GIVEN_FOR`."""
        for name in self.vault.list(f"{ROTATION_MOUNT}/metadata/{self._given}"):
            entry = (self.vault.read(f"{ROTATION_MOUNT}/metadata/{self._given}/{name}") or {})["data"]
            if all(one["destroyed"] for one in entry["versions"].values()):
                continue
            path = f"{ROTATION_MOUNT}/data/{ROTATION_REQUESTS}/{self.secret}/{name}"
            asked = ((self.vault.read(path) or {}).get("data") or {}).get("data")
            late = now > api_time(entry["created_time"]) + GIVEN_FOR
            if (OUTCOME in asked) if asked else late:
                self._forget(name)

    @property
    def _given(self) -> str:
        return f"{ROTATION_GIVEN}/{self.secret}"

    def _forget(self, request: str) -> None:
        self.vault.write(f"{ROTATION_MOUNT}/destroy/{self._given}/{request}", {"versions": [1]})


def _texts(data: Any) -> dict[str, str] | None:
    """The keys of a secret; None for a deleted version or one that holds something else than texts."""
    if not isinstance(data, dict) or not all(isinstance(text, str) for text in data.values()):
        return None
    return dict(data)
