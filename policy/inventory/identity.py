"""Which cluster and which Vault server a resource speaks to.

Two names for one server would hide a conflict, so addresses are reduced to what they stand for, and where
two addresses could be one server their identity is `Unknown`: the rules then fail closed.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import urlsplit

import yaml

from policy.inventory.resource import Origin, Provider, Resource, dig, items, mapping
from secret_authority.core.claims.locations import Part, Unknown

DEFAULT_CLUSTER = "this cluster"
DEFAULT_VAULT = "this Vault"
_ARGOCD_TYPE = "argocd.argoproj.io/secret-type"
# The end of a two-label host name that is no namespace.
_DOMAINS = frozenset({"com", "net", "org", "io", "dev", "cloud", "local", "internal", "example", "test"})
# Where a server is reached when the address names no port, by its own default or by that of HTTP(S).
_DEFAULT_PORTS = frozenset({None, 80, 443, 8200})
_ROLES = ("-active", "-standby", "-internal", "-ui", "-0", "-1", "-2")


@dataclass(frozen=True)
class Identities:
    """Resolved identities of one stack or tree."""

    clusters: Mapping[str, Part] = field(default_factory=dict)
    servers: Mapping[str, Part] = field(default_factory=dict)
    # Addresses that mean another server in each cluster; empty where there is one cluster.
    local: frozenset[str] = frozenset()
    # A cluster of a tree, as an Application names it -> by its address, which a Secret of Argo CD says.
    aliases: Mapping[Part, Part] = field(default_factory=dict)

    def cluster(self, resource: Resource) -> Part:
        if resource.origin is Origin.GIT:
            return self.aliases.get(resource.cluster, resource.cluster) if self.aliases else resource.cluster
        return self.clusters.get(_provider_key(resource.provider), DEFAULT_CLUSTER)

    def server(self, address: Part, cluster: Part, namespace: str = "") -> Part:
        """The Vault server behind an address, seen from `cluster`; `namespace` is one of Vault Enterprise."""
        if isinstance(address, Unknown):
            # With one server in sight, an unknown address still may be another one: fail closed.
            return address
        found = self.servers.get(address, address)
        if address in self.local and not isinstance(found, Unknown):
            found = cluster if isinstance(cluster, Unknown) else f"{found} of {cluster}"
        if namespace and not isinstance(found, Unknown):
            return f"{found}#{namespace.strip('/')}"
        return found

    @cached_property
    def _names(self) -> frozenset[Part]:
        return frozenset(self.servers.values())

    def home(self, cluster: Part) -> Part:
        """The server that declarations call by the cluster's name: the one in sight, else the name itself."""
        if len(self._names) != 1 or cluster in self._names:
            return cluster
        return self.server(next(iter(self.servers)), cluster)


def identify(
    resources: Iterable[Resource], addresses: Iterable[str], named: Mapping[str, Iterable[str]], cluster: str | None
) -> Identities:
    """Resolve the clusters of all providers and the servers of all addresses.

    `named` maps a server's name to its addresses; `cluster` is the one cluster that layer components speak
    of, None when there is none or more than one.
    """
    providers: dict[str, Provider | None] = {}
    spoken_of: set[Part] = set()
    aliases: dict[Part, Part] = {}
    for resource in resources:
        if resource.origin is Origin.GIT:
            spoken_of.add(resource.cluster)
            if resource.kind == "Secret" and resource.mark("labels", _ARGOCD_TYPE) == "cluster":
                aliases.update(_alias(resource))
        elif resource.is_kubernetes:
            providers.setdefault(_provider_key(resource.provider), resource.provider)
    clusters, given = _clusters(providers, cluster), set(addresses)
    known = {reduce_address(address) for listed in named.values() for address in listed}
    inside = {
        address
        for address in given
        if _kind(reduce_address(address)) == "service" and reduce_address(address) not in known
    }
    several = cluster is None and len(spoken_of | set(clusters.values())) > 1
    return Identities(clusters, _servers(given, named, cluster), frozenset(inside if several else ()), aliases)


