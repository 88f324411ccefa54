"""Rotations by several engines that are killed, paused and cut off anywhere: nobody is locked out."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from secret_authority.core.errors import LostRace, Unavailable
from secret_authority.core.rotation.cycle import Cycle
from secret_authority.core.rotation.document import Document, Request, RequestKind, Start, State, Trigger
from secret_authority.core.rotation.rotator import Accepts, Fence, Plan, Publication, TargetRefusedError, Value
from secret_authority.core.rotation.runner import advance
from secret_authority.core.rotation.state_machine import (
    Apply,
    Change,
    Delivery,
    Move,
    Observation,
    Publish,
    Rules,
    Wait,
    next_move,
)
from secret_authority.core.rotation.strategies import after_failure
from tests.unit.core.rotation.model import Killed, MakesPasswords, OneUser, Store, TwoUsers, World, engine

START = Start(Trigger.TIME, "due")
ENGINES, CONSUMERS = 3, 2
Decide = Callable[[Rules, Observation], Move]
Make = Callable[[World, Callable[[str], None]], Cycle]


def document(world: World) -> Document:
    found = world.documents[-1] if world.documents else None
    return Document.from_fields(found) if found else Document()


def settle(world: World, make: Make, decide: Decide = next_move) -> None:
    """Everything works again, a person resumes what is held: one engine brings it to rest."""
    world.up, world.refuses = True, False
    one = make(world, lambda _name: None)
    for number in range(200):
        for consumer in range(CONSUMERS):
            world.deliver(consumer)
        world.now += timedelta(seconds=70)
        asked = [a for a in Store(world).requests() if a.kind is RequestKind.ROTATE]
        one.start = Start(asked[0].trigger, asked[0].why, asked[0].id, given=asked[0].given) if asked else None
        seen = one.observe()
        move = decide(Rules(), seen)
        if not isinstance(move, Wait):
            one.do(move, seen)
        elif seen.document.state is State.IDLE and not seen.requests and seen.start is None:
            return
        elif seen.document.state in (State.HELD, State.CONFLICT):
            kind = RequestKind.RESUME if seen.document.state is State.HELD else RequestKind.ACCEPT
            world.requests[f"settle-{number}"] = Request(f"settle-{number}", kind, "settle")
    raise AssertionError(f"does not come to rest: {document(world)}")


class Rotations(RuleBasedStateMachine):
    """Each engine looks, and acts on what it saw at any later time, or is killed at any request."""

    make: Make = staticmethod(lambda world, point: engine(world, point))
    decide: Decide = staticmethod(next_move)
    strategy = "retry"
    never_refused = True

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.engines = [self._engine(number) for number in range(ENGINES)]
        self.held: list[tuple[Observation, Move] | None] = [None] * ENGINES
        self.fault: list[int | None] = [None] * ENGINES
        self.names = itertools.count()

    def _engine(self, number: int) -> Cycle:
        made = type(self).make(self.world, lambda _name: self._point(number))
        made.start = START
        return made

    def _point(self, number: int) -> None:
        left = self.fault[number] if hasattr(self, "fault") else None
        if left is None:
            return
        if left == 0:
            raise Killed
        self.fault[number] = left - 1

    @rule(number=st.integers(0, ENGINES - 1))
    def look(self, number: int) -> None:
        given = [one for one in Store(self.world).requests() if one.given]
        start = Start(given[0].trigger, given[0].why, given[0].id, given=True) if given else START
        self.engines[number].start = start
        try:
            seen = self.engines[number].observe()
        except Unavailable:
            return
        self.held[number] = seen, type(self).decide(Rules(), seen)

    @rule(number=st.integers(0, ENGINES - 1), kill=st.one_of(st.none(), st.integers(0, 4)))
    def act(self, number: int, kill: int | None) -> None:
        held, self.held[number] = self.held[number], None
        if held is None or isinstance(held[1], Wait):
            return
        self.fault[number] = kill
        seen, move = held
        try:
            try:
                self.engines[number].do(move, seen)
            except TargetRefusedError as error:
                failed = after_failure(seen.document, self.strategy, str(error), seen.now, 0.5)  # type: ignore[arg-type]
                self.engines[number].do(Change(failed, "failed"), seen)
        except Killed:
            self.fault[number] = None
            self.engines[number] = self._engine(number)
        except (LostRace, Unavailable):
            pass
        self.fault[number] = None

    @rule(number=st.integers(0, ENGINES - 1), steps=st.integers(1, 12))
    def run(self, number: int, steps: int) -> None:
        """One engine works for a while without being disturbed."""
        for _ in range(steps):
            self.look(number)
            self.act(number, None)

    @rule(consumer=st.integers(0, CONSUMERS - 1))
    def deliver(self, consumer: int) -> None:
        self.world.deliver(consumer)

    @rule(seconds=st.sampled_from([1, 61, 4000]))
    def time_passes(self, seconds: int) -> None:
        self.world.now += timedelta(seconds=seconds)

    @rule()
    def target_goes_or_comes(self) -> None:
        self.world.up = not self.world.up

    @rule()
    def target_refuses_or_not(self) -> None:
        self.world.refuses = not self.world.refuses

    @rule(
        kind=st.sampled_from([kind for kind in RequestKind if kind is not RequestKind.POLICY]), compromise=st.booleans()
    )
    def request(self, kind: RequestKind, compromise: bool) -> None:
        name = f"r{next(self.names)}"
        trigger = Trigger.COMPROMISE if compromise and kind is RequestKind.ROTATE else Trigger.MANUAL
        self.world.requests[name] = Request(name, kind, "a person asks", trigger, at=self.world.now.isoformat())

    @rule(user=st.sampled_from(["app_a", "app_b"]))
    def enter(self, user: str) -> None:
        """A person gives a value; each engine finds the request admitted."""
        name = f"g{next(self.names)}"
        self.world.given[name] = {"username": user, "password": f"given-{name}"}
        self.world.requests[name] = Request(name, RequestKind.ROTATE, "entered", given=True)

    @precondition(lambda self: len(self.world.versions) < 6)
    @rule()
    def another_writer(self) -> None:
        """Somebody changes another key of the secret, with the credentials of the version that is there."""
        newest = self.world.newest()
        self.world.write({**newest, "host": f"{newest['host']}x"})

    @invariant()
    def nobody_is_refused(self) -> None:
        if not self.never_refused:
            return
        for consumer, version in enumerate(self.world.consumers):
            assert self.world.logs_in(self.world.value(version)), f"consumer {consumer} is locked out"
        assert self.world.logs_in(self.world.newest()), "a new pod would be locked out"

    def teardown(self) -> None:
        settle(self.world, type(self).make, type(self).decide)
        assert self.world.logs_in(self.world.newest())
        # One more rotation, undisturbed: one value is usable, and only that.
        last = type(self).make(self.world, lambda _name: None)
        last.start = START
        for _ in range(60):
            for consumer in range(CONSUMERS):
                self.world.deliver(consumer)
            self.world.now += timedelta(seconds=70)
            seen = last.observe()
            move = type(self).decide(Rules(), seen)
            if not isinstance(move, Wait):
                last.do(move, seen)
        found = document(self.world)
        assert found.state is State.IDLE and found.result == "done", found
        assert self.world.logs_in(self.world.newest())
        if self.never_refused:
            assert self.world.usable() == [self.world.newest()["username"]], "two values are usable"
        assert [one for one in self.world.documents[:-1] if one is not None] == [], "an old document still has values"
        assert found.pending is None and found.retires is None
        # One whose engine was killed just after it had answered is destroyed by the next full look.
        assert self.world.given.keys() <= self.world.answers.keys(), "a given value was left"
        assert self.world.custom["rotated_mark"] == found.published
        assert found.id in self.world.events


class RotationsOfOneUser(Rotations):
    """With one user consumers are refused until they have the new value; nothing else may go wrong."""

    make = staticmethod(lambda world, point: engine(world, point, OneUser))
    never_refused = False


class RotationsOfWhatTheTargetMakes(Rotations):
    make = staticmethod(lambda world, point: engine(world, point, MakesPasswords))


class RotationsThatHold(Rotations):
    strategy = "hold"


QUICK = settings(max_examples=40, stateful_step_count=40, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("machine", [Rotations, RotationsOfOneUser, RotationsOfWhatTheTargetMakes, RotationsThatHold])
def test_engines_that_are_killed_and_paused_anywhere_lock_nobody_out(machine: type[Rotations]) -> None:
    run_state_machine_as_test(machine, settings=QUICK)


# What breaks when one rule is left out. Each of these has to be found by the very same walk.


def _revoke_before_delivery(rules: Rules, seen: Observation) -> Move:
    return next_move(replace(rules, drain=timedelta()), replace(seen, delivery=Delivery(), in_use=0))


def _publish_untested(rules: Rules, seen: Observation) -> Move:
    return next_move(rules, replace(seen, accepts_pending=Accepts.YES))


def _unreachable_is_refused(rules: Rules, seen: Observation) -> Move:
    if seen.accepts_retired is Accepts.UNKNOWN:
        seen = replace(seen, accepts_retired=Accepts.NO)
    return next_move(rules, seen)


def _unreachable_is_accepted(rules: Rules, seen: Observation) -> Move:
    if seen.accepts_pending is Accepts.UNKNOWN:
        seen = replace(seen, accepts_pending=Accepts.YES)
    return next_move(rules, seen)


def _published_before_it_is_decided(rules: Rules, seen: Observation) -> Move:
    """The order of most protocols: write the secret, then note in the document that it was written."""
    document = seen.document
    if document.state is State.PREPARED and seen.newest.digest == seen.pending_digest:
        return Change(replace(document, state=State.PUBLISHED), "publish")
    move = next_move(rules, seen)
    decided = isinstance(move, Change) and move.what == "publish"
    return Publish() if decided else move


class _NewValueAtEachTry(TwoUsers):
    """No durable pending value: a retry applies another one than the one that is published."""

    def apply(self, value: Value, fence: Fence) -> None:
        other = Value({**value.fields, "password": f"retry-{next(self.world.random)}"})
        super().apply(other, fence)

    def accepts(self, value: Value) -> Accepts:
        applied = self.world.passwords[value.fields["username"]] or ""
        return Accepts.YES if applied.startswith("retry-") else super().accepts(value)


def _mutant(decide: Decide = next_move, make: Make | None = None) -> type[Rotations]:
    class Mutant(Rotations):
        def teardown(self) -> None:
            """Only who is locked out on the way counts."""

    Mutant.decide = staticmethod(decide)  # type: ignore[assignment]
    if make:
        Mutant.make = staticmethod(make)  # type: ignore[assignment]
    return Mutant


MUTANTS = {
    "revoked before delivery": _mutant(_revoke_before_delivery),
    "published before it is applied": _mutant(_publish_untested),
    "no pending value": _mutant(make=lambda world, point: engine(world, point, _NewValueAtEachTry)),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_the_walk_finds_what_a_missing_rule_breaks(name: str) -> None:
    found = settings(
        max_examples=400,
        stateful_step_count=40,
        phases=[Phase.generate],
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    with pytest.raises(AssertionError, match="locked out"):
        run_state_machine_as_test(MUTANTS[name], settings=found)


def _work(one: Cycle, world: World, decide: Decide, until: Callable[[Observation, Move], bool]) -> None:
    """Let one engine work, with deliveries and time, until it has seen what `until` says."""
    for _ in range(60):
        seen = one.observe()
        move = decide(Rules(), seen)
        if until(seen, move):
            return
        if not isinstance(move, Wait):
            one.do(move, seen)
        for consumer in range(CONSUMERS):
            world.deliver(consumer)
        world.now += timedelta(seconds=70)
    raise AssertionError("it does not come that far")


def _generation(world: World, number: int, fenced: bool) -> None:
    one = engine(world, fenced=fenced)
    one.start = START
    _work(one, world, next_move, lambda seen, _: seen.document.generation == number)
    _work(one, world, next_move, lambda seen, _: seen.document.state is State.IDLE and not seen.leftovers)


@pytest.mark.parametrize("fenced", [True, False])
def test_an_engine_that_was_paused_for_two_generations_changes_nothing(fenced: bool) -> None:
    world = World()
    paused = engine(world, fenced=fenced)
    paused.start = START
    _work(paused, world, next_move, lambda _, move: isinstance(move, Apply))
    seen = paused.observe()
    for number in (1, 2, 3):
        _generation(world, number, fenced)
    assert world.newest()["username"] == "app_b"
    with contextlib.suppress(LostRace):
        paused.do(Apply(), seen)
    assert world.logs_in(world.newest()) is fenced


@pytest.mark.parametrize("decide", [next_move, _published_before_it_is_decided])
def test_what_is_aborted_is_never_published(decide: Decide) -> None:
    world = World()
    publishing, aborting = engine(world), engine(world)
    publishing.start = START
    _work(publishing, world, decide, lambda seen, _: seen.accepts_pending is Accepts.YES)
    seen = publishing.observe()
    move = decide(Rules(), seen)
    world.requests["r1"] = Request("r1", RequestKind.ABORT, "changed my mind")
    one = aborting.observe()
    aborting.do(decide(Rules(), one), one)
    assert document(world).ending == "aborted: changed my mind"
    with contextlib.suppress(LostRace):
        publishing.do(move, seen)
    _work(aborting, world, decide, lambda seen, _: seen.document.state is State.IDLE)
    assert world.logs_in(world.newest()) is (decide is next_move)


@pytest.mark.parametrize("decide", [next_move, _unreachable_is_refused])
def test_an_old_value_is_revoked_although_the_target_was_away_meanwhile(decide: Decide) -> None:
    world = World()
    one = engine(world)
    one.start = START
    _work(one, world, decide, lambda seen, _: seen.document.state is State.RETIRING)
    world.up = False
    for _ in range(3):
        seen = one.observe()
        move = decide(Rules(), seen)
        if not isinstance(move, Wait):
            one.do(move, seen)
    world.up = True
    _work(one, world, decide, lambda seen, _: seen.document.state is State.IDLE)
    assert (world.usable() == ["app_b"]) is (decide is next_move)


@pytest.mark.parametrize("decide", [next_move, _unreachable_is_accepted])
def test_nothing_is_published_while_the_target_cannot_be_asked(decide: Decide) -> None:
    world = World()
    one = engine(world)
    one.start = START
    _work(one, world, decide, lambda seen, _: seen.document.state is State.PREPARED)
    world.up = False
    for _ in range(3):
        seen = one.observe()
        move = decide(Rules(), seen)
        if not isinstance(move, Wait):
            one.do(move, seen)
    world.up = True
    assert world.logs_in(world.newest()) is (decide is next_move)


def test_a_rotation_does_not_begin_while_a_consumer_has_an_older_value() -> None:
    """After another writer and a person's `resume`, the consumer that lags uses the slot whose turn it is."""
    world = World()
    one = engine(world)
    one.start = START
    _work(one, world, next_move, lambda seen, _: seen.document.state is State.RETIRING)
    world.write({**world.newest(), "host": "moved"})
    world.consumers[0] = 1
    advance(Rules(), "retry", one, lambda: 0.0)
    assert document(world).state is State.CONFLICT
    for kind in (RequestKind.RESUME, RequestKind.ABORT):
        world.requests[kind] = Request(kind, kind, "without a look")
        advance(Rules(), "retry", one, lambda: 0.0)
        assert "`rotation accept`" in world.answers[kind] and document(world).state is State.CONFLICT
    world.requests["r1"] = Request("r1", RequestKind.ACCEPT, "checked")
    one.start = START
    result = advance(Rules(), "retry", one, lambda: 0.0)
    assert document(world).state is State.IDLE and "pod 0" in result.waits_for
    assert world.logs_in(world.value(1))


