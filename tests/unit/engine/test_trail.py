"""When the engine reads the trail from Vault anew, and that a lost ConfigMap of it comes back by itself."""

from __future__ import annotations

import pytest

from secret_authority.contract.names import TRAIL_WHOLE
from secret_authority.core.errors import Unavailable
from secret_authority.core.handover.state_machine import Step
from secret_authority.core.ledger.audit_trail import Event
from secret_authority.core.ledger.published_trail import NAME
from secret_authority.engine.common import status as status_module
from secret_authority.engine.common.publisher import RESYNC_SECONDS
from secret_authority.engine.runtime_authority.controller import TRAIL_READABLE
from tests.support.controllers import TrailSite


def event(secret: str, number: int) -> Event:
    return Event(f"2026-01-01T00:00:{number:02}+00:00", secret, "c", "w", "r", "done", f"id-{number}", "p", "")


def test_a_look_without_news_does_not_read_the_trail_again(monkeypatch: pytest.MonkeyPatch) -> None:
    place = TrailSite(monkeypatch, event("s-0", 0))
    place.tell(Step.AUDIT)
    reads = place.vault.reads
    assert place.cluster.trail() == (event("s-0", 0),)
    place.tell()
    assert place.vault.reads == reads


def test_a_look_without_news_is_an_observation_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the condition would be stale after minutes in which nothing happens."""
    place = TrailSite(monkeypatch, event("s-0", 0))
    place.tell()
    monkeypatch.setattr(status_module, "present_time", lambda: "2030-01-01T00:00:00+00:00")
    place.tell()
    for name in (TRAIL_WHOLE, TRAIL_READABLE):
        assert place.engine.status.as_dict()[name]["observedAt"] == "2030-01-01T00:00:00+00:00"


def test_an_empty_trail_is_published_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    place = TrailSite(monkeypatch)
    place.tell()
    assert place.cluster.trail() == ()


@pytest.mark.parametrize(
    ("more", "steps"),
    [
        pytest.param(event("s-1", 1), (), id="another secret, by layer 5"),
        pytest.param(event("s-0", 1), (Step.AUDIT,), id="the same secret again, at another place in Vault"),
    ],
)
def test_news_come_to_the_cluster(monkeypatch: pytest.MonkeyPatch, more: Event, steps: tuple[Step, ...]) -> None:
    place = TrailSite(monkeypatch, event("s-0", 0))
    place.tell()
    place.vault.events.append(more)
    place.tell(*steps)
    assert place.cluster.trail() == (event("s-0", 0), more)


@pytest.mark.parametrize("counts", [True, False])
def test_an_event_of_a_secret_that_has_some_already_comes_to_the_cluster(
    monkeypatch: pytest.MonkeyPatch, counts: bool
) -> None:
    """`enter` appends before the engine of consumption records authority, and rotation goes on appending."""
    place = TrailSite(monkeypatch, event("s-0", 0))
    place.vault.counts = counts
    place.tell()
    place.vault.events.append(event("s-0", 1))
    place.tell()
    assert place.cluster.trail() == (event("s-0", 0), event("s-0", 1))


def test_news_that_could_not_go_out_are_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    place = TrailSite(monkeypatch, event("s-0", 0))
    place.tell()
    place.vault.events.append(event("s-0", 1))
    place.cluster.away = True
    with pytest.raises(Unavailable):
        place.tell(Step.AUDIT)
    place.cluster.away = False
    place.tell()
    assert place.cluster.trail() == (event("s-0", 0), event("s-0", 1))


def test_a_round_puts_a_lost_trail_back_although_vault_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    place = TrailSite(monkeypatch, event("s-0", 0))
    place.tell()
    place.cluster.lose(NAME)
    place.cluster.now += RESYNC_SECONDS

    def away() -> bool:
        raise Unavailable("Vault is sealed")

    monkeypatch.setattr(place.engine, "reconcile_certificates", away)
    assert not place.engine.reconcile()
    assert place.cluster.trail() == (event("s-0", 0),)


def test_a_trail_that_has_become_shorter_in_vault_is_a_condition(monkeypatch: pytest.MonkeyPatch) -> None:
    place = TrailSite(monkeypatch, event("s-0", 0), event("s-1", 1))
    place.tell()
    assert place.condition(TRAIL_WHOLE) == (True, "")
    place.vault.events.pop()
    place.tell()
    status, message = place.condition(TRAIL_WHOLE)
    assert not status and "lacks 1 events that were published before, such as id-1 of s-1" in message
    assert place.cluster.trail() == (event("s-0", 0), event("s-1", 1))


def test_a_published_trail_that_is_altered_is_a_condition(monkeypatch: pytest.MonkeyPatch) -> None:
    place = TrailSite(monkeypatch, event("s-0", 0))
    body = {"metadata": {"name": NAME}, "data": {"events": event("s-9", 9).line(), "total": "1"}}
    place.cluster.create("api/v1/namespaces/ns/configmaps", body)
    place.tell()
    status, message = place.condition(TRAIL_WHOLE)
    assert not status and "id-9 of s-9" in message and place.cluster.trail() is None