def _alias(resource: Resource) -> dict[Part, Part]:
    """The address of a cluster that a Secret declares to Argo CD (argocd.argoproj.io/secret-type: cluster)."""
    texts = {}
    for name in ("name", "server"):
        given = resource.get("stringData", name)
        if given is None and isinstance(coded := resource.get("data", name), str):
            try:
                given = base64.b64decode(coded, validate=True).decode()
            except ValueError:
                given = None
        texts[name] = given
    named, server = texts["name"], texts["server"]
    if not (isinstance(named, str) and isinstance(server, str) and "://" in server):
        return {}
    # As the reader of Applications calls them.
    here = server.rstrip("/") == "https://kubernetes.default.svc"
    return {f"{named} of {resource.cluster}": resource.cluster if here else server.rstrip("/")}


def _provider_key(provider: Provider | None) -> str:
    return (provider.urn or provider.name) if provider else ""


def _clusters(providers: Mapping[str, Provider | None], declared: str | None) -> dict[str, Part]:
    if len(providers) == 1:
        return dict.fromkeys(providers, declared or DEFAULT_CLUSTER)
    return {key: _api_server(provider) for key, provider in providers.items()}


def _api_server(provider: Provider | None) -> Part:
    """The address of the API server that a provider's kubeconfig names."""
    if provider is None:
        return Unknown("kubeconfig of the default provider; give these resources an explicit provider")
    chosen = dig(provider.props, "clusterIdentifier")
    if isinstance(chosen, str) and chosen:
        return chosen
    text = dig(provider.props, "kubeconfig")
    unknown = Unknown(f"kubeconfig (or clusterIdentifier) of provider {provider.name}")
    if not isinstance(text, str) or "clusters" not in text:
        return unknown
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError:
        return unknown
    context = dig(provider.props, "context") or dig(config, "current-context")
    chosen = next(
        (dig(c, "context", "cluster") for c in items(dig(config, "contexts")) if c.get("name") == context), None
    )
    for entry in items(dig(config, "clusters")):
        if mapping(entry).get("name") == chosen or chosen is None:
            server = dig(entry, "cluster", "server")
            return server.rstrip("/").lower() if isinstance(server, str) else unknown
    return unknown


def _servers(addresses: set[str], named: Mapping[str, Iterable[str]], declared: str | None) -> dict[str, Part]:
    """One name for each address. Layer components call the cluster's Vault by the cluster's name."""
    known = {reduce_address(address): name for name, listed in named.items() for address in listed}
    reduced = {address: reduce_address(address) for address in addresses}
    open_ones = {short for short in reduced.values() if short not in known}
    services = {short for short in open_ones if _kind(short) == "service"}
    found: dict[str, Part] = {}
    for address, short in reduced.items():
        if short in known:
            found[address] = known[short]
        elif len(open_ones) == 1 and not known:
            found[address] = declared or DEFAULT_VAULT
        elif declared and _kind(short) == "service" and len(services) == 1:
            found[address] = declared
        elif _kind(short) == "service" or {_kind(other) for other in open_ones} == {"host"}:
            found[address] = short
        else:
            found[address] = Unknown(f"the Vault server behind {short}: list its addresses under vaultServers")
    return found


def reduce_address(address: str) -> str:
    """`host` or `host:port`, or `namespace/service` for a service of the cluster in any of its spellings."""
    try:
        parts = urlsplit(address if "//" in address else f"//{address}")
        parts.port  # noqa: B018  (raises for one that is not a number)
    except ValueError:
        return address
    host = (parts.hostname or address).rstrip(".")
    for suffix in (".cluster.local", ".svc"):
        host = host.removesuffix(suffix)
    labels = host.split(".")
    inside = parts.hostname != host or len(labels) == 1 or (len(labels) == 2 and labels[1] not in _DOMAINS)
    if inside and host != "localhost" and not host.replace(".", "").isdigit():
        # A pod of a headless service is vault-0.vault-internal.vault.
        service, namespace = (labels[-2], labels[-1]) if len(labels) > 1 else (labels[0], "default")
        for role in _ROLES:
            service = service.removesuffix(role)
        return f"{namespace}/{service}"
    if _is_loopback(host):
        return f"{host}:{parts.port or 8200}"
    return host if parts.port in _DEFAULT_PORTS else f"{host}:{parts.port}"


def _kind(short: str) -> str:
    if "/" in short:
        return "service"
    return "loopback" if _is_loopback(short.rpartition(":")[0]) else "host"


def _is_loopback(host: str) -> bool:
    """Behind a loopback address is a tunnel: its port says to where."""
    return host in ("localhost", "::1") or host.startswith("127.")