def test_a_compromise_may_cut_off_in_words_and_says_whom() -> None:
    world = World()
    one = engine(world)
    one.start = Start(Trigger.COMPROMISE, "leaked in a log", "r1", cut_off=True)
    world.requests["r1"] = Request("r1", RequestKind.ROTATE, "leaked in a log", Trigger.COMPROMISE, cut_off=True)
    advance(Rules(), "retry", one, lambda: 0.0)
    (event,) = world.events.values()
    assert document(world).state is State.IDLE and world.usable() == ["app_b"]
    assert event.result == "done; cut off: pod 0, pod 1" and event.why == "rotation (compromise): leaked in a log"
    assert world.answers == {"r1": f"accepted as {event.id}"}


def _one_rotation(world: World, point: Callable[[str], None], rotator: type[TwoUsers]) -> None:
    one = engine(world, point, rotator)
    one.start = START
    for _ in range(40):
        result = advance(Rules(), "retry", one, lambda: 0.0)
        for consumer in range(CONSUMERS):
            world.deliver(consumer)
        world.now += timedelta(seconds=70)
        if document(world).state is State.IDLE and document(world).result and not result.moves:
            return
    raise AssertionError(document(world))


def _points(rotator: type[TwoUsers]) -> int:
    count = itertools.count()
    _one_rotation(World(), lambda _name: _count(count), rotator)
    return next(count)


