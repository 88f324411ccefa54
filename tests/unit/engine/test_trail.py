"""When the engine reads the trail from Vault anew, and that a lost ConfigMap of it comes back by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from secret_authority.clients.vault import Vault
from secret_authority.contract.engine_settings import EngineSettings, GitPlaces, Identities
from secret_authority.contract.names import AUTHORITY_MOUNT, EVENTS
from secret_authority.core.catalogue.schema import parse_catalogue
from secret_authority.core.errors import Unavailable
from secret_authority.core.handover.runner import Result
from secret_authority.core.handover.state_machine import Done, Record, Step
from secret_authority.core.ledger.audit_trail import Event
from secret_authority.core.ledger.published_trail import NAME
from secret_authority.engine.common.publisher import RESYNC_SECONDS, Publisher
from secret_authority.engine.common.status import Status
from secret_authority.engine.handover.controller import Summary
from secret_authority.engine.handover.git_state import GitState
from secret_authority.engine.runtime_authority import controller as authority_loop
from secret_authority.engine.runtime_authority.controller import RuntimeAuthorityController
from tests.unit.core.test_catalogue import DOCUMENT
from tests.unit.engine.test_publisher import Cluster

RECORD = Record("s-0", "ho-1", "hmac-sha256:00", "2026-01-01T00:00:00+00:00", "run-1")
GIT = GitState("main@sha1:0", parse_catalogue(DOCUMENT, "catalogue.yaml"), {})


def event(secret: str, number: int) -> Event:
    return Event(f"2026-01-01T00:00:{number:02}+00:00", secret, "c", "w", "r", "done", f"id-{number}", "p", "d")


class TrailVault(Vault):
    """Holds events, and counts how often one is read."""

    def __init__(self, *events: Event) -> None:
        super().__init__("https://vault.invalid")
        self.events, self.reads = list(events), 0

    def list(self, path: str) -> list[str]:
        base = f"{AUTHORITY_MOUNT}/metadata/{EVENTS}"
        if path == base:
            return sorted({f"{found.secret}/" for found in self.events})
        return [found.id for found in self.events if f"{base}/{found.secret}/" == path]

    def read(self, path: str) -> dict[str, Any] | None:
        self.reads += 1
        return next({"data": {"data": e.fields()}} for e in self.events if path.endswith(f"{e.secret}/{e.id}"))


class Place:
    """An engine over a fake Vault and a fake cluster, with a summary to tell."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *events: Event) -> None:
        self.cluster, self.vault = Cluster(), TrailVault(*events)
        monkeypatch.setattr(authority_loop, "Vault", lambda *_: self.vault)
        publisher = Publisher(self.cluster, "ns", lambda: self.cluster.now)
        monkeypatch.setattr(authority_loop, "Publisher", lambda *_: publisher)
        nobody = ("none", "none")
        settings = EngineSettings(
            cluster="dev",
            namespace="ns",
            vault_namespace="vault",
            pods=("https://vault-0",),
            service="https://vault",
            certificate_names=("vault",),
            shares=1,
            threshold=1,
            recipients=(),
            identities=Identities(nobody, nobody, nobody),
            git=GitPlaces("flux-system", "fleet", "catalogue.yaml", ("bootstrap",)),
            identity_file=Path("/nonexistent"),
            vault_token_file=Path("/nonexistent"),
            ca_file=Path("/nonexistent"),
        )
        self.engine = RuntimeAuthorityController(settings, self.cluster, "run-1", Status())
        self.publisher = publisher

    def tell(self, *steps: Step) -> None:
        self.engine._tell(GIT, Summary((Result("s-0", Done(RECORD), steps),)))


def test_a_look_without_news_does_not_read_the_trail_again(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(monkeypatch, event("s-0", 0))
    place.tell(Step.AUDIT)
    reads = place.vault.reads
    assert place.cluster.trail() == (event("s-0", 0),)
    place.tell()
    assert place.vault.reads == reads


def test_an_empty_trail_is_published_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(monkeypatch)
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
    place = Place(monkeypatch, event("s-0", 0))
    place.tell()
    place.vault.events.append(more)
    place.tell(*steps)
    assert place.cluster.trail() == (event("s-0", 0), more)


def test_news_that_could_not_go_out_are_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(monkeypatch, event("s-0", 0))
    place.tell()
    place.vault.events.append(event("s-0", 1))
    place.cluster.away = True
    with pytest.raises(Unavailable):
        place.tell(Step.AUDIT)
    place.cluster.away = False
    place.tell()
    assert place.cluster.trail() == (event("s-0", 0), event("s-0", 1))


def test_a_round_puts_a_lost_trail_back_although_vault_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(monkeypatch, event("s-0", 0))
    place.tell()
    place.cluster.lose(NAME)
    place.cluster.now += RESYNC_SECONDS

    def away() -> bool:
        raise Unavailable("Vault is sealed")

    monkeypatch.setattr(place.engine, "_reconcile_certificates", away)
    assert not place.engine.reconcile()
    assert place.cluster.trail() == (event("s-0", 0),)
