"""Secrets that Pulumi, Flux or a chart writes as they stand: each claims the keys that it brings.

Server-side apply works per field, so a Secret with one key and a Merge of another key do not meet.
"""

from __future__ import annotations

from collections.abc import Iterator

from policy.claims.origin import claimant
from policy.inventory.argocd_marks import vault_plugin_path
from policy.inventory.bootstrap_secrets import is_encrypted, releases
from policy.inventory.inventory import Inventory
from policy.inventory.resource import Origin, Resource, mapping, opaque
from secret_authority.core.claims.conflicts import Claim, Claimant, System
from secret_authority.core.claims.locations import Keys, Unknown, VaultSecret

# The API server or a controller fills these; whoever writes the object brings no value.
_FILLED_BY_KUBERNETES = frozenset({"kubernetes.io/service-account-token"})


def secret_keys(resource: Resource) -> Keys | None:
    """The keys that a Secret object brings; None when it brings none."""
    known = resource.derived
    if "secret keys" not in known:
        known["secret keys"] = _secret_keys(resource)
    found: Keys | None = known["secret keys"]
    return found


def _secret_keys(resource: Resource) -> Keys | None:
    names: set[str] = set()
    unknown: Unknown | None = None
    for field in ("data", "stringData"):
        value = resource.get(field)
        if opaque(value):
            unknown = value if isinstance(value, Unknown) else Unknown(f"{field} of {resource.name}, it is encrypted")
        # A dotenv file of sops carries its own header as keys.
        names |= {str(key) for key in mapping(value) if not str(key).startswith("sops_")}
    return Keys(frozenset(names), unknown) if names or unknown else None


def claims(inventory: Inventory) -> Iterator[tuple[Claim, Resource]]:
    for resource in inventory.index.secrets:
        keys = secret_keys(resource)
        if keys is None or str(resource.get("type")) in _FILLED_BY_KUBERNETES:
            continue
        path = vault_plugin_path(resource)
        if path is not None:
            source = VaultSecret("this Vault", *path)
            plugin = claimant(inventory, System.ARGOCD_VAULT, resource)
            yield Claim(plugin, inventory.secret_location(resource), keys, source=source), resource
            continue
        # What Flux makes once and then leaves alone is a seed: another system may take it over.
        seed = resource.origin is Origin.GIT and releases(resource)
        writer = claimant_of(inventory, resource)
        yield Claim(writer, inventory.secret_location(resource), keys, create_only=seed), resource


def _as_git_brings_it(resource: Resource) -> str:
    """How a Secret of a tree comes into the cluster, as far as the tree shows it."""
    encrypted = "SOPS, " if is_encrypted(resource) else ""
    applier = resource.applied_by.applier.partition(" ")[0]
    if not applier:
        return f"Git ({encrypted.rstrip(', ')})" if encrypted else "Git"
    return f"Git ({encrypted}applied by {'Argo CD' if applier.startswith('Application') else 'Flux'})"


def claimant_of(inventory: Inventory, resource: Resource) -> Claimant:
    """Who writes a plain object: Git by its file, Helm by its chart, Pulumi by its resource."""
    if resource.origin is Origin.GIT:
        applier = f" by {resource.applied_by.applier}" if resource.applied_by.applier else ""
        subject = f"{resource.where.file} ({resource.label}{applier})"
        return claimant(inventory, System.GIT, resource, subject, _as_git_brings_it(resource))
    managed = resource.mark("labels", "app.kubernetes.io/managed-by")
    system = System.HELM if managed == "Helm" else System.PULUMI
    suffix = " (patch)" if resource.is_patch else ""
    return claimant(inventory, system, resource, f"{resource.label}{suffix} of resource {resource.name}")