def _count(count: itertools.count[int]) -> None:
    next(count)


@pytest.mark.parametrize("rotator", [TwoUsers, OneUser, MakesPasswords])
def test_a_rotation_killed_at_any_request_ends_in_the_same_state(rotator: type[TwoUsers]) -> None:
    reference = World()
    _one_rotation(reference, lambda _name: None, rotator)
    for kill in range(_points(rotator)):
        world, count = World(), itertools.count()

        def point(_name: str, count: itertools.count[int] = count, kill: int = kill) -> None:
            if next(count) == kill:
                raise Killed

        with pytest.raises(Killed):
            _one_rotation(world, point, rotator)
        for consumer in range(CONSUMERS) if rotator is not OneUser else ():
            assert world.logs_in(world.value(world.consumers[consumer]))
        before = document(world)
        one = engine(world, lambda _name: None, rotator)
        one.start = None if before.id else START
        for _ in range(40):
            advance(Rules(), "retry", one, lambda: 0.0)
            for consumer in range(CONSUMERS):
                world.deliver(consumer)
            world.now += timedelta(seconds=70)
        end = document(world)
        assert (end.state, end.generation, end.result) == (State.IDLE, 1, "done"), kill
        assert world.usable() == reference.usable() and len(world.versions) == 2 and len(world.events) == 1
        assert [one for one in world.documents[:-1] if one is not None] == []


