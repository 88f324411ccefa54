"""A restore that is killed, restarted and raced anywhere: it ends in one same state, and overwrites nobody's value."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secret_authority.core.errors import LostRace, Unavailable
from secret_authority.core.restore.record import RestoreRecord
from secret_authority.core.restore.runner import Result, restore
from secret_authority.core.restore.state_machine import (
    Done,
    Holds,
    Observation,
    Reason,
    Refused,
    Shares,
    Step,
    Wait,
    next_move,
)

SNAPSHOT = "dev/2026/11/20261127T180000Z-60-0badcafe"
OTHER = "dev/2026/11/20261126T180000Z-40-0badcafe"


class Killed(BaseException):
    """The process of the restore ends here."""


@dataclass
class World:
    """A Vault and its cluster. `pending`: a forced restore was answered and is not durable yet."""

    holds: Holds = Holds.NOTHING
    sealed: bool = False
    pending: bool = False
    # Which shares open what Vault holds follows from `holds`.
    stored: Shares = Shares.OTHER
    record: RestoreRecord | None = None
    claimed: bool = True
    initialised: bool = True
    nodes: int = 1
    running: bool = True
    # Tokens of the snapshot that work, rotation documents in flight, events.
    revived: set[str] = field(default_factory=set)
    in_flight: set[str] = field(default_factory=set)
    asked: bool = False
    audited: bool = False
    replaced: int = 0
    # What used Vault while revoked tokens worked: never anything.
    used_too_early: list[str] = field(default_factory=list)
    overwritten: list[Holds] = field(default_factory=list)

    def settle(self) -> None:
        """Seconds pass: a restore that was answered becomes durable, and Vault seals itself."""
        if self.pending:
            self.pending, self.sealed, self.holds = False, True, Holds.SNAPSHOT
            self.revived, self.in_flight = {"revoked-token", "root"}, {"docs/orders"}

    def restart(self) -> None:
        """SIGKILL and a new start: what was not durable is gone."""
        self.pending, self.sealed = False, True

    def workload(self) -> None:
        """External Secrets reads what Vault has, if it runs."""
        if self.running and not self.sealed and self.revived:
            self.used_too_early.append("External Secrets")

    def scaled_up_by_hand(self) -> None:
        """Somebody is faster than the run: it scales down again, as the record is open."""
        if self.record is not None and self.record.open and self.holds is not Holds.SNAPSHOT:
            self.running = True

    def engine(self) -> None:
        """The engine in the cluster unseals with what is stored."""
        if self.sealed and (self.stored is Shares.SNAPSHOT) == (self.holds is Holds.SNAPSHOT):
            self.sealed = False


class Backend:
    """`RestoreBackend` over a `World`; `point` is called before and after every request and may kill."""

    def __init__(self, world: World, point: Callable[[], None]) -> None:
        self.world, self.point = world, point

    def pause(self) -> None:
        self.world.settle()
        self.world.engine()

    def observe(self) -> Observation:
        self.point()
        world = self.world
        if world.pending:
            world.settle()
            raise Unavailable("a request waits until Vault is sealed")
        open_ = not world.sealed
        return Observation(
            record=world.record,
            claimed=world.claimed,
            initialised=world.initialised,
            sealed=world.sealed,
            holds=world.holds if open_ else Holds.UNKNOWN,
            nodes=world.nodes if open_ else None,
            shares=world.stored,
            closed=not world.running,
            in_flight=tuple(sorted(world.in_flight)) if open_ else None,
            unasked=("orders-db",) if open_ and not world.asked else (),
            audited=world.audited if open_ else None,
        )

    def do(self, step: Step, seen: Observation) -> None:
        self.point()
        world = self.world
        match step:
            case Step.BEGIN:
                if world.record is not None and world.record.open:
                    raise LostRace("record")
                world.record = RestoreRecord(SNAPSHOT, "someone", "2026-11-27T18:10:00+00:00")
            case Step.CLOSE:
                world.running = False
            case Step.REPLACE:
                world.overwritten.append(world.holds)
                world.pending, world.replaced = True, world.replaced + 1
            case Step.UNSEAL:
                world.sealed = False
            case Step.STORE_SHARES:
                assert world.holds is Holds.SNAPSHOT, "shares that open nothing would be stored"
                world.stored = Shares.SNAPSHOT
            case Step.REVOKE:
                for token in sorted(world.revived):
                    world.revived.discard(token)
                    self.point()
                assert world.record is not None
                world.record = replace(world.record, revoked=True)
            case Step.CONFIGURE:
                assert world.record is not None
                world.record = replace(world.record, configured=True)
            case Step.ABANDON:
                world.in_flight.clear()
            case Step.ASK:
                world.asked = True
            case Step.AUDIT:
                world.audited = True
            case Step.OPEN:
                assert world.record is not None
                world.running = True
                self.point()
                world.record = replace(world.record, opened="2026-11-27T18:12:00+00:00")
        self.point()


def run(world: World, at: int | None = None, between: Callable[[int], None] = lambda _: None) -> Result | None:
    """One run; None when it was killed at its `at`-th point."""
    count = itertools.count()

    def point() -> None:
        number = next(count)
        between(number)
        world.workload()
        if number == at:
            raise Killed

    with contextlib.suppress(Killed):
        return restore(SNAPSHOT, Backend(world, point))
    return None


def ended(world: World) -> None:
    assert world.record is not None and world.record.opened and world.record.revoked and world.record.configured
    assert world.holds is Holds.SNAPSHOT and world.stored is Shares.SNAPSHOT and world.running
    assert not world.revived and not world.in_flight and world.asked and world.audited
    assert not world.used_too_early
    assert set(world.overwritten) == {Holds.NOTHING}


def test_an_undisturbed_restore_takes_each_step_once() -> None:
    world = World()
    result = run(world)
    assert result is not None and isinstance(result.end, Done)
    assert result.steps == (
        *(Step.BEGIN, Step.CLOSE, Step.REPLACE, Step.UNSEAL, Step.STORE_SHARES),
        *(Step.REVOKE, Step.CONFIGURE, Step.ABANDON, Step.ASK, Step.AUDIT, Step.OPEN),
    )
    ended(world)


def test_killed_at_every_point_it_ends_the_same() -> None:
    number = 0
    while run(world := World(), number) is None:
        run(world)
        ended(world)
        number += 1
    assert number > 20, "each request has a point before and after it"


@settings(max_examples=400, deadline=None)
@given(
    kills=st.lists(st.integers(0, 30), max_size=4),
    events=st.lists(
        st.tuples(st.integers(0, 60), st.sampled_from(["engine", "restart", "scale", "settle"])), max_size=8
    ),
)
def test_kills_restarts_and_a_busy_engine_change_nothing_of_the_end(
    kills: list[int], events: list[tuple[int, str]]
) -> None:
    world = World()
    acts = {
        "engine": world.engine,
        "restart": world.restart,
        "scale": world.scaled_up_by_hand,
        "settle": world.settle,
    }
    due = sorted(events)
    seen = itertools.count()

    def between(_: int) -> None:
        now = next(seen)
        while due and due[0][0] <= now:
            acts[due.pop(0)[1]]()

    for kill in kills:
        run(world, kill, between)
    due.clear()
    world.settle()
    result = run(world)
    assert result is not None and isinstance(result.end, Done)
    ended(world)


@pytest.mark.parametrize(
    ("world", "reason"),
    [
        (World(holds=Holds.VALUES), Reason.HOLDS_VALUES),
        (World(holds=Holds.SNAPSHOT), Reason.HOLDS_VALUES),
        (World(claimed=False), Reason.NOT_CLAIMED),
        (World(initialised=False), Reason.NOT_INITIALISED),
        (World(nodes=3), Reason.SEVERAL_NODES),
        (World(record=RestoreRecord(OTHER, "another", "2026-11-27T17:00:00+00:00")), Reason.ANOTHER_RESTORE),
    ],
)
def test_what_does_not_fit_is_refused_before_a_change(world: World, reason: Reason) -> None:
    before = replace(world)
    result = run(world)
    assert result is not None and isinstance(result.end, Refused) and result.end.reason is reason
    assert result.steps == () and world == before


@pytest.mark.parametrize(
    "unknown", [{"sealed": None}, {"initialised": None}, {"holds": Holds.UNKNOWN}, {"nodes": None}]
)
def test_what_is_not_known_begins_nothing(unknown: dict[str, object]) -> None:
    known = Observation(None, True, True, False, Holds.NOTHING, 1)
    assert next_move(SNAPSHOT, known) is Step.BEGIN
    assert isinstance(next_move(SNAPSHOT, replace(known, **unknown)), Wait)  # type: ignore[arg-type]


def test_values_that_came_meanwhile_are_not_overwritten() -> None:
    record = RestoreRecord(SNAPSHOT, "someone", "2026-11-27T18:10:00+00:00")
    move = next_move(SNAPSHOT, Observation(record, True, True, False, Holds.VALUES, 1, closed=True))
    assert isinstance(move, Refused) and move.reason is Reason.HOLDS_VALUES


def test_a_restore_that_has_ended_is_not_done_again_over_what_came_later() -> None:
    world = World()
    run(world)
    world.holds = Holds.VALUES  # a later restore, or a rebuild
    result = run(world)
    assert result is not None and isinstance(result.end, Refused) and result.end.reason is Reason.HOLDS_VALUES


def test_the_record_survives_its_config_map() -> None:
    record = RestoreRecord(SNAPSHOT, "kim", "2026-11-27T18:10:00+00:00", True, True, {"external-secrets/shop": 2}, "x")
    assert RestoreRecord.from_data(record.as_data()) == record
    for wrong in ({}, {"snapshot": "x"}, {**record.as_data(), "closed": "[]"}, {**record.as_data(), "closed": "{"}):
        with pytest.raises(ValueError):
            RestoreRecord.from_data(wrong)
