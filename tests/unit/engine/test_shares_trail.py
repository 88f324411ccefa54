"""Who stored the unseal shares is in the audit trail, although Vault may have been sealed at that moment."""

from __future__ import annotations

from typing import Any

import pytest

from secret_authority.clients.vault import Vault
from secret_authority.contract.names import SHARES_CHANGE, SHARES_PERSON, UNSEAL_SHARES
from secret_authority.core.errors import LostRace, Unavailable
from secret_authority.core.ledger.audit_trail import Event, gives_to_vault
from secret_authority.engine.runtime_authority.seal_store import shares_secret
from secret_authority.engine.runtime_authority.shares_trail import SharesTrail
from secret_authority.engine.runtime_authority.unseal_shares import SealedShares
from tests.fakes.kubernetes import FakeApi

PATH = f"api/v1/namespaces/vault/secrets/{UNSEAL_SHARES}"


class Events(Vault):
    """Takes events, create-only."""

    def __init__(self) -> None:
        self.away = False
        self.asked: list[str] = []
        self.held: dict[str, Any] = {}

    def write(self, path: str, data: Any, seconds: float = 15) -> dict[str, Any]:
        self.asked.append(path)
        if self.away:
            raise Unavailable("sealed")
        if path in self.held:
            raise LostRace(path)
        assert data["options"] == {"cas": 0}
        self.held[path] = data["data"]
        return {}


def stored(api: FakeApi, person: str, change: str, uid: str = "u-1") -> None:
    body = shares_secret(UNSEAL_SHARES, SealedShares(("a",), 1), person, change)
    body["metadata"] |= {"uid": uid, "creationTimestamp": "2026-01-02T03:04:05Z"}
    api.objects[PATH] = body


def test_the_person_and_the_moment_are_on_record_once() -> None:
    api, vault = FakeApi(), Events()
    stored(api, "ada@example.org", "put back from Git")
    trail = SharesTrail(api, "vault", vault)
    vault.away = True
    with pytest.raises(Unavailable):
        trail.record()
    vault.away = False
    assert trail.record() and trail.record()
    ((path, fields),) = vault.held.items()
    event = Event.from_fields(fields)
    assert path == "platform-authority/data/events/vault.unseal-shares/sh-u-1"
    assert (event.person, event.why) == ("ada@example.org", "put back from Git")
    assert event.at == "2026-01-02T03:04:05.000+00:00" and not gives_to_vault(event)
    assert len(vault.asked) == 2, "no request for what is on record"
    assert SharesTrail(api, "vault", vault).record(), "another engine finds it there"
    stored(api, "bob@example.org", "sealed again", "u-2")
    assert trail.record() and len(vault.held) == 2


def test_shares_of_the_engine_and_none_leave_no_event() -> None:
    api, vault = FakeApi(), Events()
    assert SharesTrail(api, "vault", vault).record()
    stored(api, "", "")
    assert SharesTrail(api, "vault", vault).record() and not vault.asked


def test_the_marks_cannot_grow_the_trail() -> None:
    api, vault = FakeApi(), Events()
    stored(api, "x" * 10_000, "y" * 10_000)
    assert {SHARES_PERSON, SHARES_CHANGE} <= set(api.objects[PATH]["metadata"]["annotations"])
    SharesTrail(api, "vault", vault).record()
    (fields,) = vault.held.values()
    assert max(len(text) for text in fields.values()) == 256
