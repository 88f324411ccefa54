"""Unseal shares that a person has stored leave an audit event with that person.

They are stored while Vault may be sealed, so the command leaves its marks on the Secret and the engine writes the event
as soon as Vault takes it.
"""

from __future__ import annotations

import contextlib

from secret_authority.clients.kubernetes import Api, named
from secret_authority.clients.vault import Vault
from secret_authority.contract.names import AUTHORITY_MOUNT, EVENTS, SHARES_CHANGE, SHARES_PERSON, UNSEAL_SHARES
from secret_authority.core.errors import LostRace
from secret_authority.core.ledger.audit_trail import shares_stored
from secret_authority.core.timestamps import api_time

_MOST_CHARACTERS = 256


class SharesTrail:
    """Writes the event of the stored shares once, create-only; a restart that tries again changes nothing."""

    def __init__(self, api: Api, namespace: str, vault: Vault) -> None:
        self._api, self._namespace, self._vault = api, namespace, vault
        self._recorded = ""

    def record(self) -> bool:
        """Raises `Unavailable`, `ApiRefusedError` and `VaultRefusedError`. Returns True."""
        metadata = (self._api.get(named("secrets", self._namespace, UNSEAL_SHARES)) or {}).get("metadata") or {}
        marks = metadata.get("annotations") or {}
        uid, change = str(metadata.get("uid", "")), str(marks.get(SHARES_CHANGE, ""))[:_MOST_CHARACTERS]
        if not change or uid == self._recorded:
            return True
        event = shares_stored(
            uid,
            f"{self._namespace}/{UNSEAL_SHARES}",
            api_time(str(metadata["creationTimestamp"])),
            change,
            str(marks.get(SHARES_PERSON, ""))[:_MOST_CHARACTERS],
        )
        with contextlib.suppress(LostRace):  # an earlier run wrote it
            self._vault.write(
                f"{AUTHORITY_MOUNT}/data/{EVENTS}/{event.secret}/{event.id}",
                {"options": {"cas": 0}, "data": event.fields()},
            )
        self._recorded = uid
        return True
