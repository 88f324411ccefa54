"""Whether a cluster's answer can be believed: what is missing, altered, or of another cluster is named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from secret_authority.core.ledger.audit_trail import Event
from secret_authority.core.ledger.consistency import (
    ClusterFacts,
    RepositoryFacts,
    contradictions,
    trail_mismatches,
)
from secret_authority.core.ledger.published_trail import PublishedTrail
from secret_authority.core.phases import Phase

GIVEN = "authority git -> vault"


def event(secret: str, number: int = 1, change: str = GIVEN, place: str = "") -> Event:
    at = f"2026-01-0{number}T00:00:00+00:00"
    return Event(at, secret, change, "w", "r", "done", f"ho-{secret}-{number}", place or f"m/{secret}", "")


ORDERS = event("orders")
REPOSITORY = RepositoryFacts("dev", "age1dev", {"orders": ORDERS.id}, "ed25519:key")
BUILT = (Phase.GITOPS, Phase.BOOTSTRAP, Phase.RUNTIME_AUTHORITY, Phase.CONSUMPTION)
CLUSTER = ClusterFacts(True, BUILT, (), True, "age1dev", PublishedTrail((ORDERS,), "ed25519:key"))


def test_a_cluster_that_fits_has_no_contradiction() -> None:
    assert contradictions(CLUSTER, REPOSITORY) == []
    assert contradictions(CLUSTER, RepositoryFacts("dev", "age1dev")) == []
    early = ClusterFacts(True, BUILT[:2], recipient="age1dev")
    assert contradictions(early, RepositoryFacts("dev", "age1dev")) == []
    assert contradictions(ClusterFacts(False), RepositoryFacts("dev", "age1dev")) == []
    while_it_rises = replace(CLUSTER, phases=BUILT[:2])
    assert contradictions(while_it_rises, REPOSITORY) == [], "the trail is there, before the record of phase 3"


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        (ClusterFacts(False), ["nothing of this program", "1 secrets", "cluster dev", "rebuild.md"]),
        (replace(CLUSTER, recipient="age1prod"), ["age1prod", "root-of-trust.yaml names age1dev for dev"]),
        (replace(CLUSTER, recipient=None), ["cluster-identity", "whether this is dev"]),
        (replace(CLUSTER, phases=()), ["no record of a phase"]),
        (replace(CLUSTER, phases=BUILT[1:]), ["record of phase 1 (gitops) is missing", "phase 4 is on record"]),
        (replace(CLUSTER, phases=(BUILT[0], BUILT[3])), ["phase 2", "phase 3"]),
        (replace(CLUSTER, strange_records=("ConfigMap a/b",)), ["ConfigMap a/b is labelled as the record of a phase"]),
        (replace(CLUSTER, trail=None), ["has reached phase 4, but ConfigMap audit-trail"]),
        (replace(CLUSTER, trail=None, vault_built=False, phases=BUILT[:3]), ["has reached phase 3, but ConfigMap"]),
        (replace(CLUSTER, trail=None, phases=BUILT[:2]), ["phase 2 and has a Vault"]),
        (replace(CLUSTER, trail=None, phases=BUILT[:2], vault_built=False), ["has reached phase 2, but ConfigMap"]),
        (replace(CLUSTER, trail_problem="Vault's trail lacks 2 events"), ["Vault's trail lacks 2 events"]),
        (replace(CLUSTER, trail=PublishedTrail((ORDERS,), "ed25519:forged")), ["ed25519:forged", "pins ed25519:key"]),
        (replace(CLUSTER, trail=PublishedTrail((), "ed25519:key")), ["lacks the handover ho-orders-1 of orders"]),
        (
            replace(CLUSTER, trail=PublishedTrail((event("orders", 2),), "ed25519:key")),
            ["lacks the handover ho-orders-1 of orders"],
        ),
        (
            replace(CLUSTER, trail=PublishedTrail((replace(ORDERS, change="value rotated"),), "ed25519:key")),
            ["lacks the handover ho-orders-1 of orders"],
        ),
    ],
)
def test_what_contradicts_is_named_with_a_way_out(cluster: ClusterFacts, words: list[str]) -> None:
    found = contradictions(cluster, REPOSITORY)
    assert len(found) == (2 if cluster.phases == (BUILT[0], BUILT[3]) else 1)
    said = "\n".join(found)
    assert [word for word in words if word not in said] == []


def test_below_the_runtime_authority_no_trail_is_needed() -> None:
    early = ClusterFacts(True, BUILT[:2], recipient="age1dev")
    assert contradictions(early, replace(REPOSITORY, handovers={})) == []
    assert len(contradictions(replace(early, vault_built=True), replace(REPOSITORY, handovers={}))) == 1


RECORDS = {"m/orders": ORDERS.id}


def test_a_trail_that_agrees_has_no_mismatch() -> None:
    rotation = event("orders", 2, "value rotated", "m/orders")
    assert trail_mismatches([ORDERS, rotation], RECORDS, PublishedTrail((ORDERS,), "k")) == []
    assert trail_mismatches([], {}, None) == []


@pytest.mark.parametrize(
    ("events", "records", "published", "said"),
    [
        ([], RECORDS, None, "m/orders has the record ho-orders-1, of which the trail has no event"),
        ([replace(ORDERS, change="x")], RECORDS, None, "m/orders has the record ho-orders-1, of which"),
        ([event("orders", 2)], RECORDS, None, "m/orders has the record ho-orders-1, of which the trail has no event"),
        ([ORDERS], {}, None, "event ho-orders-1 of orders says that Vault holds m/orders, which has no record"),
        (
            [ORDERS, event("orders", 2, place="m/v2")],
            {**RECORDS, "m/v2": "ho-orders-2"},
            None,
            "orders was given to Vault twice, as ho-orders-1 and as ho-orders-2",
        ),
        (
            [],
            {},
            (ORDERS,),
            "event ho-orders-1 of orders was published at 2026-01-01T00:00:00+00:00 and is",
        ),
    ],
)
def test_a_trail_that_does_not_agree_is_named(
    events: list[Event], records: dict[str, str], published: tuple[Event, ...] | None, said: str
) -> None:
    found = trail_mismatches(events, records, PublishedTrail(published, "k") if published else None)
    assert len(found) == 1 and found[0].startswith(said)
