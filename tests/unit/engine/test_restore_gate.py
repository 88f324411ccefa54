"""While a restore is going on, or awaited, nothing is handed over."""

from __future__ import annotations

from dataclasses import replace

import pytest

from secret_authority.contract.names import RESTORE_RECORD
from secret_authority.core.restore.record import RestoreRecord
from secret_authority.engine.common.restore_gate import restore_in_the_way
from tests.fakes.kubernetes import FakeApi
from tests.support.controllers import TrailSite

SNAPSHOT = "dev/2026/11/20261127T180000Z-60-0badcafe"
OTHER = "dev/2026/11/20261126T180000Z-40-0badcafe"
PATH = f"api/v1/namespaces/vault/configmaps/{RESTORE_RECORD}"
BEGUN = RestoreRecord(SNAPSHOT, "kim", "2026-11-27T18:10:00+00:00", revoked=True)


def site(data: dict[str, str] | None) -> FakeApi:
    api = FakeApi()
    if data is not None:
        api.store(PATH, {"metadata": {"name": RESTORE_RECORD}, "data": data})
    return api


@pytest.mark.parametrize(
    ("data", "awaited", "why"),
    [
        (None, "", ""),
        (None, SNAPSHOT, "waits for snapshot"),
        (BEGUN.as_data(), "", "has not ended"),
        (BEGUN.as_data(), SNAPSHOT, "has not ended"),
        (replace(BEGUN, opened="2026-11-27T18:12:00+00:00").as_data(), "", ""),
        (replace(BEGUN, opened="2026-11-27T18:12:00+00:00").as_data(), SNAPSHOT, ""),
        (replace(BEGUN, snapshot=OTHER, opened="x").as_data(), SNAPSHOT, f"{OTHER} was restored"),
        ({"snapshot": SNAPSHOT}, "", "the record of a restore lacks"),
        ({}, "", "the record of a restore lacks"),
    ],
)
def test_only_no_restore_or_the_awaited_one_that_has_ended_is_out_of_the_way(
    data: dict[str, str] | None, awaited: str, why: str
) -> None:
    found = restore_in_the_way(site(data), "vault", awaited)
    assert why in found and bool(found) == bool(why)


def test_the_engine_hands_nothing_over_while_a_restore_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    found = TrailSite(monkeypatch)
    asked: list[str] = []
    monkeypatch.setattr(found.engine, "look_at_configuration", lambda: asked.append("configuration") or True)
    monkeypatch.setattr(found.engine, "hand_over", lambda: asked.append("handover") or True)
    monkeypatch.setattr(found.engine, "reconcile_certificates", lambda: True)
    monkeypatch.setattr(found.engine, "reconcile_seal", lambda: True)
    assert found.engine.reconcile_service()
    found.cluster.store(PATH, {"metadata": {"name": RESTORE_RECORD}, "data": BEGUN.as_data()})
    assert found.engine.reconcile_authority() is False and asked == []
    status, message = found.condition("RestoreEnded")
    assert status is False and SNAPSHOT in str(message)
    ended = replace(BEGUN, opened="2026-11-27T18:12:00+00:00")
    found.cluster.store(PATH, {"metadata": {"name": RESTORE_RECORD}, "data": ended.as_data()})
    assert found.engine.reconcile_authority() is True and asked == ["configuration", "handover"]
