"""What the engine publishes is what the cluster has, whatever happens to it there."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from secret_authority.clients.kubernetes import named
from secret_authority.contract.names import AUDIT_TRAIL, HANDOVER_STATUS, STATUS_SELECTOR
from secret_authority.core.errors import Unavailable
from secret_authority.core.ledger import published_trail
from secret_authority.core.ledger.audit_trail import Event
from secret_authority.core.ledger.published_trail import NAME, piece_name
from secret_authority.core.ledger.trail_signature import TrailSigner
from secret_authority.engine.common.publisher import Publisher, UnknownTrailError
from tests.fakes.kubernetes import FakeConfigMaps
from tests.fakes.vault import SIGNER

STATUS = {"conditions": "{}", "evidence": "e"}


def events(count: int) -> list[Event]:
    rest = ("change", "why", "run", "done", "id", "place", "")
    return [Event(f"2026-01-01T00:00:{number:02}+00:00", f"s-{number}", *rest) for number in range(count)]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published_trail, "EVENTS_EACH", 2)


@pytest.fixture
def cluster() -> Iterator[FakeConfigMaps]:
    yield FakeConfigMaps()


@pytest.fixture
def publisher(cluster: FakeConfigMaps) -> Publisher:
    made = Publisher(cluster, "ns", lambda: cluster.now)
    made.status(STATUS)
    made.trail(events(5), SIGNER)
    made.reconcile()
    return made


def test_all_of_it_stands_in_the_cluster(cluster: FakeConfigMaps, publisher: Publisher) -> None:
    assert cluster.data(HANDOVER_STATUS) == STATUS
    assert cluster.trail() == tuple(events(5))
    assert NAME == AUDIT_TRAIL
    key, _, value = STATUS_SELECTOR.partition("=")
    assert all(found["metadata"]["labels"][key] == value for found in cluster.objects.values())


@pytest.mark.parametrize("name", [HANDOVER_STATUS, NAME, piece_name(2)])
def test_a_lost_one_is_made_again(cluster: FakeConfigMaps, publisher: Publisher, name: str) -> None:
    cluster.lose(name)
    publisher.status(STATUS)
    publisher.trail(events(5), SIGNER)  # told again, and nothing has changed
    cluster.later()
    publisher.reconcile()
    assert cluster.data(HANDOVER_STATUS) == STATUS and cluster.trail() == tuple(events(5))


@pytest.mark.parametrize("name", [HANDOVER_STATUS, NAME, piece_name(2)])
@pytest.mark.parametrize(
    "change",
    [
        {"data": {"events": "", "conditions": "wrong"}},
        {"data": {"more": "x"}},
        {"metadata": {"labels": {"secret-authority.dev/part": None}}},
        {"data": None},
    ],
)
def test_an_altered_one_is_put_right(
    cluster: FakeConfigMaps, publisher: Publisher, name: str, change: Any, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.merge(named("configmaps", "ns", name), change)
    cluster.later()
    publisher.reconcile()
    test_all_of_it_stands_in_the_cluster(cluster, publisher)
    assert caplog.messages == [f"ConfigMap {name} was not as it should be; it is again"]
    assert caplog.records[0].levelno == logging.WARNING


def test_what_is_right_is_left_alone_and_looked_at_now_and_then(cluster: FakeConfigMaps, publisher: Publisher) -> None:
    requests, writes = cluster.requests, cluster.writes
    for _ in range(10):
        publisher.status(STATUS)
        publisher.reconcile()
    assert cluster.requests == requests
    cluster.later()
    publisher.reconcile()
    assert cluster.requests > requests and cluster.writes == writes


def test_what_could_not_be_written_goes_out_as_soon_as_it_can(cluster: FakeConfigMaps, publisher: Publisher) -> None:
    cluster.away = True
    with pytest.raises(Unavailable):
        publisher.trail(events(6), SIGNER)
    with pytest.raises(Unavailable):
        publisher.reconcile()
    cluster.away = False
    assert cluster.trail() == tuple(events(5))
    publisher.reconcile()
    assert cluster.trail() == tuple(events(6))


def test_a_piece_that_is_not_of_the_trail_is_emptied(cluster: FakeConfigMaps, publisher: Publisher) -> None:
    cluster.create("api/v1/namespaces/ns/configmaps", {"metadata": {"name": piece_name(7)}, "data": {"events": "{}"}})
    cluster.later()
    publisher.reconcile()
    assert cluster.trail() == tuple(events(5)) and cluster.data(piece_name(7)) == {"events": ""}


def engine_after(cluster: FakeConfigMaps) -> Publisher:
    """The publisher of an engine that was started later."""
    return Publisher(cluster, "ns", lambda: cluster.now)


@pytest.mark.parametrize("restarted", [False, True])
def test_the_published_trail_never_becomes_shorter(
    cluster: FakeConfigMaps, publisher: Publisher, restarted: bool
) -> None:
    """Vault was restored from an older snapshot, or somebody took events out of it."""
    engine = engine_after(cluster) if restarted else publisher
    kept = [*events(1), *events(6)[5:]]
    assert engine.trail(kept, SIGNER) == tuple(events(5)[1:])
    assert cluster.trail() == tuple(events(6))
    assert engine.trail(events(6), SIGNER) == ()


def test_a_trail_that_the_engine_did_not_sign_is_not_signed_by_it(
    cluster: FakeConfigMaps, publisher: Publisher
) -> None:
    """An event that Vault does not know would otherwise get the engine's word."""
    forged = published_trail.pieces(events(6), TrailSigner(b"x" * 32))
    for name, content in forged.items():
        cluster.merge(named("configmaps", "ns", name), {"data": content})
    before = copy.deepcopy(cluster.objects)
    engine = engine_after(cluster)
    for _ in range(2):
        with pytest.raises(UnknownTrailError, match="1 of its events, such as id of s-5, are neither signed"):
            engine.trail(events(5), SIGNER)
    engine.reconcile()
    assert cluster.objects == before, "it is left as it is, for a person to see"
    assert engine.trail(events(6), SIGNER) == (), "Vault knows all of them"
    assert cluster.trail() == tuple(events(6))


def test_the_copy_of_an_older_release_is_signed_when_vault_knows_it(cluster: FakeConfigMaps) -> None:
    lines = "\n".join(replace(event, digest="hmac-sha256:00").line() for event in events(2))
    body = {"metadata": {"name": NAME}, "data": {"events": lines, "total": "2"}}
    cluster.create("api/v1/namespaces/ns/configmaps", body)
    assert cluster.trail() is None
    assert engine_after(cluster).trail(events(2), SIGNER) == ()
    assert cluster.trail() == tuple(events(2)) and "hmac" not in str(cluster.objects)


def test_an_engine_that_has_read_no_trail_yet_leaves_the_published_one(
    cluster: FakeConfigMaps, publisher: Publisher
) -> None:
    fresh = Publisher(cluster, "ns", lambda: cluster.now)
    fresh.status(STATUS)
    cluster.later()
    fresh.reconcile()
    assert cluster.trail() == tuple(events(5))
