"""How this run of the program reaches Vault: one session, opened when it is needed and not before.

When Vault is in service already, the session is opened before any resource is registered, so that deletions
find it. Else a resource hook opens it before the first change inside Vault; hooks do not run in a preview.
"""

from __future__ import annotations

import os
import threading

import pulumi

from components.settings.stack import HOME, Settings
from secret_authority.access.vault_session import (
    CA_FILE,
    OPEN_VARIABLE,
    TOKEN_FILE,
    configurator,
    engine_address,
    open_session,
)
from secret_authority.access.vault_tunnel import VaultSessionError, vault_is_ready
from secret_authority.clients.vault import Vault
from secret_authority.contract.names import SERVER_NAME


class VaultProviderSession:
    """`address` and `folder` (the session's files) are the same in every run: nothing in Pulumi's inputs changes.

    `hook` belongs to everything that is made inside Vault.
    """

    def __init__(self, settings: Settings, port: int) -> None:
        self.address = f"https://127.0.0.1:{port}"
        # Relative to the project, so that the provider's inputs are the same on every machine.
        self.folder = f".local/{settings.layout.cluster}/vault-session"
        self._settings, self._port = settings, port
        # A session that was opened before pulumi serves this run too.
        self._open = OPEN_VARIABLE in os.environ
        self._lock = threading.Lock()
        self.hook = pulumi.ResourceHook("vault-session", self.before_change)

    def open_if_in_service(self) -> None:
        """Open the session when a Vault pod is ready; else leave it to the hook. Not in a preview."""
        if pulumi.runtime.is_dry_run() or not vault_is_ready(self._settings.connection):
            return
        try:
            self._ensure()
        except VaultSessionError as error:
            pulumi.log.debug(f"no session with Vault yet: {error}")

    def mounts(self) -> frozenset[str]:
        """The paths of the mounts of a Vault in service; none while no session is open, as in a preview."""
        folder = HOME / self.folder
        if not self._open or not (folder / TOKEN_FILE).exists():
            return frozenset()
        vault = Vault(self.address, str(folder / CA_FILE), server_name=SERVER_NAME)
        found = vault.with_token((folder / TOKEN_FILE).read_text().strip()).read("sys/mounts") or {}
        return frozenset(path.rstrip("/") for path in found.get("data", {}))

    def before_change(self, _args: pulumi.ResourceHookArgs) -> None:
        try:
            self._ensure()
        except VaultSessionError as error:
            fix = "see the pods of namespace vault and the log of the engine, then run again"
            raise VaultSessionError(f"{error}. Fix: {fix}.") from None

    def _ensure(self) -> None:
        with self._lock:
            if self._open:
                return
            settings = self._settings
            session = configurator(settings.connection, HOME / self.folder, self._port, engine=engine_address())
            open_session(session)
            self._open = True
