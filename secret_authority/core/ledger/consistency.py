"""Whether what a cluster says of itself can be believed: against the repository, and its own parts with one another.

An answer about authority from the wrong cluster, or from one whose records somebody took away, looks like any other
answer. So commands ask here first, and give none while something contradicts. RFC-SECOPS-0001 §5 (observable).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from secret_authority.core.ledger.audit_trail import Event, gives_to_vault
from secret_authority.core.ledger.published_trail import PublishedTrail
from secret_authority.core.phases import Phase


@dataclass(frozen=True)
class ClusterFacts:
    """What a cluster says of itself.

    `built`: anything of this program is there. `vault_built`: Vault's namespace of this program is. `strange_records`:
    objects labelled as the record of a phase that is none. `trail_problem`: the engine's own complaint of its trail.
    """

    built: bool
    phases: Collection[Phase] = ()
    strange_records: tuple[str, ...] = ()
    vault_built: bool = False
    recipient: str | None = None
    trail: PublishedTrail | None = None
    trail_problem: str = ""


@dataclass(frozen=True)
class RepositoryFacts:
    """What the repository says of the cluster: its recipient, and from the tombstones each handover's id by secret and
    the key that signs the published trail (None when none is pinned)."""

    cluster: str
    recipient: str
    handovers: Mapping[str, str] = field(default_factory=dict)
    trail_key: str | None = None


def contradictions(cluster: ClusterFacts, repository: RepositoryFacts) -> list[str]:
    """What does not fit, each with the way out; empty when the cluster's answers can be used."""
    if not cluster.built:
        return list(_of_an_empty_cluster(repository))
    return [*_identity(cluster, repository), *_records(cluster), *_trail(cluster, repository)]


def _of_an_empty_cluster(repository: RepositoryFacts) -> Iterator[str]:
    if repository.handovers:
        yield (
            "the cluster has nothing of this program, but the tombstones in Git name "
            f"{len(repository.handovers)} secrets that Vault of cluster {repository.cluster} has taken over. Fix: give "
            f"the kubeconfig and context of {repository.cluster}; if it is lost, see docs/runbooks/rebuild.md"
        )


def _identity(cluster: ClusterFacts, repository: RepositoryFacts) -> Iterator[str]:
    if cluster.recipient is None:
        yield (
            "the record of the cluster's identity is missing (ConfigMap cluster-identity in namespace "
            f"secret-authority), so nobody can tell whether this is {repository.cluster}. Fix: run `pulumi up`"
        )
    elif cluster.recipient != repository.recipient:
        yield (
            f"this cluster has the identity of {cluster.recipient}, but root-of-trust.yaml names "
            f"{repository.recipient} for {repository.cluster}. Fix: give the kubeconfig and context of "
            f"{repository.cluster}; if its identity was replaced in Git, run `pulumi up` first"
        )


def _records(cluster: ClusterFacts) -> Iterator[str]:
    for name in cluster.strange_records:
        yield f"{name} is labelled as the record of a phase and is none. Fix: remove the label, or the object"
    reached = max(cluster.phases, default=None)
    if reached is None:
        yield (
            "parts of this program are there, but no record of a phase: it is not known how far the cluster is. "
            "Fix: run `pulumi up`; if no run was under way, find out who removed the records"
        )
        return
    for phase in Phase:
        if Phase.ROOT_OF_TRUST < phase < reached and phase not in cluster.phases:
            yield (
                f"the record of phase {phase.value} ({phase.title}) is missing, although phase {reached.value} is "
                "on record. Fix: find out who removed it, then run `pulumi up`"
            )


def _trail(cluster: ClusterFacts, repository: RepositoryFacts) -> Iterator[str]:
    reached = max(cluster.phases, default=Phase.ROOT_OF_TRUST)
    if cluster.trail is None:
        on_record = reached >= Phase.RUNTIME_AUTHORITY
        if on_record or cluster.vault_built or repository.handovers:
            more = " and has a Vault" if cluster.vault_built and not on_record else ""
            yield (
                f"the cluster has reached phase {reached.value}{more}, but ConfigMap audit-trail in namespace "
                "secret-authority is not there, or is not the whole audit trail with its "
                "signature. The engine publishes it within a minute while Vault is in service; "
                "`secret-authority audit` asks Vault itself"
            )
        return
    if cluster.trail_problem:
        yield cluster.trail_problem
    if repository.trail_key is not None and cluster.trail.key != repository.trail_key:
        yield (
            f"the published audit trail is signed with {cluster.trail.key}, but tombstones.yaml pins "
            f"{repository.trail_key}. Fix: find out who writes ConfigMap audit-trail; if Vault was initialised again, "
            "remove trailKey from tombstones.yaml after review"
        )
    held = {(event.secret, event.id) for event in cluster.trail.events if gives_to_vault(event)}
    for secret, handover in sorted(repository.handovers.items()):
        if (secret, handover) not in held:
            yield (
                f"the published audit trail lacks the handover {handover} of {secret}, which tombstones.yaml has. Fix: "
                "compare with `secret-authority audit`; the copy is old, or Vault was restored from an older snapshot"
            )


def trail_mismatches(
    events: Iterable[Event], records: Mapping[str, str], published: PublishedTrail | None
) -> list[str]:
    """Compare the trail in Vault with the records in its metadata and with the published copy; empty when they agree.

    `records`: the id of the handover or first write on record, by place (`mount/path`).
    """
    trail = list(events)
    given = {event.place: event for event in trail if gives_to_vault(event)}
    found: list[str] = []
    for place, identity in sorted(records.items()):
        if place not in given or given[place].id != identity:
            found.append(f"{place} has the record {identity}, of which the trail has no event")
    for place, event in sorted(given.items()):
        if place not in records:
            found.append(f"event {event.id} of {event.secret} says that Vault holds {place}, which has no record")
    first: dict[str, Event] = {}
    for event in sorted(filter(gives_to_vault, trail)):
        if first.setdefault(event.secret, event) is not event:
            found.append(f"{event.secret} was given to Vault twice, as {first[event.secret].id} and as {event.id}")
    known = {(event.secret, event.id) for event in trail}
    for event in published.events if published else ():
        if (event.secret, event.id) not in known:
            found.append(f"event {event.id} of {event.secret} was published at {event.at} and is not in Vault any more")
    return found
