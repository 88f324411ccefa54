"""The audit trail, and its comparison with Vault's own audit log."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from secret_authority.core.handover.state_machine import Record
from secret_authority.core.ledger.audit_trail import (
    RESTORE_EVENTS,
    Event,
    entered,
    gives_to_vault,
    handed_over,
    match_vault_log,
    restored,
    table,
)

RECORD = Record("orders-db", "ho-1", "hmac-sha256:00", "2026-01-01T00:00:10+00:00", "run-1", "main@sha1:abc")
EVENT = handed_over(RECORD, "platform-data/orders/api")
HASHED = {"ho-1": "hmac-sha256:id1", "ho-2": "hmac-sha256:id2"}
SECOND = timedelta(seconds=5)


def entry(**changes: object) -> str:
    request = {
        "operation": "patch",
        "path": "platform-data/metadata/orders/api",
        "data": {"custom_metadata": {"handover_id": "hmac-sha256:id1"}},
    }
    plain = {"type": "response", "time": "2026-01-01T00:00:11.123456789Z", "request": request, "response": {}}
    return json.dumps(plain | changes)


def test_the_event_says_when_why_run_and_result() -> None:
    assert EVENT.change == "authority git -> vault"
    assert EVENT.why == "handover of Git revision main@sha1:abc"
    assert (EVENT.at, EVENT.run, EVENT.result, EVENT.secret) == (RECORD.at, "run-1", "done", "orders-db")
    assert Event.from_fields(json.loads(EVENT.line())) == EVENT


def test_a_field_that_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match="why"):
        Event.from_fields({**EVENT.fields(), "why": None})


def test_the_table_is_in_order_of_time() -> None:
    later = replace(EVENT, at="2026-01-02T00:00:00+00:00", secret="zz")
    lines = table([later, EVENT]).splitlines()
    assert [line.split()[1] for line in lines] == ["secret", "orders-db", "zz"]


def test_an_equal_story_has_no_mismatch() -> None:
    noise = [entry(type="request"), entry(request={"operation": "read", "path": "x"})]
    assert match_vault_log([EVENT], [*noise, entry()], HASHED, SECOND) == []


@pytest.mark.parametrize(
    "line",
    [
        entry(error="permission denied"),
        entry(time="2026-01-01T00:01:11.1Z"),
        entry(response={"data": {"error": "hmac-sha256:x"}}),
    ],
)
def test_an_event_without_its_request_is_found(line: str) -> None:
    assert any("has no patch" in str(found) for found in match_vault_log([EVENT], [line], HASHED, SECOND))


def test_a_record_without_its_event_is_found() -> None:
    found = match_vault_log([], [entry()], HASHED, SECOND)
    assert ["without an event" in str(mismatch) for mismatch in found] == [True]


def test_events_that_moved_no_authority_need_no_record() -> None:
    more = entered("orders-db", EVENT.place, 2, AT, "ada")
    assert match_vault_log([EVENT, more], [entry()], HASHED, SECOND) == []


def test_a_request_of_another_handover_does_not_count() -> None:
    found = match_vault_log([replace(EVENT, id="ho-2")], [entry()], HASHED, SECOND)
    assert len(found) == 2


AT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


@pytest.mark.parametrize(("version", "change"), [(1, "value entered, version 1"), (2, "value replaced, version 2")])
def test_an_entry_names_the_person_and_moves_no_authority(version: int, change: str) -> None:
    event = entered("payment-api", "platform-data/payment/billing", version, AT, "ada@example.org")
    assert event.fields() == {
        "at": "2026-01-02T03:04:05.678+00:00",
        "secret": "payment-api",
        "change": change,
        "why": "`secret-authority enter`",
        "run": "-",
        "result": "done",
        "id": f"en-{version}-1767323045678",
        "place": "platform-data/payment/billing",
        "digest": "",
        "person": "ada@example.org",
    }
    assert Event.from_fields(event.fields()) == event and not gives_to_vault(event)
    (_, line) = table([event]).splitlines()
    assert "ada@example.org" in line


def test_events_without_a_person_are_written_as_before() -> None:
    assert "person" not in EVENT.fields() and Event.from_fields(EVENT.fields()).person == ""
    with pytest.raises(ValueError, match="person"):
        Event.from_fields({**EVENT.fields(), "person": 3})


@pytest.mark.parametrize(
    ("change", "result", "gives"),
    [
        ("authority git -> vault", "done", True),
        ("authority git -> vault", "failed", False),
        ("authority vault -> git", "done", False),
        ("value rotated", "done", False),
    ],
)
def test_what_gives_a_secret_to_vault(change: str, result: str, gives: bool) -> None:
    assert gives_to_vault(replace(EVENT, change=change, result=result)) is gives


def test_the_tolerance_is_part_of_what_fits() -> None:
    at = entry(time="2026-01-01T00:00:15.000000Z")
    assert match_vault_log([EVENT], [at], HASHED, SECOND) == []
    late = entry(time="2026-01-01T00:00:15.001000Z")
    assert len(match_vault_log([EVENT], [late], HASHED, SECOND)) == 2


def test_lines_without_a_request_are_passed_over() -> None:
    noise = [json.dumps({"type": "response", "time": "2026-01-01T00:00:11Z"}), entry(response=None)]
    assert match_vault_log([EVENT], noise, HASHED, SECOND) == []


def test_both_kinds_of_mismatch_are_in_words() -> None:
    other = {"operation": "patch", "path": "platform-data/metadata/x/y"}
    line = entry(request=other | {"data": {"custom_metadata": {"handover_id": "hmac-sha256:id9"}}})
    assert [str(found) for found in match_vault_log([EVENT], [line], HASHED, SECOND)] == [
        "event ho-1 of orders-db has no patch of platform-data/metadata/orders/api in Vault's audit log",
        "Vault's audit log has a record of authority on platform-data/metadata/x/y without an event",
    ]


def test_a_restore_is_one_event_however_often_its_run_is_started() -> None:
    begun, later = "2026-01-01T00:00:00+00:00", "2026-01-01T00:00:01+00:00"
    event = restored("dev/2026/a", begun, "admin")
    assert event == restored("dev/2026/a", begun, "admin")
    assert (event.secret, event.change, event.place) == (RESTORE_EVENTS, "restored from a snapshot", "dev/2026/a")
    assert (event.person, datetime.fromisoformat(event.at)) == ("admin", datetime.fromisoformat(begun))
    assert event.why == "`secret-authority restore`, snapshot dev/2026/a" and not gives_to_vault(event)
    assert event.id.startswith("re-") and len(event.id) == 23
    others = {restored("dev/2026/b", begun, "admin").id, restored("dev/2026/a", later, "admin").id}
    assert len(others | {event.id}) == 3
