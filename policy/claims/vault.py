"""Values that pulumi-vault 7 writes: kv.SecretV2, kv.Secret, generic.Secret, generic.Endpoint."""

from __future__ import annotations

from collections.abc import Iterator

from policy.claims.origin import claimant
from policy.inventory.inventory import Inventory
from policy.inventory.resource import Resource, part
from policy.inventory.secret_stores import split_path, vault_address
from secret_authority.core.claims.conflicts import Claim, System
from secret_authority.core.claims.locations import Keys, Part, Unknown, VaultSecret

SECRET_V2 = "vault:kv/secretV2:SecretV2"
BY_PATH = frozenset({"vault:kv/secret:Secret", "vault:generic/secret:Secret"})
ENDPOINT = "vault:generic/endpoint:Endpoint"
# First parts of paths that hold configuration of the server, not secrets.
_SYSTEM = frozenset({"sys", "auth", "identity", "cubbyhole"})


def claims(inventory: Inventory) -> Iterator[tuple[Claim, Resource]]:
    mounts = inventory.stores.mounts
    for resource in inventory.index.of_package("vault"):
        found = kv_location(inventory, resource, mounts)
        if found is not None:
            subject = f"{resource.token.rpartition(':')[2]} of resource {resource.name}"
            yield Claim(claimant(inventory, System.PULUMI, resource, subject), found, Keys.all()), resource


def kv_location(inventory: Inventory, resource: Resource, mounts: frozenset[str]) -> VaultSecret | None:
    """The location to which a Vault resource writes a value; None when it writes none."""
    mount: Part
    path: Part
    if resource.token == SECRET_V2:
        mount = part(resource.get("mount"), f"mount of {resource.name}")
        path = part(resource.get("name"), f"name of {resource.name}")
    elif resource.token in BY_PATH or resource.token == ENDPOINT:
        whole = part(resource.get("path"), f"path of {resource.name}")
        if isinstance(whole, Unknown):
            mount = path = whole
        else:
            # A generic endpoint may be any path of the API; only KV v2 data, or a known mount, holds secrets.
            first = whole.strip("/").partition("/")[0]
            mount, path = split_path(whole, mounts)
            is_kv = mount in mounts or "/data/" in whole or resource.token != ENDPOINT
            if first in _SYSTEM or not is_kv or "/metadata/" in f"/{whole}/":
                return None
    else:
        return None
    tenant = resource.get("namespace")
    address = vault_address(resource)
    # A Vault provider names no cluster, so a cluster's own service could be that of any.
    where = Unknown(f"the Vault server behind {address}: list its addresses under vaultServers")
    server = inventory.identities.server(address, where, tenant if isinstance(tenant, str) else "")
    if isinstance(mount, str):
        mount = mount.strip("/")
    return VaultSecret(server, mount, path.strip("/") if isinstance(path, str) else path)
