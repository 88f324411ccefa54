"""What operators in the cluster write into Vault, beside External Secrets.

Bank-Vaults v1alpha1: externalConfig.startupSecrets of a Vault, written into that server at each configuration.
Vault Config Operator v1alpha1: a RandomSecret is written to spec.path with its own name, or spec.name, below it; /data
of KV v2 may be in the path. Crossplane's provider-vault: a SecretV2 is written to forProvider.mount and name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from policy.claims.origin import claimant
from policy.inventory.identity import reduce_address
from policy.inventory.inventory import Inventory
from policy.inventory.resource import Resource, dig, items, mapping, part
from policy.inventory.secret_stores import split_path
from secret_authority.core.claims.conflicts import Claim, System
from secret_authority.core.claims.locations import Keys, Part, Unknown, VaultSecret

BANK_VAULTS = "vault.banzaicloud.com"
CONFIG_OPERATOR = "redhatcop.redhat.io"
PROVIDER_VAULT = ("kv.vault.upbound.io", "kv.vault.m.upbound.io")


def claims(inventory: Inventory) -> Iterator[tuple[Claim, Resource]]:
    yield from _startup_secrets(inventory)
    yield from _random_secrets(inventory)
    yield from _provider_secrets(inventory)


def _startup_secrets(inventory: Inventory) -> Iterator[tuple[Claim, Resource]]:
    for resource in inventory.index.of(BANK_VAULTS, "Vault"):
        config = resource.get("spec", "externalConfig")
        mounts = {str(dig(s, "path") or dig(s, "type")).strip("/") for s in items(dig(config, "secrets"))}
        by = claimant(inventory, System.OPERATOR, resource, shown="Bank-Vaults")
        server = _server(inventory, resource, f"{resource.namespace}/{resource.metadata_name}")
        for entry in items(dig(config, "startupSecrets")):
            path = dig(entry, "path")
            mount, inner = _split(path, inventory.stores.mounts | mounts, f"startupSecrets[].path of {resource.label}")
            given = mapping(dig(entry, "data", "data") or dig(entry, "data"))
            keys = Keys(frozenset(map(str, given))) if given else Keys.all()
            yield Claim(by, VaultSecret(server, mount, inner), keys), resource


def _random_secrets(inventory: Inventory) -> Iterator[tuple[Claim, Resource]]:
    for resource in inventory.index.of(CONFIG_OPERATOR, "RandomSecret"):
        by = claimant(inventory, System.OPERATOR, resource, shown="Vault Config Operator")
        folder, name = resource.get("spec", "path"), resource.get("spec", "name") or resource.metadata_name
        path = f"{folder.strip('/')}/{name}" if isinstance(folder, str) and isinstance(name, str) else folder
        mount, inner = _split(path, inventory.stores.mounts, f"spec.path of {resource.label}")
        # Each write is of the whole secret.
        yield Claim(by, VaultSecret(_connected(inventory, resource), mount, inner), Keys.all()), resource


def _provider_secrets(inventory: Inventory) -> Iterator[tuple[Claim, Resource]]:
    for group in PROVIDER_VAULT:
        for resource in inventory.index.of(group, "SecretV2", "Secret"):
            by = claimant(inventory, System.OPERATOR, resource, shown="Crossplane")
            given = mapping(resource.get("spec", "forProvider"))
            server = Unknown(f"the Vault server of the ProviderConfig of {resource.label}")
            if resource.kind == "Secret":
                mount, inner = _split(given.get("path"), inventory.stores.mounts, f"path of {resource.label}")
            else:
                mount = part(given.get("mount"), f"spec.forProvider.mount of {resource.label}")
                inner = part(given.get("name"), f"spec.forProvider.name of {resource.label}")
            yield Claim(by, VaultSecret(server, mount, inner), Keys.all()), resource


def _split(path: Any, mounts: frozenset[str] | set[str], field: str) -> tuple[Part, Part]:
    """Mount and path of a full path of KV."""
    if not isinstance(path, str):
        unknown = part(path, field)
        return unknown, unknown
    return split_path(path, frozenset(mounts))


def _connected(inventory: Inventory, resource: Resource) -> Part:
    """The server of spec.connection; without one it is in the environment of the operator."""
    address = resource.get("spec", "connection", "address")
    if isinstance(address, str):
        return _server(inventory, resource, reduce_address(address))
    cluster = inventory.identities.cluster(resource)
    return Unknown(f"the Vault server of the operator that writes {resource.label}", same=f"operator of {cluster}")


def _server(inventory: Inventory, resource: Resource, reduced: str) -> Part:
    """The server with an address of this short form, as the stores of the tree name it."""
    identities = inventory.identities
    for address in identities.servers:
        if reduce_address(address) == reduced:
            return identities.server(address, identities.cluster(resource))
    cluster = identities.cluster(resource)
    return Unknown(f"the address of the Vault server {reduced}, as the stores name it", same=f"{reduced} of {cluster}")
