"""The systems of a handover as they are: one bootstrap Secret, one Vault path, the audit trail.

Values are read from the Kubernetes API and written to Vault over TLS. They are in memory only between those two, and
in no message.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from secret_authority.clients.kubernetes import Api, Object, collection, named
from secret_authority.clients.vault import Vault
from secret_authority.contract.names import (
    AUTHORITY_MOUNT,
    CONSUMED,
    EVENTS,
    HANDOVER_AT_ANNOTATION,
    HANDOVER_ID_ANNOTATION,
    HANDOVERS,
    STATE_LABEL,
)
from secret_authority.core.catalogue.schema import CatalogueSecret
from secret_authority.core.digest import ValueDigest, decode_values, encode_values, value_digest
from secret_authority.core.errors import LostRace
from secret_authority.core.handover.state_machine import (
    AUTHORITY,
    BASE64_KEYS,
    METADATA_VALUE_LIMIT,
    Begun,
    Bootstrap,
    InGit,
    InVault,
    Mark,
    Plan,
    Record,
    SecretTrail,
    TrailEntry,
    handover_id,
)
from secret_authority.core.ledger.audit_trail import Event, gives_to_vault, handed_over
from secret_authority.core.limits import impossible_values
from secret_authority.engine.common.audit_events import RunInfo

# kubectl stores a copy of the object there, values and all.
_COPY_ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
_ENGINE_TYPE = "Opaque"


def plan_for(cluster: str, secret: CatalogueSecret) -> Plan:
    """The plan of a bootstrap secret: its id, and the rotation policy that goes to live in Vault (RFC §6)."""
    policy = secret.rotation.metadata() if secret.rotation else {}
    place = str(secret.vault)
    return Plan(secret.name, handover_id(cluster, secret.name, place), place, {**policy, "owner": secret.owner})


class ClusterAdapter:
    """`HandoverBackend` of one secret. Use one object for each secret and thread: it holds what was read last."""

    def __init__(
        self,
        secret: CatalogueSecret,
        api: Api,
        vault: Vault,
        key: bytes,
        run: RunInfo,
        git: InGit,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        assert secret.bootstrap is not None  # noqa: S101  only class bootstrap is handed over
        self._secret, self._target, self._place = secret, secret.bootstrap, secret.vault
        self._api, self._vault, self._key, self._run, self._git, self._clock = api, vault, key, run, git, clock
        self._object: Object | None = None

    def observe_bootstrap(self, plan: Plan) -> Bootstrap | None:
        self._object = self._api.get(self._object_path)
        return None if self._object is None else self._as_bootstrap(self._object)

    def observe_vault(self, plan: Plan) -> InVault:
        path = f"{self._place.mount}/data/{self._place.path}"
        found = self._vault.read(path)
        if found is None:
            # There can be metadata without any version.
            about = (self._vault.read(f"{self._place.mount}/metadata/{self._place.path}") or {}).get("data") or {}
            version = int(about.get("current_version") or 0)
            # With a version, another engine has written it since the first read, or it is deleted.
            found = self._vault.read(path) if version else None
            if found is None:
                return self._as_in_vault(version, None, about.get("custom_metadata") or {})
        metadata = found["data"]["metadata"]
        return self._as_in_vault(
            int(metadata["version"]), found["data"].get("data"), metadata.get("custom_metadata") or {}
        )

    def observe_git(self, plan: Plan) -> InGit:
        return self._git

    def observe_trail(self, plan: Plan, whole: bool) -> SecretTrail:
        names = [plan.id]
        if whole:
            names = self._vault.list(f"{AUTHORITY_MOUNT}/metadata/{EVENTS}/{plan.secret}")
        events = [event for name in names if (event := self._event(plan.secret, name)) is not None]
        own = next((event for event in events if event.id == plan.id), None)
        others = tuple(_entry(event) for event in sorted(events) if event is not own and gives_to_vault(event))
        return SecretTrail(None if own is None else _entry(own), others)

    def observe_begun(self, plan: Plan) -> Begun | None:
        found = ((self._vault.read(self._note_path(plan)) or {}).get("data") or {}).get("data")
        # A note that cannot be read is not taken for none: it blocks as that of another handover.
        return None if found is None else Begun(str(found.get("id", "")), str(found.get("place", "")))

    def begin(self, plan: Plan) -> None:
        self._refuse_impossible()
        note = {"id": plan.id, "place": plan.place}
        self._vault.write(self._note_path(plan), {"options": {"cas": 0}, "data": note})

    def write(self, plan: Plan) -> None:
        self._refuse_impossible()
        texts, _ = encode_values(self._values(), self._secret.binary)
        self._vault.write(f"{self._place.mount}/data/{self._place.path}", {"options": {"cas": 0}, "data": texts})

    def _refuse_impossible(self) -> None:
        """What could not be recorded or delivered is refused before the first change. Raises ValueError."""
        self._base64_note()
        for key, what, fix in impossible_values(self._values(), self._secret.binary):
            raise ValueError(f"{self._target.namespace}/{self._target.secret} {key}".rstrip() + f" {what}; {fix}")

    def record(self, plan: Plan, digest: str) -> None:
        # KV v2 has no check-and-set for metadata. An engine that slept since its last look sees here that another one
        # has recorded it, and what a person has set meanwhile is left as it is.
        path = f"{self._place.mount}/metadata/{self._place.path}"
        found = ((self._vault.read(path) or {}).get("data") or {}).get("custom_metadata") or {}
        if Record.begun_in(found):
            raise LostRace(path)
        at = self._clock().isoformat(timespec="milliseconds")
        record = Record(plan.secret, plan.id, digest, at, self._run.name, self._run.revision)
        policy = {key: value for key, value in plan.metadata.items() if key not in found}
        self._vault.patch(path, {"custom_metadata": {**policy, **self._base64_note(), **record.metadata()}})

    def consume(self, plan: Plan, record: Record) -> None:
        found = self._object
        if found is None:
            raise LostRace(self._object_path)
        emptied = _emptied(found, record)
        if found.get("type") == _ENGINE_TYPE and not found.get("immutable"):
            # resourceVersion is still that of the look before: a Secret changed meanwhile is not touched.
            self._api.replace(self._object_path, emptied)
            return
        # Type and immutability cannot be changed, and typed Secrets must have their keys: replace the object.
        # Flux may create it again between the two requests; then the creation fails and the next look sees it.
        self._api.delete(self._object_path, uid=found["metadata"]["uid"])
        for field in ("resourceVersion", "uid"):
            emptied["metadata"].pop(field, None)
        self._api.create(collection("secrets", self._target.namespace), emptied)

    def audit(self, plan: Plan, record: Record) -> None:
        event = handed_over(record, str(self._place))
        self._vault.write(self._event_path(plan), {"options": {"cas": 0}, "data": event.fields()})

    @property
    def _object_path(self) -> str:
        return named("secrets", self._target.namespace, self._target.secret)

    def _event_path(self, plan: Plan) -> str:
        return f"{AUTHORITY_MOUNT}/data/{EVENTS}/{plan.secret}/{plan.id}"

    def _note_path(self, plan: Plan) -> str:
        return f"{AUTHORITY_MOUNT}/data/{HANDOVERS}/{plan.secret}"

    def _event(self, secret: str, name: str) -> Event | None:
        found = self._vault.read(f"{AUTHORITY_MOUNT}/data/{EVENTS}/{secret}/{name}")
        fields = ((found or {}).get("data") or {}).get("data")
        return None if fields is None else Event.from_fields(fields)

    def _digest(self, values: Mapping[str, bytes]) -> ValueDigest:
        return value_digest(self._key, self._secret.name, str(self._place), values)

    def _values(self) -> dict[str, bytes]:
        data = (self._object or {}).get("data") or {}
        return {key: base64.b64decode(data[key]) for key in self._target.keys if key in data}

    def _as_bootstrap(self, found: Object) -> Bootstrap:
        annotations = found["metadata"].get("annotations") or {}
        labels = found["metadata"].get("labels") or {}
        mark = None
        if labels.get(STATE_LABEL) == CONSUMED:
            mark = Mark(annotations.get(HANDOVER_ID_ANNOTATION, ""), annotations.get(HANDOVER_AT_ANNOTATION, ""))
        data = found.get("data") or {}
        missing = tuple(key for key in self._target.keys if key not in data)
        more = tuple(sorted(set(data) - set(self._target.keys)))
        digest = None if missing else self._digest(self._values())
        return Bootstrap(digest, missing, mark, holds_data=bool(data), more=more)

    def _as_in_vault(self, version: int, texts: Mapping[str, Any] | None, metadata: Mapping[str, str]) -> InVault:
        try:
            record, broken = Record.from_metadata(metadata), None
        except ValueError as error:
            record, broken = None, str(error)
        return InVault(version, self._digest_of(texts, metadata), record, broken)

    def _digest_of(self, texts: Mapping[str, Any] | None, metadata: Mapping[str, str]) -> ValueDigest | None:
        if texts is None:
            return None
        # The note comes with the record. Before it, the catalogue says what this engine has encoded.
        noted = metadata.get(BASE64_KEYS)
        encoded = noted.split(" ") if noted else () if AUTHORITY in metadata else self._secret.binary
        try:
            return self._digest(decode_values(texts, encoded))
        except ValueError:
            return None

    def _base64_note(self) -> dict[str, str]:
        note = " ".join(sorted(self._secret.binary))
        if len(note) > METADATA_VALUE_LIMIT:
            raise ValueError(f"{self._secret.name}: the names of its binary keys do not fit into Vault's metadata")
        return {BASE64_KEYS: note} if note else {}


def _emptied(found: Object, record: Record) -> Object:
    """The Secret without data, marked; as an object to write."""
    metadata = found["metadata"]
    annotations = {k: v for k, v in (metadata.get("annotations") or {}).items() if k != _COPY_ANNOTATION}
    kept = {key: metadata[key] for key in ("name", "namespace", "resourceVersion", "uid") if key in metadata}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": _ENGINE_TYPE,
        "metadata": {
            **kept,
            "labels": {**(metadata.get("labels") or {}), STATE_LABEL: CONSUMED},
            "annotations": {**annotations, HANDOVER_ID_ANNOTATION: record.id, HANDOVER_AT_ANNOTATION: record.at},
        },
    }


def _entry(event: Event) -> TrailEntry:
    return TrailEntry(event.id, event.place, event.at, event.run, event.digest)
