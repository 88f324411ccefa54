"""What commands read of the engines' status, whoever may have written into it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from secret_authority.access.published_status import PublishedStatus, read_status
from secret_authority.core.conditions import STALE_SECONDS
from secret_authority.core.ledger.ledger import ConsumptionFacts
from tests.support.documents import CATALOGUE

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HANDOVER = {
    "handover": json.dumps(
        [
            {"secret": "a", "state": "done", "message": "", "notices": ["Git was changed"], "ciphertext": "sha256:1"},
            {"secret": "b", "state": "conflict", "message": "b: Vault holds another value", "notices": []},
        ]
    ),
    "evidence": json.dumps({"revision": "main@sha1:1"}),
    "conditions": json.dumps({"AuditTrailWhole": {"status": True, "message": "", "observedAt": NOW.isoformat()}}),
}
FRESH = {"conditions": json.dumps({"Delivered": {"status": True, "message": "", "observedAt": NOW.isoformat()}})}
CONSUMPTION = FRESH | {
    "waiting": json.dumps({"c": "c is not entered yet"}),
    "failing": json.dumps({"d": "d: 403"}),
    "versions": json.dumps({"shop/orders-db": 3, "shop/x": 1}),
    "evidence": json.dumps({"findings": [["e", "matches", "x"], ["f", "does not hold it", "shop/f"]]}),
}


def test_nothing_published_is_nothing_known() -> None:
    assert read_status({}) == PublishedStatus()
    assert read_status({}).consumption(CATALOGUE) is None


def test_what_the_engines_publish() -> None:
    found = read_status({"runtime-authority-status": HANDOVER, "consumption-status": CONSUMPTION}, NOW)
    assert (found.revision, found.done, found.notices) == (
        "main@sha1:1",
        {"a": "sha256:1"},
        {"a": ("Git was changed",)},
    )
    assert found.failing == {
        "b": "b: Vault holds another value",
        "c": "c is not entered yet",
        "d": "d: 403",
        "f": "does not hold it: shop/f",
    }
    assert found.trail_problem == "" and found.waiting == {"c"}


def test_versions_are_those_of_the_catalogues_consumers() -> None:
    entry = next(entry for entry in CATALOGUE if entry.consumers)
    consumer = entry.consumers[0]
    data = FRESH | {"versions": json.dumps({f"{consumer.namespace}/{consumer.secret}": 4})}
    assert read_status({"consumption-status": data}, NOW).consumption(CATALOGUE) == ConsumptionFacts({entry.name: 4})


def test_the_complaint_about_the_trail_is_passed_on() -> None:
    said = {"status": False, "message": "lacks 2 events", "observedAt": NOW.isoformat()}
    conditions = json.dumps({"AuditTrailWhole": said})
    maps = {"runtime-authority-status": {"conditions": conditions}}
    assert read_status(maps, NOW).trail_problem == "lacks 2 events"


@pytest.mark.parametrize("observed", [NOW.isoformat(), "", "yesterday", None])
def test_an_engine_that_is_down_says_nothing(observed: str | None) -> None:
    later = NOW + timedelta(seconds=STALE_SECONDS + 1)
    said = {"status": True, "message": "", **({} if observed is None else {"observedAt": observed})}
    conditions = {"conditions": json.dumps({"AuditTrailWhole": said})}
    maps = {"runtime-authority-status": HANDOVER | conditions, "consumption-status": CONSUMPTION | conditions}
    found = read_status(maps, later)
    assert "the engine has observed nothing since" in found.trail_problem
    assert found.waiting is None and found.versions is None


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "{}", "3", "null", '[["x"]]', '[{"secret": "s"}]'])
def test_what_cannot_be_read_is_left_out(text: str) -> None:
    keys = ("handover", "evidence", "conditions", "waiting", "failing", "versions")
    content = dict.fromkeys(keys, text)
    found = read_status({"runtime-authority-status": content, "consumption-status": content})
    assert found.done.keys() <= {"s"}
    # Without conditions nobody vouches for anything that is there.
    assert found.trail_problem and found.waiting is None and found.versions is None


def test_a_condition_that_was_not_observed_lately_is_unknown_though_others_were() -> None:
    old = (NOW - timedelta(seconds=STALE_SECONDS + 1)).isoformat()
    conditions = {
        "VaultInService": {"status": True, "observedAt": NOW.isoformat()},
        "AuditTrailWhole": {"status": True, "message": "", "observedAt": old},
    }
    found = read_status({"runtime-authority-status": {"conditions": json.dumps(conditions)}}, NOW)
    assert f"whether the published audit trail is whole is unknown since {old}" in found.trail_problem
    del conditions["AuditTrailWhole"]
    found = read_status({"runtime-authority-status": {"conditions": json.dumps(conditions)}}, NOW)
    assert "whether the published audit trail is whole is unknown" in found.trail_problem


def test_a_trail_without_the_status_of_its_engine_is_not_vouched_for() -> None:
    assert "runtime-authority-status is missing" in read_status({"audit-trail": {"events": ""}}, NOW).trail_problem
