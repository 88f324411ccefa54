"""A way from a test to the Vault of a stack, through the API server, as root or as anybody."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from secret_authority.access.kubeconfig import core_api
from secret_authority.access.vault_tunnel import free_port, open_tunnel
from secret_authority.clients.kubernetes import Api, named
from secret_authority.clients.vault import Vault
from secret_authority.contract.names import CA_CONFIG, CA_KEY, ENGINE_NAMESPACE, SERVER_NAME, VAULT_NAMESPACE
from secret_authority.engine.runtime_authority.initial_configuration import generate_root, revoke_every_root
from secret_authority.engine.runtime_authority.unseal_shares import SealedShares, open_shares


class _OwnName(HTTPAdapter):
    """Checks Vault's certificate against Vault's name, although the connection goes to the tunnel."""

    def init_poolmanager(self, *arguments: Any, **more: Any) -> None:
        super().init_poolmanager(*arguments, **more, server_hostname=SERVER_NAME, assert_hostname=SERVER_NAME)


class TunnelledVault(Vault):
    """Vault at the near end of a tunnel."""

    def _send(self, *arguments: Any) -> requests.Response:
        if getattr(self._local, "session", None) is None:
            self._local.session = requests.Session()
            self._local.session.trust_env = False
            self._local.session.mount("https://", _OwnName())
        return super()._send(*arguments)

    def with_token(self, token: str) -> Vault:
        other = TunnelledVault(self.address, self._ca_file)
        other.token = token
        return other


@contextlib.contextmanager
def vault_way(kubeconfig: Path, folder: Path) -> Iterator[TunnelledVault]:
    """Vault without a token."""
    port = free_port()
    open_tunnel(kubeconfig, None, port)
    ca = folder / "ca.crt"
    ca.write_text(core_api(kubeconfig, None).read_namespaced_config_map(CA_CONFIG, ENGINE_NAMESPACE).data[CA_KEY])
    yield TunnelledVault(f"https://127.0.0.1:{port}", str(ca))


@contextlib.contextmanager
def broken_glass(kubeconfig: Path, folder: Path, root_identity: str) -> Iterator[Vault]:
    """Vault as root, by the break-glass procedure: shares decrypted with the root holder's identity alone."""
    stored = Api.from_kubeconfig(kubeconfig).get(named("secrets", VAULT_NAMESPACE, "vault-unseal-shares"))
    assert stored is not None
    fields = {name: base64.b64decode(text).decode() for name, text in stored["data"].items()}
    with vault_way(kubeconfig, folder) as vault:
        shares = open_shares(SealedShares.from_fields(fields), root_identity)
        root = vault.with_token(generate_root(vault, shares))
        try:
            yield root
        finally:
            revoke_every_root(root)


def served_certificate(vault: Vault, ca: Path) -> int:
    """The serial number of the certificate that Vault's listener serves now."""
    host, _, port = vault.address.removeprefix("https://").partition(":")
    context = ssl.create_default_context(cafile=str(ca))
    with (
        socket.create_connection((host, int(port)), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=SERVER_NAME) as secured,
    ):
        found = secured.getpeercert()
        assert found is not None
        return int(str(found["serialNumber"]), 16)
