"""A way from a test to the Vault of a stack, through the API server, as root or as anybody."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

from secret_authority.access.kubeconfig import ClusterConnection
from secret_authority.access.vault_tunnel import free_port, open_tunnel
from secret_authority.clients.kubernetes import Api, named
from secret_authority.clients.vault import Vault, VaultRefusedError
from secret_authority.contract.names import CA_CONFIG, CA_KEY, ENGINE_NAMESPACE, SERVER_NAME, VAULT_NAMESPACE
from secret_authority.core.errors import Unavailable
from secret_authority.engine.runtime_authority.initial_configuration import generate_root, revoke_every_root
from secret_authority.engine.runtime_authority.unseal_shares import SealedShares, open_shares


@contextlib.contextmanager
def vault_way(kubeconfig: Path, folder: Path, pod: str = "") -> Iterator[Vault]:
    """Vault without a token. `pod`: the one that answers; empty for any that is ready."""
    port = free_port()
    cluster = ClusterConnection(kubeconfig)
    open_tunnel(cluster, port, pod)
    ca = folder / "ca.crt"
    ca.write_text(cluster.core_api().read_namespaced_config_map(CA_CONFIG, ENGINE_NAMESPACE).data[CA_KEY])
    yield Vault(f"https://127.0.0.1:{port}", str(ca), server_name=SERVER_NAME)


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


def serves(vault: Vault) -> bool:
    """Whether the Vault at the end of a way is active. There is no new way to a sealed one: its pod is not ready."""
    try:
        return vault.health() == 200
    except Unavailable:
        return False


def has_leader(vault: Vault) -> bool:
    """Whether the unsealed Vault at the end of a way knows who is active. A standby that does is as ready as one that
    does not; it passes requests on, also one that has no token and is refused."""
    try:
        vault.read("auth/token/lookup-self")
    except VaultRefusedError:
        return True
    except Unavailable:
        return False
    raise AssertionError("a request without a token is accepted")


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
