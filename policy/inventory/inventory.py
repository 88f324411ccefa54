"""What a stack or tree holds, beyond single resources: layers, catalogues, clusters, servers, namespaces, stores.

What is derived is computed once, on first use.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from policy.inventory import layers
from policy.inventory.identity import Identities, identify
from policy.inventory.index import ResourceIndex
from policy.inventory.resource import Origin, Position, Resource, mapping
from policy.inventory.secret_stores import Stores, addresses
from policy.settings import Settings
from secret_authority.core.catalogue.schema import Catalogue, CatalogueSecret, parse_catalogue
from secret_authority.core.claims.locations import KubernetesSecret, Part, Unknown
from secret_authority.core.errors import InvalidInputError, Problem
from secret_authority.core.phases import Phase


class Inventory:
    """What claims are read from: the resources, and what is known about them together."""

    def __init__(self, index: ResourceIndex, settings: Settings) -> None:
        self.index = index
        self.settings = settings

    # -- layers of this project, where they are present ---------------------------------------------------

    @cached_property
    def layers(self) -> list[layers.Layer]:
        return layers.read_layers(self.index.resources)

    @cached_property
    def phase(self) -> Phase | None:
        """The phase of the cluster; None when nobody says it."""
        if self.settings.phase is not None:
            return self.settings.phase
        said = [layer.phase for layer in self.layers if layer.phase is not None]
        return max(said, default=None)

    @cached_property
    def catalogues(self) -> Mapping[str, Catalogue]:
        """Cluster -> its catalogue, as far as it can be read."""
        return self._read_catalogues[0]

    @cached_property
    def catalogue_problems(self) -> list[tuple[Problem, Position]]:
        return self._read_catalogues[1]

    @cached_property
    def _read_catalogues(self) -> tuple[dict[str, Catalogue], list[tuple[Problem, Position]]]:
        found: dict[str, Catalogue] = {}
        problems: list[tuple[Problem, Position]] = []
        given = [(r, r.props, str(r.cluster)) for r in self.index.of("secret-authority.dev", "SecretCatalogue")]
        given += [
            (layer.resource, layer.catalogue, layer.cluster or "this cluster")
            for layer in self.layers
            if layer.catalogue
        ]
        for resource, document, cluster in given:
            try:
                found[cluster] = parse_catalogue(document, resource.where.file or resource.name)
            except InvalidInputError as error:
                problems += [(problem, resource.where) for problem in error.problems]
        return found, problems

    def catalogue_of(self, resource: Resource) -> Catalogue | None:
        """The catalogue that speaks of a resource's cluster."""
        if len(self.catalogues) == 1 and resource.origin is Origin.STACK:
            return next(iter(self.catalogues.values()))
        return self.catalogues.get(str(self.identities.cluster(resource)))

    @cached_property
    def bootstrap_entries(self) -> Mapping[int, Mapping[tuple[Part, Part], CatalogueSecret]]:
        """Catalogue (by id) -> (namespace, Secret) -> the entry with this bootstrap target."""
        return {
            id(catalogue): {(e.bootstrap.namespace, e.bootstrap.secret): e for e in catalogue if e.bootstrap}
            for catalogue in self.catalogues.values()
        }

    @cached_property
    def catalogued_keys(self) -> Mapping[int, Mapping[tuple[Part, str], CatalogueSecret]]:
        """Catalogue (by id) -> (namespace, key) -> a secret that has this key in a Secret of the namespace."""
        found: dict[int, dict[tuple[Part, str], CatalogueSecret]] = {}
        for catalogue in self.catalogues.values():
            keys = found.setdefault(id(catalogue), {})
            for entry in catalogue:
                if not entry.vault.consumer:
                    continue
                locations = [(consumer.namespace, tuple(consumer.keys)) for consumer in entry.consumers]
                if entry.bootstrap:
                    locations.append((entry.bootstrap.namespace, entry.bootstrap.keys))
                for namespace, names in locations:
                    for name in names:
                        keys.setdefault((namespace, name), entry)
        return found

    # -- identities and claims ------------------------------------------------------------------------------

    @cached_property
    def identities(self) -> Identities:
        declared = {layer.cluster for layer in self.layers if layer.cluster}
        return identify(
            self.index.kubernetes,
            addresses(self.index),
            self.settings.vault_servers,
            next(iter(declared)) if len(declared) == 1 else None,
        )

    def secret_location(self, resource: Resource, name: object = None, namespace: object = None) -> KubernetesSecret:
        """The location of a Secret of this name in the cluster and namespace of a resource."""
        return KubernetesSecret(
            self.identities.cluster(resource),
            namespace if isinstance(namespace, str | Unknown) else resource.namespace,
            name if isinstance(name, str | Unknown) else resource.metadata_name,
        )

    @cached_property
    def namespaces(self) -> Mapping[tuple[str, str], Mapping[str, object]]:
        """(cluster, namespace) -> labels of the Namespace objects in sight."""
        return {
            (str(self.identities.cluster(r)), str(r.metadata_name)): {
                "kubernetes.io/metadata.name": r.metadata_name,
                **mapping(r.get("metadata", "labels")),
            }
            for r in self.index.of("", "Namespace")
        }

    @cached_property
    def namespaces_in_use(self) -> tuple[str, ...]:
        """Names of the namespaces that any object is in, sorted."""
        used = {resource.namespace for resource in self.index.kubernetes if not resource.kind.startswith("Cluster")}
        return tuple(sorted({n for n in used if isinstance(n, str)} | {name for _, name in self.namespaces}))

    @cached_property
    def stores(self) -> Stores:
        """The stores of External Secrets."""
        return Stores(self.index, self.identities)
