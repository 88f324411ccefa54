"""Everything that the rules look at: the resources of one stack or tree, settings, and what follows from them.

What is derived is computed once, on first use, and never kept between two calls of a policy.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

from policy.claims import observed_claims
from policy.claims.declared import unseen_claims
from policy.inventory import layers
from policy.inventory.identity import Identities, identify
from policy.inventory.resource import Origin, Position, Resource, mapping
from policy.inventory.secret_stores import Stores, addresses
from policy.settings import Settings
from secret_authority.core.catalogue.schema import Catalogue, CatalogueSecret, parse_catalogue
from secret_authority.core.claims.conflicts import Claim, Conflict, find_conflicts
from secret_authority.core.claims.locations import KubernetesSecret, Location, Part, Unknown
from secret_authority.core.errors import InvalidInputError, Problem
from secret_authority.core.phases import Phase


class World:
    """The resources of one stack or one Git tree."""

    def __init__(
        self,
        resources: Iterable[Resource],
        settings: Settings | None = None,
        problems: Iterable[Problem] = (),
        elsewhere: Iterable[str] = (),
        unjudged: Iterable[str] = (),
    ) -> None:
        self.resources = list(resources)
        self.settings = settings or Settings()
        # What a reader could not make sense of.
        self.problems = tuple(problems)
        # What leads out of what was read; not judged.
        self.elsewhere = tuple(elsewhere)
        # What lies in what was read, and could not be looked into.
        self.unjudged = tuple(unjudged)

    def of(self, group: str, *kinds: str) -> list[Resource]:
        """Kubernetes objects of the kinds, in the order of the world."""
        return [resource for kind in kinds for resource in self._by_kind.get((group, kind), ())]

    def of_package(self, package: str) -> list[Resource]:
        """Pulumi resources of a package ("vault", "random")."""
        return self._by_package.get(package, [])

    @cached_property
    def kubernetes(self) -> list[Resource]:
        return [resource for resource in self.resources if resource.is_kubernetes]

    @cached_property
    def _by_kind(self) -> Mapping[tuple[str, str], list[Resource]]:
        found: dict[tuple[str, str], list[Resource]] = defaultdict(list)
        for resource in self.kubernetes:
            found[resource.group, resource.kind].append(resource)
        return found

    @cached_property
    def _by_package(self) -> Mapping[str, list[Resource]]:
        found: dict[str, list[Resource]] = defaultdict(list)
        for resource in self.resources:
            found[resource.token.partition(":")[0]].append(resource)
        return found

    @cached_property
    def by_urn(self) -> Mapping[str, Resource]:
        return {resource.where.urn: resource for resource in self.resources if resource.where.urn}

    # -- layers of this project, where they are present ---------------------------------------------------

    @cached_property
    def layers(self) -> list[layers.Layer]:
        return layers.read_layers(self.resources)

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
        given = [(r, r.props, str(r.cluster)) for r in self.of("secret-authority.dev", "SecretCatalogue")]
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
            self.kubernetes,
            addresses(self),
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
    def observed(self) -> list[tuple[Claim, Resource]]:
        """What the resources do."""
        return list(observed_claims(self))

    @cached_property
    def claims(self) -> list[Claim]:
        """What the resources do, and what is declared beside them and cannot be seen here."""
        return [claim for claim, _ in self.observed] + unseen_claims(self)

    @cached_property
    def conflicts(self) -> list[Conflict]:
        """Every pair of claims that meets, or may meet."""
        return find_conflicts(self.claims)

    @cached_property
    def claim_sources(self) -> Mapping[str, Resource]:
        """Subject of a claimant -> the resource through which it claims."""
        return {claim.claimant.subject: resource for claim, resource in self.observed}

    # -- small indexes ------------------------------------------------------------------------------------

    @cached_property
    def namespaces(self) -> Mapping[tuple[str, str], Mapping[str, object]]:
        """(cluster, namespace) -> labels of the Namespace objects in sight."""
        return {
            (str(self.identities.cluster(r)), str(r.metadata_name)): {
                "kubernetes.io/metadata.name": r.metadata_name,
                **mapping(r.get("metadata", "labels")),
            }
            for r in self.of("", "Namespace")
        }

    @cached_property
    def namespaces_in_use(self) -> tuple[str, ...]:
        """Names of the namespaces that any object stands in, sorted."""
        used = {resource.namespace for resource in self.kubernetes if not resource.kind.startswith("Cluster")}
        return tuple(sorted({n for n in used if isinstance(n, str)} | {name for _, name in self.namespaces}))

    @cached_property
    def stores(self) -> Stores:
        """The stores of External Secrets."""
        return Stores(self)

    @cached_property
    def observed_at(self) -> Mapping[Location, list[Claim]]:
        """Location -> what is seen to claim it."""
        found: dict[Location, list[Claim]] = defaultdict(list)
        for claim, _ in self.observed:
            found[claim.location].append(claim)
        return found

    @cached_property
    def secrets(self) -> list[Resource]:
        return self.of("", "Secret")

    def claims_of(self, resource: Resource) -> list[Claim]:
        """What one resource is seen to claim."""
        return self._claims_by_resource.get(id(resource), [])

    @cached_property
    def _claims_by_resource(self) -> Mapping[int, list[Claim]]:
        found: dict[int, list[Claim]] = defaultdict(list)
        for claim, resource in self.observed:
            found[id(resource)].append(claim)
        return found

    def family(self, urn: str) -> frozenset[str]:
        """A component and everything below it, as URNs."""
        found, stack = {urn}, [urn]
        while stack:
            for child in self._children.get(stack.pop(), ()):
                if child not in found:
                    found.add(child)
                    stack.append(child)
        return frozenset(found)

    @cached_property
    def _children(self) -> Mapping[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        for resource in self.resources:
            if resource.parent:
                found[resource.parent].append(resource.where.urn)
        return found

    def ancestors(self, resource: Resource) -> Iterator[Resource]:
        """The parents of a resource, nearest first."""
        urn = resource.parent
        while urn and (parent := self.by_urn.get(urn)):
            yield parent
            urn = parent.parent
