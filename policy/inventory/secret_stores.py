"""Resolves the stores of External Secrets to a location: two store names on one mount are one location.

External Secrets, SecretStore v1: spec.provider.vault.{server,path,version,namespace}; the mount may also be
the first part of the remote key.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from policy.inventory.identity import Identities
from policy.inventory.index import ResourceIndex
from policy.inventory.resource import Resource, dig, mapping, part
from secret_authority.core.claims.locations import KubernetesSecret, Location, Part, Unknown, VaultSecret

ESO = "external-secrets.io"


@dataclass(frozen=True)
class Store:
    """Where a store points. `kind` is its provider ("vault", "kubernetes", ...), "" when it is not known."""

    kind: str
    server: Part
    mount: Part | None = None
    namespace: Part = ""
    cluster: Part = ""

    def remote(self, key: Part, mounts: frozenset[str] = frozenset()) -> Location:
        """The location of a remote key."""
        if self.kind == "kubernetes":
            return KubernetesSecret(self.cluster, self.namespace, key)
        if isinstance(key, Unknown):
            return VaultSecret(self.server, self.mount if self.mount is not None else key, key)
        mount, path = self.mount, key.strip("/")
        if self.kind != "vault":
            return VaultSecret(self.server, self.kind or "store", path)
        if mount is None:
            mount, path = split_path(path, mounts)
        elif isinstance(mount, str):
            mount = mount.strip("/")
            path = path.removeprefix(f"{mount}/")
        return VaultSecret(self.server, mount, path.removeprefix("data/"))


def split_path(path: str, mounts: frozenset[str] = frozenset()) -> tuple[str, str]:
    """(mount, path in the mount) of a full KV path; the longest known mount wins, else the first part."""
    path = path.strip("/")
    known = max((mount for mount in mounts if path.startswith(f"{mount}/")), key=len, default=None)
    mount = known or path.partition("/")[0]
    return mount, path[len(mount) :].strip("/").removeprefix("data/")


def addresses(index: ResourceIndex) -> Iterator[str]:
    """Every Vault address that the resources mention."""
    for store in index.of(ESO, "SecretStore", "ClusterSecretStore"):
        yield from _text(store.get("spec", "provider", "vault", "server"))
    for connection in index.of("secrets.hashicorp.com", "VaultConnection"):
        yield from _text(connection.get("spec", "address"))
    for resource in index.of_package("vault"):
        yield from _text(vault_address(resource))


def _text(value: Any) -> Iterator[str]:
    if isinstance(value, str) and value:
        yield value


def vault_address(resource: Resource) -> Part:
    """The address to which a pulumi-vault resource speaks."""
    if resource.provider is None:
        return Unknown("address of the default Vault provider; give the resource an explicit provider")
    return part(dig(resource.provider.props, "address"), f"address of provider {resource.provider.name}")


def known_mounts(index: ResourceIndex) -> frozenset[str]:
    """Paths of the mounts that the resources make or name."""
    found = {r.get("path") for r in index.of_package("vault") if r.token == "vault:index/mount:Mount"}
    found |= {s.get("spec", "provider", "vault", "path") for s in index.of(ESO, "SecretStore", "ClusterSecretStore")}
    return frozenset(mount.strip("/") for mount in found if isinstance(mount, str))


class Stores:
    """All stores, by what refers to them."""

    def __init__(self, index: ResourceIndex, identities: Identities) -> None:
        self._identities = identities
        self.mounts = known_mounts(index)
        self._found: dict[tuple[Part, str, Part, Part], Store] = {}
        for resource in index.of(ESO, "SecretStore", "ClusterSecretStore"):
            space: Part = "" if resource.kind == "ClusterSecretStore" else resource.namespace
            cluster = identities.cluster(resource)
            self._found[cluster, resource.kind, space, resource.metadata_name] = self._read(resource, cluster)

    def _read(self, resource: Resource, cluster: Part) -> Store:
        providers = resource.get("spec", "provider")
        if isinstance(providers, Unknown):
            return Store("", providers)
        kind = next(iter(mapping(providers)), "")
        spec = mapping(dig(providers, kind))
        if kind == "vault":
            address = part(spec.get("server"), f"spec.provider.vault.server of {resource.label}")
            tenant = spec.get("namespace")
            if isinstance(tenant, Unknown):
                server: Part = tenant
            else:
                server = self._identities.server(address, cluster, tenant or "")
            path = spec.get("path")
            return Store("vault", server, path if isinstance(path, Unknown) else path or None)
        if kind == "kubernetes":
            remote = part(spec.get("remoteNamespace") or "default", f"remoteNamespace of {resource.label}")
            elsewhere = spec.get("authRef") or dig(spec, "server", "url")
            return Store("kubernetes", kind, namespace=remote, cluster=_other_cluster(cluster, elsewhere))
        account = spec.get("region") or spec.get("projectID") or spec.get("vaultUrl") or ""
        return Store(kind, f"{kind} {account}".strip() if isinstance(account, str) else account)

    def resolve(self, reference: Any, resource: Resource, namespace: Part | None = None) -> Store:
        """The store that `reference` ({name, kind}) means, seen from a resource."""
        if isinstance(reference, Unknown):
            return Store("", reference)
        kind = dig(reference, "kind") or "SecretStore"
        name = part(dig(reference, "name"), f"store name of {resource.label}")
        where = namespace if namespace is not None else resource.namespace
        space: Part = "" if kind == "ClusterSecretStore" else where
        cluster = self._identities.cluster(resource)
        found = self._found.get((cluster, str(kind), space, name))
        if found is not None:
            return found
        shown = f"{space}/{name}" if isinstance(space, str) and space else str(name)
        missing = Unknown(f"{kind} {shown}, which is not in sight")
        # An unseen store may have a mount of its own, or take it from the key.
        return Store("vault", missing, missing)


def _other_cluster(cluster: Part, elsewhere: Any) -> Part:
    if not elsewhere or not isinstance(elsewhere, str) or "kubernetes.default" in elsewhere:
        return cluster
    return elsewhere
