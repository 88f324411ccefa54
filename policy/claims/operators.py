"""Other systems that make Secrets: Sealed Secrets, Vault Secrets Operator, Secrets Store CSI, mirrors.

Sealed Secrets: spec.template names the Secret, which it owns. Vault Secrets Operator v1beta1:
spec.destination. Secrets Store CSI v1: spec.secretObjects.
"""

from __future__ import annotations

from collections.abc import Iterator

from policy.claims.origin import claimant
from policy.inventory.inventory import Inventory
from policy.inventory.resource import Resource, dig, items, part
from secret_authority.core.claims.conflicts import Claim, System
from secret_authority.core.claims.locations import Keys, Part, Unknown, VaultSecret

VSO = "secrets.hashicorp.com"
_VSO_KINDS = ("VaultStaticSecret", "VaultDynamicSecret", "VaultPKISecret", "HCPVaultSecretsApp")
# Annotations by which a controller copies a Secret to other namespaces: key -> is its value a list of namespaces.
MIRRORS = {
    "reflector.v1.k8s.emberstack.com/reflection-auto-namespaces": True,
    "replicator.v1.mittwald.de/replicate-to": True,
    "kubed.appscode.com/sync": False,
}


def claims(inventory: Inventory) -> Iterator[tuple[Claim, Resource]]:
    yield from _sealed(inventory)
    yield from _vault_operator(inventory)
    yield from _csi(inventory)
    yield from _mirrors(inventory)


def _sealed(inventory: Inventory) -> Iterator[tuple[Claim, Resource]]:
    for resource in inventory.index.of("bitnami.com", "SealedSecret"):
        template = resource.get("spec", "template", "metadata")
        name, space = dig(template, "name"), dig(template, "namespace")
        location = inventory.secret_location(resource, name, space)
        yield Claim(claimant(inventory, System.SEALED_SECRETS, resource), location, Keys.all()), resource


def _vault_operator(inventory: Inventory) -> Iterator[tuple[Claim, Resource]]:
    for resource in inventory.index.of(VSO, *_VSO_KINDS):
        destination = resource.get("spec", "destination")
        name = part(dig(destination, "name"), f"spec.destination.name of {resource.label}")
        mount = part(resource.get("spec", "mount"), f"spec.mount of {resource.label}")
        path = part(resource.get("spec", "path"), f"spec.path of {resource.label}")
        claim = Claim(
            claimant(inventory, System.VAULT_OPERATOR, resource),
            inventory.secret_location(resource, name),
            Keys.all(),
            source=VaultSecret(_server(inventory, resource), mount, path),
        )
        yield claim, resource


def _server(inventory: Inventory, resource: Resource) -> Part:
    """The server behind spec.vaultAuthRef -> VaultAuth -> VaultConnection, each by default named "default"."""
    auth = str(resource.get("spec", "vaultAuthRef") or "default").rpartition("/")[2]
    connection = "default"
    for candidate in inventory.index.of(VSO, "VaultAuth"):
        if candidate.metadata_name == auth:
            connection = str(candidate.get("spec", "vaultConnectionRef") or "default")
    for candidate in inventory.index.of(VSO, "VaultConnection"):
        if candidate.metadata_name == connection:
            cluster = inventory.identities.cluster(candidate)
            return inventory.identities.server(part(candidate.get("spec", "address"), "spec.address"), cluster)
    return Unknown(f"VaultConnection {connection}, which is not in sight")


def _csi(inventory: Inventory) -> Iterator[tuple[Claim, Resource]]:
    for resource in inventory.index.of("secrets-store.csi.x-k8s.io", "SecretProviderClass"):
        for entry in items(resource.get("spec", "secretObjects")):
            name = part(dig(entry, "secretName"), f"spec.secretObjects[].secretName of {resource.label}")
            names = frozenset(str(dig(data, "key")) for data in items(dig(entry, "data")))
            driver = claimant(inventory, System.SECRETS_STORE_CSI, resource)
            yield (
                Claim(driver, inventory.secret_location(resource, name), Keys(names) if names else Keys.all()),
                resource,
            )


def _mirrors(inventory: Inventory) -> Iterator[tuple[Claim, Resource]]:
    """A mirror writes the whole copy; the copy has the name of the original."""
    for resource in inventory.index.secrets:
        for annotation, lists in MIRRORS.items():
            value = resource.mark("annotations", annotation)
            if not value:
                continue
            targets = [name.strip() for name in value.split(",")] if lists else inventory.namespaces_in_use
            source = inventory.secret_location(resource)
            for target in targets:
                if target == resource.namespace:
                    continue
                location = inventory.secret_location(resource, None, target)
                yield Claim(claimant(inventory, System.MIRROR, resource), location, Keys.all(), source=source), resource
