"""What rules judge: the inventory, the claims that follow from it, and what the reader of a tree could not read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from functools import cached_property

from policy.claims import observed_claims
from policy.claims.declared import unseen_claims
from policy.inventory.coverage import Coverage
from policy.inventory.index import ResourceIndex
from policy.inventory.inventory import Inventory
from policy.inventory.resource import Position, Resource
from policy.settings import Profile, Settings
from secret_authority.core.claims.conflicts import Claim, Conflict, find_conflicts
from secret_authority.core.claims.locations import Location
from secret_authority.core.errors import Problem


class RuleContext:
    """One stack or one Git tree, as rules see it. What is derived is computed once, on first use."""

    def __init__(
        self,
        resources: Iterable[Resource],
        settings: Settings | None = None,
        problems: Iterable[Problem] = (),
        elsewhere: Iterable[str] = (),
        unjudged: Iterable[str] = (),
        rule_ids: Collection[str] = (),
        coverage: Coverage | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.index = ResourceIndex(resources)
        self.inventory = Inventory(self.index, self.settings)
        # What a reader could not make sense of.
        self.problems = tuple(problems)
        # What leads out of what was read; not judged.
        self.elsewhere = tuple(elsewhere)
        # What was read and could not be judged.
        self.unjudged = tuple(unjudged)
        # How much of a Git tree was read; None for a stack or a state.
        self.coverage = coverage
        # The rules that exist, so that a rule about settings can tell a wrong name.
        self.rule_ids = frozenset(rule_ids)

    @cached_property
    def profile(self) -> Profile:
        """What counts: as the settings say, else all rules for a stack or a tree with a catalogue."""
        if self.settings.profile is not None:
            return self.settings.profile
        stack = self.coverage is None
        catalogued = bool(self.index.of("secret-authority.dev", "SecretCatalogue"))
        return Profile.RFC if stack or catalogued else Profile.AUTHORITY

    @cached_property
    def observed(self) -> list[tuple[Claim, Resource]]:
        """What the resources do."""
        return list(observed_claims(self.inventory))

    @cached_property
    def claims(self) -> list[Claim]:
        """What the resources do, and what is declared beside them and cannot be seen here."""
        return [claim for claim, _ in self.observed] + unseen_claims(self.inventory, self.observed_at)

    @cached_property
    def conflicts(self) -> list[Conflict]:
        """Every pair of claims that meets, or may meet."""
        return find_conflicts(self.claims)

    @cached_property
    def claim_sources(self) -> Mapping[str, Resource]:
        """Subject of a claimant -> the resource through which it claims."""
        return {claim.claimant.subject: resource for claim, resource in self.observed}

    @cached_property
    def positions(self) -> Mapping[Position, int]:
        """Where resources are -> their place in the order in which they were read."""
        return {resource.where: number for number, resource in enumerate(self.index.resources)}

    @cached_property
    def observed_at(self) -> Mapping[Location, list[Claim]]:
        """Location -> what is seen to claim it."""
        found: dict[Location, list[Claim]] = defaultdict(list)
        for claim, _ in self.observed:
            found[claim.location].append(claim)
        return found

    def claims_of(self, resource: Resource) -> list[Claim]:
        """What one resource is seen to claim."""
        return self._claims_by_resource.get(id(resource), [])

    @cached_property
    def _claims_by_resource(self) -> Mapping[int, list[Claim]]:
        found: dict[int, list[Claim]] = defaultdict(list)
        for claim, resource in self.observed:
            found[id(resource)].append(claim)
        return found
