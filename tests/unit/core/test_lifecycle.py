"""Age, due time and last result in the ledger; what cannot be known is called unknown and nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from secret_authority.access.published_status import read_status
from secret_authority.contract.names import ROTATION_STATUS
from secret_authority.core.catalogue.schema import Catalogue
from secret_authority.core.ledger.audit_trail import Event
from secret_authority.core.ledger.ledger import Entry, Facts, VaultRecord, ledger, table
from secret_authority.core.ledger.lifecycle import RotationFact, rough, value_facts
from secret_authority.core.phases import Phase

FIRST, ROTATED = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 10, tzinfo=UTC)
NOW, DUE = datetime(2026, 1, 12, 6, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)


def entry(name: str, **more: object) -> dict[str, object]:
    return {
        "name": name,
        "class": "internal",
        "owner": "team",
        "vault": {"datasource": "data", "consumer": name},
        "consumers": [{"namespace": "shop", "secret": name, "keys": {"KEY": "key"}}],
        "rotation": {"type": "time-based", "ttl": "720h"},
        **more,
    }


CATALOGUE = Catalogue.model_validate(
    {
        "apiVersion": "secret-authority.dev/v1",
        "kind": "SecretCatalogue",
        "bootstrapNamespaces": ["bootstrap-data"],
        "secrets": [
            entry("rotated", rotator={"kind": "generated"}),
            entry("still"),
            entry("issued", **{"class": "external"}),
        ],
    }
)


def event(secret: str, at: datetime, change: str, why: str, result: str = "done") -> Event:
    return Event(
        at.isoformat(), secret, change, why, "run", result, f"{secret}-{at}", f"platform-data/data/{secret}", ""
    )


EVENTS = (
    event("rotated", FIRST, "authority none -> vault", "first value"),
    event("rotated", ROTATED, "value, generation 1", "rotation (time): due"),
    event("rotated", NOW, "value, generation 2", "rotation (manual): x", "aborted: wrong secret"),
    event("still", FIRST, "authority none -> vault", "first value"),
    event("issued", FIRST, "authority none -> vault", "first value"),
    event("issued", ROTATED, "value replaced, version 2", "`secret-authority enter`"),
)
RECORDS = {secret.name: VaultRecord("run", FIRST, str(secret.vault)) for secret in CATALOGUE}
FACTS = Facts(
    Phase.CONSUMPTION,
    vault=RECORDS,
    values=value_facts(EVENTS),
    rotation={"rotated": RotationFact(ROTATED, DUE), "issued": RotationFact(ROTATED, DUE)},
    now=NOW,
)


def one(facts: Facts, secret: str) -> Entry:
    return next(entry for entry in ledger(CATALOGUE, facts) if entry.secret == secret)


def shown(facts: Facts, secret: str) -> tuple[str, str, str]:
    found = one(facts, secret)
    return found.shown("age"), found.shown("due"), found.shown("last_result")


def test_a_rotated_secret_has_all_three() -> None:
    assert shown(FACTS, "rotated") == ("2d 6h", "2026-02-01 00:00:00Z", "aborted: wrong secret")
    found = one(FACTS, "rotated").as_dict()
    assert (found["age_seconds"], found["due"]) == (2 * 86400 + 6 * 3600, DUE.isoformat())
    assert found["last_result"] == "aborted: wrong secret" and found["unknown"] == []


def test_what_nothing_rotates_has_an_age_and_no_more() -> None:
    assert shown(FACTS, "still") == ("11d 6h", "-", "-")


def test_what_was_entered_again_is_as_old_as_that() -> None:
    assert shown(FACTS, "issued") == ("2d 6h", "2026-02-01 00:00:00Z", "-")


def test_without_the_engine_of_rotation_nobody_knows_when_it_is_due() -> None:
    silent = replace(FACTS, rotation=None)
    assert shown(silent, "rotated") == ("2d 6h", "unknown", "aborted: wrong secret")
    assert shown(silent, "issued")[1] == "unknown" and shown(silent, "still")[1] == "-"
    assert one(silent, "rotated").as_dict()["unknown"] == ["due"]
    # It is there, and says nothing of this one.
    assert shown(replace(FACTS, rotation={}), "rotated")[1] == "unknown"


def test_without_a_trail_nothing_is_known() -> None:
    blind = replace(FACTS, vault=None, values=None, since={Phase.CONSUMPTION: FIRST})
    assert {shown(blind, name) for name in RECORDS} == {("unknown", "unknown", "unknown")}
    assert one(blind, "rotated").as_dict()["unknown"] == ["age", "due", "last_result"]


def test_without_a_value_there_is_nothing_to_know() -> None:
    assert shown(replace(FACTS, vault={}), "rotated") == ("-", "-", "-")


def test_the_table_has_the_three_columns() -> None:
    head, line, *_ = table(ledger(CATALOGUE, FACTS)).splitlines()
    assert "AGE" in head and "DUE" in head and "LAST RESULT" in head
    assert line[head.index("AGE") :].startswith("2d 6h") and line[head.index("LAST RESULT") :].startswith("aborted:")


@pytest.mark.parametrize(
    ("age", "words"),
    [
        (timedelta(), "0s"),
        (timedelta(seconds=60), "1m"),
        (timedelta(seconds=61), "1m 1s"),
        (timedelta(minutes=60), "1h"),
        (timedelta(days=400, hours=3, minutes=9), "400d 3h"),
    ],
)
def test_ages_are_rough(age: timedelta, words: str) -> None:
    assert rough(age) == words


def published(observed: str, secrets: object) -> dict[str, dict[str, str]]:
    condition = {"status": True, "message": "", "since": observed, "observedAt": observed}
    conditions = json.dumps({"RotationWorks": condition})
    return {ROTATION_STATUS: {"secrets": json.dumps(secrets), "watched": "{}", "conditions": conditions}}


def test_what_the_engine_published_counts_only_while_it_is_alive() -> None:
    secrets = {
        "rotated": {"since": ROTATED.isoformat(), "due": DUE.isoformat()},
        "new": {"since": "", "due": ""},
        "odd": {"since": "yesterday"},
    }
    fresh = read_status(published(NOW.isoformat(), secrets), NOW + timedelta(seconds=5))
    assert fresh.rotation == {"rotated": RotationFact(ROTATED, DUE)}
    assert read_status(published(NOW.isoformat(), secrets), NOW + timedelta(hours=1)).rotation is None
    assert read_status({}, NOW).rotation is None
