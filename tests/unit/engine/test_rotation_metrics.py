"""What the engine of rotation publishes for monitoring: attempts and how they ended, and what one rotation takes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from secret_authority.contract.rotation_settings import RotationSettings
from secret_authority.core.catalogue.rotation_policy import RotationPolicy
from secret_authority.core.rotation.document import Document, Request, RequestKind, State, Trigger
from secret_authority.core.rotation.state_machine import Change, Delivery, Observation
from secret_authority.core.rotation.strategies import after_failure
from secret_authority.engine.common.status import Status
from secret_authority.engine.rotation.controller import RotationController
from secret_authority.engine.rotation.metrics import attempts, of_secret
from tests.fakes.kv import KvVault
from tests.support.rotation_herd import HerdCluster, hand_over, herd_catalogue, name_of

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
NAME = name_of(0)
POLICY = RotationPolicy(type="time-based", ttl=timedelta(days=30), max_overlap=timedelta(seconds=50))


def metrics(status: Status) -> dict[str, float]:
    lines = (line.rpartition(" ") for line in status.metrics().splitlines())
    return {name.removeprefix("secret_authority_"): float(value) for name, _, value in lines}


def test_a_rotation_is_seen_while_it_waits_and_counted_when_it_ends() -> None:
    vault, catalogue, status = KvVault(), herd_catalogue(1, "8760h"), Status()
    hand_over(vault, catalogue, timedelta(hours=1))
    cluster = HerdCluster(vault, 1, 1)
    settings = RotationSettings("dev", catalogue)
    engine = RotationController(settings, cluster, vault, "ns", "run-1", status)  # type: ignore[arg-type]
    engine.reconcile()
    pending, overlap = (f'{metric}{{secret="{NAME}"}}' for metric in ("consumers_pending", "rotation_overlap_seconds"))
    done = 'rotation_attempts_total{trigger="compromise",result="done"}'
    before = metrics(status)
    assert not any(metric.startswith(("consumers_pending", "rotation_attempts", "rotation_step")) for metric in before)
    assert before["vault_clock_skew_seconds"] < 30
    request = Request("r1", RequestKind.ROTATE, "a test", Trigger.COMPROMISE, at=NOW.isoformat())
    path = f"platform-rotation/data/rotation-requests/{NAME}/r1"
    vault.write(path, {"options": {"cas": 0}, "data": request.fields()})
    engine.reconcile()
    found = metrics(status)
    assert found[pending] == 1 and found[overlap] >= 0 and done not in found
    for _ in range(3):
        cluster.settle()
        engine.reconcile()
    found = metrics(status)
    assert found[done] == 1 and pending not in found and overlap not in found
    for step in ("prepare", "deliver", "retire"):
        assert found[f'rotation_step_seconds{{secret="{NAME}",step="{step}"}}'] >= 0
    engine.reconcile()
    assert metrics(status)[done] == 1, "an end is counted once"


FLYING = Document(State.PREPARED, generation=1, id="ro-1", trigger="time", begun_at=NOW.isoformat())


@pytest.mark.parametrize(
    "result", ["done", "done; the old value is valid and not revoked", "aborted: x", "conflict: y"]
)
def test_an_end_is_counted_by_the_first_word_of_its_result(result: str) -> None:
    change = Change(FLYING.finished(result, NOW), "ended")
    word = result.replace(";", ":").split(":")[0]
    assert list(attempts(FLYING, [change], "time")) == [
        f'rotation_attempts_total{{trigger="time",result="{word}"}}',
    ]


def test_a_failure_is_counted_when_it_happens_and_not_when_it_is_taken_back() -> None:
    failed = 'rotation_attempts_total{trigger="time",result="failed"}'
    retried = Change(after_failure(FLYING, "retry", "no right", NOW, 0.5), "failed")
    held = after_failure(FLYING, "hold", "no right", NOW, 0.5)
    assert list(attempts(FLYING, [retried, Change(held, "failed")], "time")) == [failed, failed]
    assert list(attempts(held, [Change(held.finished(held.ending, NOW), "resume")], "time")) == []


def test_what_changes_no_end_is_no_attempt() -> None:
    ended = FLYING.finished("done", NOW)
    assert list(attempts(ended, [Change(replace(ended, synced="2@1"), "synced")], "time")) == []


def test_sessions_of_the_old_value_are_shown_as_long_as_somebody_counts_them() -> None:
    retiring = replace(
        FLYING,
        state=State.RETIRING,
        published_at=(NOW + timedelta(seconds=2)).isoformat(),
        delivered_at=(NOW + timedelta(seconds=9)).isoformat(),
    )
    seen = Observation(NOW, retiring, in_use=3, delivery=Delivery())
    found = of_secret("orders-db", retiring, seen, POLICY, NOW + timedelta(seconds=60))
    assert found['old_credential_sessions{secret="orders-db"}'] == 3
    assert found['consumers_pending{secret="orders-db"}'] == 0
    assert found['rotation_overlap_seconds{secret="orders-db"}'] == 58
    assert found['rotation_overdue{secret="orders-db"}'] == 1
    steps = {
        step: found[f'rotation_step_seconds{{secret="orders-db",step="{step}"}}'] for step in ("prepare", "deliver")
    }
    assert steps == {"prepare": 2, "deliver": 7}
    assert found['rotation_step_seconds{secret="orders-db",step="retire"}'] is None
    unknown = of_secret("orders-db", retiring, None, POLICY, NOW)
    assert unknown['old_credential_sessions{secret="orders-db"}'] is None
    assert unknown['consumers_pending{secret="orders-db"}'] is None
