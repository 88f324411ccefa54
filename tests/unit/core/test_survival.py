"""What a cluster survives now: every fact that is no, or is not known, is found in the domain that depends on it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from secret_authority.core.conditions import Condition
from secret_authority.core.phases import Authority, Phase
from secret_authority.core.survival import (
    Answer,
    Domain,
    Holder,
    Part,
    Parts,
    Restored,
    Seen,
    all_survived,
    as_dict,
    judge,
    newest_snapshot,
    text,
    verdict,
)

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
TAKEN = NOW - timedelta(minutes=40)
YES, NO, UNKNOWN = Answer(True, "seen"), Answer(False, "is wrong"), Answer(None, "does not answer")
PARTS = Parts(
    authority=Part("authority", ("InService", "Configured")),
    unsealing=Part("authority", ("InService",)),
    consumption=Part("consumption", ("Trusted", "Delivered")),
    delivery=Part("consumption", ("Delivered",)),
    rotation=Part("rotation", ("Running",)),
)


def observed(*names: str, status: bool = True, ago: int = 10) -> dict[str, Condition]:
    at = (NOW - timedelta(seconds=ago)).isoformat()
    return {name: Condition(status, "its message", at, at) for name in names}


GOOD = Seen(
    now=NOW,
    phase=Phase.CONSUMPTION,
    contradictions=YES,
    recipients=YES,
    identity=YES,
    shares=YES,
    exported=YES,
    store=YES,
    restored=Restored(YES, TAKEN, []),
    rotated=True,
    holders=[Holder("orders-db", Authority.VAULT), Holder("session-key", Authority.VAULT)],
    conditions={
        "authority": observed("InService", "Configured"),
        "consumption": observed("Trusted", "Delivered"),
        "rotation": observed("Running"),
    },
    snapshots=[NOW - timedelta(days=3), TAKEN],
)


def with_conditions(engine: str, found: dict[str, Condition] | None) -> Seen:
    rest = {name: published for name, published in GOOD.conditions.items() if name != engine}
    return replace(GOOD, conditions=rest if found is None else {**rest, engine: found})


def domains(seen: Seen) -> dict[Domain, bool | None]:
    lines = judge(seen, PARTS)
    return {domain: verdict(lines, domain) for domain in Domain if verdict(lines, domain) is not True}


def test_a_cluster_of_which_all_is_known_and_good_survives_everything() -> None:
    lines = judge(GOOD, PARTS)
    assert all_survived(lines)
    shown = text(lines)
    assert [line for line in shown if not line.startswith("  ")] == [f"{domain}: survived" for domain in Domain]
    assert "  yes      what would be lost now (RPO): nothing; the newest snapshot is 40 minutes old" in shown
    assert [found["survived"] for found in as_dict(lines)] == [True] * 4


G, V, C, P = Domain


@pytest.mark.parametrize(
    ("seen", "wrong"),
    [
        # One fact after another is no; a lost cluster that is not survived is a mistake that is not, either.
        (replace(GOOD, contradictions=NO), {P: False}),
        (replace(GOOD, recipients=NO), {P: False}),
        (replace(GOOD, identity=NO), {C: False, P: False}),
        (replace(GOOD, shares=NO), {V: False}),
        (replace(GOOD, exported=NO), {C: False, P: False}),
        (replace(GOOD, store=NO), {C: False, P: False}),
        (replace(GOOD, restored=Restored(NO, TAKEN, [])), {V: False, C: False, P: False}),
        (replace(GOOD, restored=Restored(YES, TAKEN, ["platform-data/a/b"])), {C: False, P: False}),
        (replace(GOOD, snapshots=[TAKEN]), {P: False}),
        (replace(GOOD, holders=[Holder("orders-db", Authority.GIT)]), {G: False}),
        (with_conditions("authority", observed("InService", status=False)), {G: False, V: False}),
        (with_conditions("consumption", observed("Trusted", "Delivered", status=False)), {G: False, V: False}),
        (with_conditions("rotation", observed("Running", status=False)), {G: False}),
        (replace(GOOD, phase=Phase.BOOTSTRAP), {G: False}),
        # The same facts, not known. Unknown is never survived.
        (replace(GOOD, contradictions=UNKNOWN), {P: None}),
        (replace(GOOD, recipients=UNKNOWN), {P: None}),
        (replace(GOOD, identity=UNKNOWN), {C: None, P: None}),
        (replace(GOOD, shares=UNKNOWN), {V: None}),
        (replace(GOOD, exported=UNKNOWN), {C: None, P: None}),
        (replace(GOOD, store=UNKNOWN), {C: None, P: None}),
        (replace(GOOD, restored=Restored(UNKNOWN, TAKEN, [])), {V: None, C: None, P: None}),
        (replace(GOOD, restored=Restored(YES, TAKEN, None, "sealed")), {C: None, P: None}),
        (replace(GOOD, restored=Restored(UNKNOWN)), {V: None, C: None, P: None}),
        (replace(GOOD, holders=[Holder("orders-db", None, known=False)]), {G: None}),
        (with_conditions("authority", None), {G: None, V: None}),
        (with_conditions("authority", {}), {G: None, V: None}),
        (with_conditions("authority", observed("InService", "Configured", ago=400)), {G: None, V: None}),
        (with_conditions("consumption", observed("Trusted")), {G: None, V: None}),
        (with_conditions("rotation", None), {G: None}),
        (replace(GOOD, phase=None, contradictions=UNKNOWN), {G: None, V: None, P: None}),
        # No beats unknown.
        (replace(GOOD, identity=NO, exported=UNKNOWN), {C: False, P: False}),
    ],
)
def test_what_is_wrong_or_unknown_is_found_where_it_counts(seen: Seen, wrong: dict[Domain, bool | None]) -> None:
    assert domains(seen) == wrong
    assert not all_survived(judge(seen, PARTS))


def test_a_secret_without_a_value_is_none_of_gits() -> None:
    seen = replace(GOOD, holders=[*GOOD.holders, Holder("payment-api", None)])
    assert domains(seen) == {}
    assert judge(seen, PARTS)[0].answer.why == "2 secrets; without a value: payment-api"


def test_without_a_rotator_no_engine_of_rotation_is_asked_for() -> None:
    assert domains(replace(with_conditions("rotation", None), rotated=False)) == {}


@pytest.mark.parametrize(
    ("minutes", "changed", "holds", "said"),
    [
        (4, ["a/b"], True, "1 changes, of a/b; the newest snapshot is 4 minutes old"),
        (6, ["a/b"], False, "the newest snapshot is 6 minutes old: `secret-authority snapshot now`"),
        (300, ["a", "b", "c", "d", "e"], False, "5 changes, of a, b, c and 2 more; the newest snapshot is 5 hours old"),
        (6000, [], True, "nothing; the newest snapshot is 4 days old"),
    ],
)
def test_what_would_be_lost_is_named(minutes: int, changed: list[str], holds: bool, said: str) -> None:
    restored = Restored(YES, NOW - timedelta(minutes=minutes), changed)
    (_, lost) = newest_snapshot(replace(GOOD, restored=restored))
    assert lost.answer.holds is holds and said in lost.answer.why


@pytest.mark.parametrize("domain", list(Domain))
def test_a_domain_without_an_answer_is_unknown(domain: Domain) -> None:
    assert verdict([], domain) is None