def test_steps_follow_one_another_only_after_delivery_and_rest() -> None:
    """A key set: accept, sign, retire; each step is a version that every consumer has before the next."""
    world = World()

    class KeySet(TwoUsers):
        def plan(self, current: Value, fence: Fence) -> Plan:
            steps = [{**current.fields, "host": name} for name in ("accept", "sign", "retire")]
            rests = (0, 3600, 0)
            return Plan(tuple(Publication(Value(v), timedelta(seconds=s)) for v, s in zip(steps, rests, strict=True)))

        def accepts(self, value: Value) -> Accepts:
            return Accepts.YES

    one = engine(world, lambda _name: None, KeySet)
    one.start = START
    advance(Rules(), "retry", one, lambda: 0.0)
    assert [value["host"] for value, _ in world.versions] == ["db", "accept"]
    advance(Rules(), "retry", one, lambda: 0.0)
    assert len(world.versions) == 2, "the next key is signed with before everybody accepts it"
    world.deliver(0)
    advance(Rules(), "retry", one, lambda: 0.0)
    assert len(world.versions) == 2, "one consumer is not everybody"
    world.deliver(1)
    advance(Rules(), "retry", one, lambda: 0.0)
    assert world.newest()["host"] == "sign"
    for consumer in range(CONSUMERS):
        world.deliver(consumer)
    result = advance(Rules(), "retry", one, lambda: 0.0)
    assert world.newest()["host"] == "sign" and "3600 s" in result.waits_for
    world.now += timedelta(seconds=3601)
    advance(Rules(), "retry", one, lambda: 0.0)
    assert world.newest()["host"] == "retire"
    for consumer in range(CONSUMERS):
        world.deliver(consumer)
    advance(Rules(), "retry", one, lambda: 0.0)
    assert document(world).state is State.IDLE and document(world).result == "done"


