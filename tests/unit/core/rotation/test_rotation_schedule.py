"""When secrets are due, who comes first, and what a failure changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secret_authority.core.catalogue.rotation_policy import RotationPolicy
from secret_authority.core.rotation.document import Document, Request, RequestKind, Start, State, Trigger
from secret_authority.core.rotation.record import metadata
from secret_authority.core.rotation.rotator import Publication, Value
from secret_authority.core.rotation.schedule import (
    Candidate,
    InFlight,
    Urgency,
    admit,
    candidate,
    due_at,
    expires_at,
    spread,
)
from secret_authority.core.rotation.strategies import MOST_BACKOFF, after_failure, alerts, backoff

T0 = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = RotationPolicy.model_validate({"type": "time-based", "ttl": "720h", "rotate_before": "24h"})
REQUEST = Request("r1", RequestKind.ROTATE, "a test", at=T0.isoformat())
LEAKED = Request("r2", RequestKind.ROTATE, "leaked", Trigger.COMPROMISE, at=(T0 + timedelta(hours=1)).isoformat())


def test_what_was_handed_over_in_one_minute_is_not_due_in_one_minute() -> None:
    due = sorted(due_at(f"secret-{n}", POLICY, T0) or T0 for n in range(300))
    assert due[-1] - due[0] > timedelta(hours=11)
    assert max(due[n + 10] - due[n] for n in range(290)) < timedelta(hours=2)
    assert all(T0 + timedelta(hours=684) <= at <= T0 + timedelta(hours=696) for at in due)
    assert due_at("secret-1", POLICY, T0) == due_at("secret-1", POLICY, T0)


@pytest.mark.parametrize("kind", ["static", "event-based"])
def test_only_time_based_secrets_are_due_by_themselves(kind: str) -> None:
    policy = RotationPolicy.model_validate({"type": kind})
    assert due_at("a", policy, T0) is None and spread("a", policy) == timedelta()
    assert candidate("a", policy, T0, T0 + timedelta(days=9999), []) is None
    asked = candidate("a", policy, T0, T0, [REQUEST])
    assert asked is not None and asked.start == Start(Trigger.MANUAL, "a test", "r1")


def test_compromise_comes_before_expired_before_due() -> None:
    due, expired = T0 + timedelta(hours=697), T0 + timedelta(hours=720)
    found = [
        candidate("due", POLICY, T0, due, []),
        candidate("expired", POLICY, T0, expired, []),
        candidate("asked", POLICY, T0, T0, [REQUEST]),
        candidate("leaked", POLICY, T0, T0, [REQUEST, LEAKED]),
    ]
    assert [one.urgency if one else None for one in found] == [
        Urgency.DUE,
        Urgency.EXPIRED,
        Urgency.ASKED,
        Urgency.COMPROMISE,
    ]
    started = list(admit([one for one in found if one], {}))
    assert started == ["leaked", "expired", "asked", "due"]
    assert found[3] is not None and found[3].start.request == "r2"


def test_an_expired_secret_answers_the_request_that_waits() -> None:
    found = candidate("a", POLICY, T0, T0 + timedelta(days=31), [REQUEST])
    assert found is not None and found.urgency is Urgency.EXPIRED and found.start.request == "r1"


@pytest.mark.parametrize("late", [timedelta(), timedelta(seconds=1), timedelta(days=400)])
def test_at_and_after_the_instant_it_is_due(late: timedelta) -> None:
    due = due_at("a", POLICY, T0)
    assert due is not None
    assert candidate("a", POLICY, T0, due - timedelta(milliseconds=1), []) is None
    assert candidate("a", POLICY, T0, due + late, []) is not None
    assert expires_at(POLICY, T0) == T0 + timedelta(hours=720)


@given(st.lists(st.tuples(st.integers(0, 60), st.sampled_from(["", "db", "mq"]), st.integers(0, 3)), max_size=40))
def test_limits_hold_whatever_is_due(found: list[tuple[int, str, int]]) -> None:
    start = Start(Trigger.TIME, "due")
    candidates = [
        Candidate(f"s{n}", Urgency.DUE, T0 + timedelta(minutes=m), start, target, frozenset({f"w{w}"}))
        for n, (m, target, w) in enumerate(found)
    ]
    running = {"other": InFlight("db", frozenset({"w0"}))}
    admitted = admit(candidates, running)
    mine = [one for one in candidates if one.secret in admitted]
    assert len(mine) <= 3
    targets = [one.target for one in mine if one.target] + ["db"]
    workloads = [name for one in mine for name in one.workloads] + ["w0"]
    assert len(set(targets)) == len(targets) and len(set(workloads)) == len(workloads)


def test_the_oldest_of_three_hundred_begin_first() -> None:
    start = Start(Trigger.TIME, "due")
    waiting = {f"s{n}": Candidate(f"s{n}", Urgency.DUE, T0 + timedelta(minutes=n), start) for n in range(300)}
    order: list[str] = []
    while waiting:
        admitted = admit(waiting.values(), {})
        assert 0 < len(admitted) <= 4
        order += admitted
        for name in admitted:
            del waiting[name]
    assert order == [f"s{n}" for n in range(300)]


def test_who_cannot_begin_takes_no_turn_from_the_others() -> None:
    start = Start(Trigger.TIME, "due")
    stuck = [Candidate(f"stuck-{n}", Urgency.EXPIRED, T0, start, waited=True) for n in range(9)]
    fine = [Candidate(f"fine-{n}", Urgency.DUE, T0 + timedelta(hours=n), start) for n in range(3)]
    assert list(admit([*stuck, *fine], {}))[:3] == ["fine-0", "fine-1", "fine-2"]
    leaked = Candidate("leaked", Urgency.COMPROMISE, T0 + timedelta(hours=9), start, waited=True)
    assert next(iter(admit([*stuck, *fine, leaked], {}))) == "leaked"


def test_backoff_doubles_up_to_an_hour() -> None:
    assert [backoff(n, 1.0).total_seconds() for n in (1, 2, 3, 8, 99)] == [30, 60, 120, 3600, 3600]
    assert backoff(4, 0.5) == timedelta(seconds=120) and backoff(99, 1.0) == MOST_BACKOFF


PREPARED = Document(State.PREPARED, 1, "ro-1", publications=(Publication(Value({"password": "canary"})),))


def test_retry_counts_and_waits_and_holds_nothing() -> None:
    failed = after_failure(PREPARED, "retry", "no rights", T0, 0.5)
    assert failed.state is State.PREPARED and failed.failures == 1
    assert datetime.fromisoformat(failed.next_try) == T0 + timedelta(seconds=15)
    assert not alerts(failed, "retry", timedelta(hours=1), timedelta(hours=24))
    assert alerts(failed, "retry", timedelta(hours=12), timedelta(hours=24))
    assert alerts(failed, "alert", timedelta(), timedelta(hours=24))


def test_hold_takes_back_what_was_not_published_and_leaves_what_was() -> None:
    before = after_failure(PREPARED, "hold", "no rights", T0, 0.5)
    assert (before.state, before.parked, before.committed) == (State.HELD, True, False)
    published = Document(State.RETIRING, 1, "ro-1", publications=PREPARED.publications, published="2@x")
    after = after_failure(published, "hold", "no rights", T0, 0.5)
    assert (after.state, after.held_from, after.ending) == (State.HELD, State.RETIRING, "")
    assert alerts(after, "hold", timedelta(), None)


def test_a_document_is_read_as_it_was_written_and_shows_no_value() -> None:
    full = Document(
        State.HELD,
        3,
        "ro-1",
        "time",
        "due",
        publications=(Publication(Value({"password": "canary"}), timedelta(hours=1)),),
        retires=Value({"password": "canary"}),
        held_from=State.PUBLISHED,
        cut=("shop/pod-1",),
        published="2@x",
    )
    assert Document.from_fields(full.fields()) == full
    assert "canary" not in repr(full) and "canary" not in str(metadata(full))
    for name in full.fields():
        with pytest.raises(ValueError, match="rotation document"):
            Document.from_fields({key: value for key, value in full.fields().items() if key != name})


def test_only_a_compromise_may_cut_off() -> None:
    request = Request("r", RequestKind.ROTATE, "x", Trigger.COMPROMISE, cut_off=True, at="now")
    assert Request.from_fields(request.fields()) == request
    with pytest.raises(ValueError, match="only a compromise"):
        Request.from_fields({**request.fields(), "trigger": "manual"})


def test_metadata_fit_what_vault_takes() -> None:
    long = Document(State.IDLE, 1, "ro-1", "manual", "ü" * 600, "run", published="2@x", published_at=T0.isoformat())
    assert max(len(value.encode()) for value in metadata(long).values()) == 512
    assert metadata(Document()) == {}
