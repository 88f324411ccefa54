"""Vault processes, and this program's engine that initialises and unseals them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pyrage import x25519

from secret_authority.clients.vault import VaultRefusedError
from secret_authority.contract.engine_settings import Identities
from secret_authority.core.errors import LostRace, Unavailable
from secret_authority.engine.runtime_authority.initial_configuration import FirstConfiguration, generate_root
from secret_authority.engine.runtime_authority.seal import Seal, SealSettings, SealState
from secret_authority.engine.runtime_authority.unseal_shares import open_shares
from tests.fakes.vault import MemoryStore
from tests.support.vault_process import Server, wait_for


def first_configuration(server: Server) -> FirstConfiguration:
    accounts = Identities(("sa", "engine"), ("sa", "configurator"), ("sa", "auditor"))
    ca = Path(server.ca_file).read_text()  # any certificate does: no Kubernetes login happens here
    return FirstConfiguration(accounts, audit_file=str(server.audit_file), kubernetes_ca=ca)


class Site:
    """Vault processes and what an engine needs to serve them."""

    def __init__(self, vaults: list[Server]) -> None:
        self.vaults, self.store = vaults, MemoryStore()
        self.cluster, self.root = x25519.Identity.generate(), x25519.Identity.generate()

    def engine(self, heartbeat: Callable[[], object] = lambda: None) -> Seal:
        recipients = (str(self.cluster.to_public()), str(self.root.to_public()))
        first = first_configuration(self.vaults[0])
        settings = SealSettings(5, 3, lambda _: recipients, first)
        pods = [vault.api for vault in self.vaults]
        return Seal(pods, self.store, settings, lambda: str(self.cluster), lambda _s: None, heartbeat)

    def in_service(self, engine: Seal | None = None) -> SealState:
        engine = engine or self.engine()
        last: list[SealState] = []

        def served() -> bool:
            try:
                last.append(engine.reconcile())
            except (Unavailable, LostRace, VaultRefusedError):
                # Refused: a rival engine finished the configuration and revoked this one's root token.
                return False
            return last[-1].in_service

        wait_for(served, f"every pod in service; last seen {last[-1:]}")
        return last[-1]

    def root_token(self) -> str:
        return generate_root(self.vaults[0].api, open_shares(self.store.load(), str(self.root)))


def answers(server: Server) -> bool:
    try:
        server.api.health()
    except Unavailable:
        return False
    return True