def _ask(world: World, kind: RequestKind = RequestKind.ROTATE, **more: bool) -> Start:
    world.requests["e1"] = Request("e1", kind, "entered by ada", **more)  # type: ignore[arg-type]
    return Start(Trigger.MANUAL, "entered by ada", "e1", given=True)


def test_a_value_that_a_person_gives_takes_the_way_of_every_rotation() -> None:
    world = World()
    world.given["e1"] = {"username": "app_b", "password": "issued-elsewhere"}
    one = engine(world)
    one.start = _ask(world, given=True)
    advance(Rules(), "retry", one, lambda: 0.0)
    assert world.newest() == {"username": "app_b", "password": "issued-elsewhere", "host": "db"}
    assert document(world).state is State.PUBLISHED and world.usable() == ["app_a", "app_b"]
    assert world.given == {}, "the value is at two paths"
    _work(one, world, next_move, lambda seen, _: seen.document.state is State.IDLE)
    assert world.usable() == ["app_b"] and world.answers["e1"].startswith("accepted as ro-")
    (event,) = world.events.values()
    assert event.why == "rotation (manual): entered by ada"


def test_a_value_that_cannot_be_the_next_one_is_refused_and_forgotten() -> None:
    world = World()
    world.given["e1"] = {"username": "app_a", "password": "issued-elsewhere"}
    one = engine(world)
    one.start = _ask(world, given=True)
    advance(Rules(), "retry", one, lambda: 0.0)
    assert world.answers == {"e1": "refused: it is the turn of the other user"}
    assert world.given == {} and document(world).state is State.IDLE and len(world.versions) == 1


