"""What the engine publishes is what the cluster has, whatever happens to it there."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from secret_authority.clients.kubernetes import named
from secret_authority.contract.names import AUDIT_TRAIL, HANDOVER_STATUS, STATUS_SELECTOR
from secret_authority.core.errors import Unavailable
from secret_authority.core.ledger import published_trail
from secret_authority.core.ledger.audit_trail import Event
from secret_authority.core.ledger.published_trail import NAME, piece_name
from secret_authority.engine.common.publisher import Publisher
from tests.fakes.kubernetes import FakeConfigMaps

STATUS = {"conditions": "{}", "evidence": "e"}


def events(count: int) -> list[Event]:
    rest = ("change", "why", "run", "done", "id", "place", "digest")
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
    made.trail(events(5))
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
    publisher.trail(events(5))  # told again, and nothing has changed
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
        publisher.trail(events(6))
    with pytest.raises(Unavailable):
        publisher.reconcile()
    cluster.away = False
    assert cluster.trail() == tuple(events(5))
    publisher.reconcile()
    assert cluster.trail() == tuple(events(6))


def test_pieces_of_a_longer_trail_are_emptied(cluster: FakeConfigMaps, publisher: Publisher) -> None:
    """Vault was restored from an older snapshot; and somebody has made a piece by hand."""
    cluster.create("api/v1/namespaces/ns/configmaps", {"metadata": {"name": piece_name(7)}, "data": {"events": "{}"}})
    publisher.trail(events(1))
    assert cluster.trail() == tuple(events(1)), "a reader stops where the trail ends"
    cluster.later()
    publisher.reconcile()
    assert cluster.data(NAME)["events"] == events(1)[0].line()
    assert [cluster.data(piece_name(number)) for number in (1, 2, 7)] == [{"events": ""}] * 3


def test_an_engine_that_has_read_no_trail_yet_leaves_the_published_one(
    cluster: FakeConfigMaps, publisher: Publisher
) -> None:
    fresh = Publisher(cluster, "ns", lambda: cluster.now)
    fresh.status(STATUS)
    cluster.later()
    fresh.reconcile()
    assert cluster.trail() == tuple(events(5))
