"""Parts of Vault in memory."""

from __future__ import annotations

import base64
import threading
from typing import Any

from secret_authority.clients.vault import Vault, VaultRefusedError
from secret_authority.contract.names import AUTHORITY_MOUNT, EVENTS, TRAIL_KEY_PATH
from secret_authority.core.errors import LostRace
from secret_authority.core.ledger.audit_trail import Event
from secret_authority.core.ledger.trail_signature import TrailSigner
from secret_authority.engine.runtime_authority.seal import Placeholder, Stage
from secret_authority.engine.runtime_authority.unseal_shares import SealedShares, SharesError

SEED = b"s" * 32
SIGNER = TrailSigner(SEED)


class MemoryStore:
    """`SealStore` that outlives the engine of a test; `break_at` fails or kills before or after a call."""

    def __init__(self) -> None:
        self.claimed = self.configured = self.refused = False
        self.shares: SealedShares | None = None
        self.nonce = ""
        self.break_at: dict[str, BaseException] = {}
        self._lock = threading.Lock()

    def _point(self, name: str) -> None:
        error = self.break_at.pop(name, None)
        if error is not None:
            raise error

    def stage(self) -> Stage:
        if self.configured:
            return Stage.CONFIGURED
        if self.shares is not None:
            return Stage.STORED
        if self.refused:
            return Stage.REFUSED
        return Stage.CLAIMED if self.claimed else Stage.NOTHING

    def refuse(self) -> None:
        self.refused = True

    def claim(self) -> None:
        with self._lock:
            if self.claimed:
                raise LostRace("claim")
            self.claimed = True
        self._point("claimed")

    def load(self) -> SealedShares:
        if self.shares is None:
            raise SharesError("the shares are not there")
        return self.shares

    def placeholder(self) -> Placeholder | None:
        return None

    def store(self, shares: SealedShares, placeholder: Placeholder | None = None) -> None:
        self._point("before store")
        with self._lock:
            if self.shares is not None:
                raise LostRace("shares")
            self.shares = shares
        self._point("stored")

    def root_attempt(self) -> str:
        return self.nonce

    def note_root_attempt(self, nonce: str) -> None:
        self.nonce = nonce
        self._point("root attempt")

    def mark_configured(self) -> None:
        self._point("before configured")
        self.configured = True


class TrailVault(Vault):
    """Holds events, and counts how often one is read."""

    def __init__(self, *events: Event) -> None:
        super().__init__("https://vault.invalid")
        self.events, self.reads = list(events), 0
        # Whether it keeps counters of requests.
        self.counts = True

    def text(self, path: str) -> str:
        if not self.counts:
            raise VaultRefusedError("GET", path, 400, [])
        return f"vault_route_create_{AUTHORITY_MOUNT.replace('-', '_')}__count {len(self.events)}\n"

    def list(self, path: str) -> list[str]:
        base = f"{AUTHORITY_MOUNT}/metadata/{EVENTS}"
        if path == base:
            return sorted({f"{found.secret}/" for found in self.events})
        return [found.id for found in self.events if f"{base}/{found.secret}/" == path]

    def read(self, path: str) -> dict[str, Any] | None:
        if path == TRAIL_KEY_PATH:
            return {"data": {"data": {"key": base64.b64encode(SEED).decode()}}}
        self.reads += 1
        return next({"data": {"data": e.fields()}} for e in self.events if path.endswith(f"{e.secret}/{e.id}"))