def test_a_value_is_refused_while_a_rotation_is_in_flight() -> None:
    world = World()
    one = engine(world)
    one.start = START
    advance(Rules(), "retry", one, lambda: 0.0)
    world.given["e1"] = {"username": "app_a", "password": "issued-elsewhere"}
    _ask(world, given=True)
    advance(Rules(), "retry", one, lambda: 0.0)
    assert world.answers["e1"].endswith("is published") and world.answers["e1"].startswith("refused")
    assert world.given == {} and document(world).state is State.PUBLISHED


def test_a_target_that_refuses_a_look_concerns_its_own_secret() -> None:
    """A wrong login of the engine's own, say: it is shown, and the round of the other secrets goes on."""
    world = World()

    class NoLogin(TwoUsers):
        def ready(self) -> str:
            raise TargetRefusedError("it refuses the login of orders-db-admin")

    one = engine(world, lambda _name: None, NoLogin)
    one.start = START
    result = advance(Rules(), "retry", one, lambda: 0.0)
    assert result.unavailable == "it refuses the login of orders-db-admin" and not result.moves


def test_a_plan_that_fails_is_tried_again_later_and_not_in_a_loop() -> None:
    world = World()

    class NoPlan(TwoUsers):
        def plan(self, current: Value, fence: Fence) -> Plan:
            raise TargetRefusedError("it has no more users")

    one = engine(world, lambda _name: None, NoPlan)
    one.start = START
    result = advance(Rules(), "retry", one, lambda: 1.0)
    failed = [move for move in result.moves if isinstance(move, Change) and move.what == "failed"]
    assert len(failed) == 1 and "it has no more users" in result.waits_for
