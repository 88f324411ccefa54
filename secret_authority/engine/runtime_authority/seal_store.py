"""Where the stage of the initialisation and the sealed shares are kept: a ConfigMap and a Secret."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

from secret_authority.clients.kubernetes import Api, ApiRefusedError, Object, collection, create_or_patch, named
from secret_authority.contract.names import (
    CLEARED_AT,
    CLEARED_BY,
    INITIALISATION,
    SEAL_LABELS,
    SHARES_CHANGE,
    SHARES_PERSON,
    SHARES_TYPE,
    UNSEAL_SHARES,
)
from secret_authority.core.errors import LostRace
from secret_authority.engine.runtime_authority.seal import Placeholder, Stage
from secret_authority.engine.runtime_authority.unseal_shares import SealedShares, SharesError


class ClusterSealStore:
    """`SealStore` in one namespace. The Secret holds age ciphertext only.

    `configuration` is the fingerprint of the wanted first configuration: while another one is on record, the
    stage is that before it.
    """

    def __init__(self, api: Api, namespace: str, run: str, configuration: str) -> None:
        self._api, self._namespace, self._run, self._configuration = api, namespace, run, configuration

    def stage(self) -> Stage:
        """Stored shares are better evidence than the record, which anybody could have deleted."""
        record = self._api.get(named("configmaps", self._namespace, INITIALISATION))
        fields = (record or {}).get("data") or {}
        if fields.get("configuration") == self._configuration:
            return Stage.CONFIGURED
        stored = self._api.get(named("secrets", self._namespace, UNSEAL_SHARES))
        if stored is not None and not is_placeholder(stored):
            return Stage.STORED
        if record is None:
            return Stage.NOTHING
        if "configured" in fields:
            return Stage.CONFIGURED  # with another first configuration, and the shares are gone
        return Stage.REFUSED if "refused" in fields else Stage.CLAIMED

    def claim(self) -> None:
        body = {
            "metadata": {"name": INITIALISATION, "labels": SEAL_LABELS},
            "data": {"claimed": _now(), "run": self._run},
        }
        self._api.create(collection("configmaps", self._namespace), body)

    def refuse(self) -> None:
        self._api.merge(named("configmaps", self._namespace, INITIALISATION), {"data": {"refused": _now()}})

    def load(self) -> SealedShares:
        found = self._api.get(named("secrets", self._namespace, UNSEAL_SHARES))
        if found is None:
            raise SharesError(f"Secret {self._namespace}/{UNSEAL_SHARES} is not there")
        return read_shares(found)

    def placeholder(self) -> Placeholder | None:
        found = self._api.get(named("secrets", self._namespace, UNSEAL_SHARES))
        if found is None:
            return None
        if not is_placeholder(found):
            raise LostRace(UNSEAL_SHARES)
        return Placeholder(str(found["metadata"]["uid"]), str(found["metadata"]["resourceVersion"]))

    def store(self, shares: SealedShares, placeholder: Placeholder | None) -> None:
        secret = shares_secret(UNSEAL_SHARES, shares)
        if placeholder is None:
            self._api.create(collection("secrets", self._namespace), secret)
            return
        secret["metadata"] |= {"uid": placeholder.uid, "resourceVersion": placeholder.version}
        try:
            self._api.replace(named("secrets", self._namespace, UNSEAL_SHARES), secret)
        except ApiRefusedError as error:
            if error.status != 404:
                raise
            raise LostRace(UNSEAL_SHARES) from None  # it is gone: nobody vouches for this attempt any more

    def root_attempt(self) -> str:
        record = self._api.get(named("configmaps", self._namespace, INITIALISATION)) or {}
        return str((record.get("data") or {}).get("rootAttempt", ""))

    def note_root_attempt(self, nonce: str) -> None:
        content = {"data": {"rootAttempt": nonce}}
        create_or_patch(self._api, "configmaps", self._namespace, INITIALISATION, content, SEAL_LABELS)

    def mark_configured(self) -> None:
        content = {"data": {"configured": _now(), "configuration": self._configuration}}
        create_or_patch(self._api, "configmaps", self._namespace, INITIALISATION, content, SEAL_LABELS)


def placeholder_secret(person: str) -> Object:
    """What `person` leaves in the place of the shares before an empty Vault is cleared.

    While it is there nobody can create shares under this name, and only who has seen this state of it can replace it.
    """
    return {
        "metadata": {
            "name": UNSEAL_SHARES,
            "labels": SEAL_LABELS,
            "annotations": {CLEARED_BY: person, CLEARED_AT: _now()},
        },
        "type": SHARES_TYPE,
    }


def is_placeholder(secret: Object) -> bool:
    """Whether a Secret is one of `placeholder_secret`: it holds nothing at all."""
    marks = (secret.get("metadata") or {}).get("annotations") or {}
    return secret.get("type") == SHARES_TYPE and CLEARED_BY in marks and not secret.get("data")


def read_shares(secret: Object) -> SealedShares:
    """What a Secret of `shares_secret` holds. Raises `SharesError`."""
    if is_placeholder(secret):
        raise SharesError("Vault was cleared before it held anything, and has no unseal shares yet")
    fields = {name: base64.b64decode(text).decode() for name, text in (secret.get("data") or {}).items()}
    return SealedShares.from_fields(fields)


def shares_secret(name: str, shares: SealedShares, person: str = "", change: str = "") -> Object:
    """The Secret that keeps shares. It is immutable: another one can only take its place.

    `person` and `change`, of a command, are for the audit trail, which the engine writes: Vault may be sealed now.
    """
    marks = {SHARES_PERSON: person, SHARES_CHANGE: change} if change else {}
    return {
        "metadata": {"name": name, "labels": SEAL_LABELS, **({"annotations": marks} if marks else {})},
        "immutable": True,
        "type": SHARES_TYPE,
        "stringData": shares.as_fields(),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
