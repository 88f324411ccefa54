"""Resolves the stores of External Secrets to a location: two store names on one mount are one location.

External Secrets, SecretStore v1: spec.provider.vault.{server,path,version,namespace}; the mount may also be
the first part of the remote key. Of another provider everything counts but how one logs in: project, configuration,
vault, region, service.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from policy.inventory.identity import Identities
from policy.inventory.index import ResourceIndex
from policy.inventory.resource import Hidden, Resource, dig, mapping, part
from secret_authority.core.claims.locations import (
    KubernetesSecret,
    Location,
    Part,
    StoreSecret,
    Unknown,
    VaultSecret,
)

ESO = "external-secrets.io"
# How messages call the providers of External Secrets.
PROVIDERS: Mapping[str, str] = {
    "vault": "Vault",
    "aws": "AWS",
    "azurekv": "Azure Key Vault",
    "gcpsm": "Google Secret Manager",
    "onepassword": "1Password",
    "onepasswordSDK": "1Password",
    "doppler": "Doppler",
    "infisical": "Infisical",
    "akeyless": "Akeyless",
    "bitwardensecretsmanager": "Bitwarden",
    "gitlab": "GitLab",
    "github": "GitHub",
    "ibm": "IBM Secrets Manager",
    "oracle": "Oracle Vault",
    "pulumi": "Pulumi ESC",
    "scaleway": "Scaleway",
    "conjur": "Conjur",
    "kubernetes": "Kubernetes",
    "fake": "a fake provider",
    "webhook": "a webhook",
}
# Fields of a provider that say how one logs in, or trusts; they do not tell one store from another.
_LOGIN = frozenset(
    {"auth", "caBundle", "caProvider", "serviceAccountRef", "retrySettings", "retry", "additionalRoles", "timeout"}
    | {"sessionTags", "transitiveTagKeys", "externalID", "cache", "integrationInfo", "tls", "authSecretRef"}
)
# Where these are left out, the credential decides which store is meant.
# The same of single providers; an Azure vault is known by its URL, and what AWS does when it deletes is no place.
_LOGIN_OF: Mapping[str, frozenset[str]] = {
    "azurekv": frozenset({"authType", "tenantId", "identityId", "customCloudConfig"}),
    "aws": frozenset({"prefix", "secretsManager"}),
}
_BY_LOGIN: Mapping[str, tuple[str, ...]] = {
    "doppler": ("project", "config"),
    "infisical": ("secretsScope",),
    "onepassword": ("vaults",),
    "gcpsm": ("projectID",),
}


@dataclass(frozen=True)
class Store:
    """Where a store points. `kind` is its provider ("vault", "kubernetes", ...), "" when it is not known."""

    kind: str
    server: Part
    mount: Part | None = None
    namespace: Part = ""
    cluster: Part = ""
    # What is before each key.
    prefix: str = ""

    def remote(self, key: Part, mounts: frozenset[str] = frozenset()) -> Location:
        """The location of a remote key."""
        if self.kind == "kubernetes":
            return KubernetesSecret(self.cluster, self.namespace, key)
        if self.kind not in ("vault", ""):
            path = key if isinstance(key, Unknown) else f"{self.prefix}{key}".strip("/")
            return StoreSecret(PROVIDERS.get(self.kind, self.kind), self.server, path)
        if isinstance(key, Unknown):
            return VaultSecret(self.server, self.mount if self.mount is not None else Unknown(key.field), key)
        mount, path = self.mount, key.strip("/")
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
    mounts = [r.get("path") for r in index.of_package("vault") if r.token == "vault:index/mount:Mount"]
    mounts += [s.get("spec", "provider", "vault", "path") for s in index.of(ESO, "SecretStore", "ClusterSecretStore")]
    return frozenset(mount.strip("/") for mount in mounts if isinstance(mount, str))


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
        kind = str(next(iter(mapping(providers)), ""))
        spec = mapping(dig(providers, kind))
        if kind == "vault":
            address = part(spec.get("server"), f"spec.provider.vault.server of {resource.label}")
            tenant = spec.get("namespace")
            if isinstance(tenant, Unknown):
                server: Part = tenant
            else:
                server = self._identities.server(address, cluster, tenant if isinstance(tenant, str) else "")
            path = spec.get("path")
            mount = None if path in (None, "") else part(path, f"spec.provider.vault.path of {resource.label}")
            return Store("vault", server, mount)
        if kind == "kubernetes":
            remote = part(spec.get("remoteNamespace") or "default", f"remoteNamespace of {resource.label}")
            elsewhere = spec.get("authRef") or dig(spec, "server", "url")
            return Store("kubernetes", kind, namespace=remote, cluster=_other_cluster(cluster, elsewhere))
        prefix = spec.get("prefix") if kind == "aws" else None
        if isinstance(prefix, Unknown):
            return Store(kind, prefix)
        return Store(kind, _store_identity(kind, spec, resource), prefix=prefix if isinstance(prefix, str) else "")

    def resolve(self, reference: Any, resource: Resource, namespace: Part | None = None) -> Store:
        """The store that `reference` ({name, kind}) means, seen from a resource."""
        if isinstance(reference, Unknown):
            return Store("", reference)
        given = dig(reference, "kind")
        kind = given if isinstance(given, str) and given else "SecretStore"
        name = part(dig(reference, "name"), f"store name of {resource.label}")
        where = namespace if namespace is not None else resource.namespace
        space: Part = "" if kind == "ClusterSecretStore" else where
        cluster = self._identities.cluster(resource)
        found = self._found.get((cluster, kind, space, name))
        if found is not None:
            return found
        shown = f"{space}/{name}" if isinstance(space, str) and space else str(name)
        told = isinstance(name, str) and isinstance(space, str) and isinstance(cluster, str)
        # One name is one store, also where it is not in sight.
        same = f"{cluster}: {kind} {shown}" if told else None
        missing = Unknown(f"{kind} {shown}, which is not in sight", same=same)
        # An unseen store may have a mount of its own, or take it from the key.
        return Store("vault", missing, missing)


def _store_identity(kind: str, spec: Mapping[str, Any], resource: Resource) -> Part:
    """What tells a store of another provider from others: all of its fields but the login."""
    login = _LOGIN | _LOGIN_OF.get(kind, frozenset())
    fields = {str(key): _one_spelling(value) for key, value in spec.items() if key not in login}
    unknown = _unknown_in(fields)
    if unknown is not None:
        return unknown if isinstance(unknown, Unknown) else Unknown(f"spec.provider.{kind} of {resource.label}")
    decisive = _BY_LOGIN.get(kind, ())
    if kind == "aws" and isinstance(role := spec.get("role"), str) and role.startswith("arn:"):
        # Two roles of one account see one store.
        fields["role"] = role.split(":")[4] if role.count(":") > 4 else role
    if not fields or (decisive and not all(spec.get(field) for field in decisive)):
        fields["login"] = spec.get("auth")
    return json.dumps(fields, sort_keys=True, default=str)


def _one_spelling(value: Any) -> Any:
    """A URL without what does not count: the case of the host, a / at the end."""
    if not isinstance(value, str) or not value.startswith(("https://", "http://")):
        return value
    scheme, _, rest = value.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.lower()}{slash}{path}".rstrip("/")


def _unknown_in(value: Any) -> Unknown | Hidden | None:
    if isinstance(value, Unknown | Hidden):
        return value
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return next((found for each in inner if (found := _unknown_in(each)) is not None), None)


def _other_cluster(cluster: Part, elsewhere: Any) -> Part:
    if not elsewhere or not isinstance(elsewhere, str) or "kubernetes.default" in elsewhere:
        return cluster
    return elsewhere
