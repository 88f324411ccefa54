"""The handover machine and its loop, over systems that can fail before and after every request."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secret_authority.core.digest import ValueDigest, keyed_digest, value_digest
from secret_authority.core.errors import LostRace, Unavailable
from secret_authority.core.handover.runner import hand_over
from secret_authority.core.handover.state_machine import (
    Begun,
    Blocked,
    Bootstrap,
    Done,
    InGit,
    InVault,
    Mark,
    Notice,
    Observation,
    Plan,
    Reason,
    Record,
    SecretTrail,
    Step,
    TrailEntry,
    Wait,
    handover_id,
    next_move,
    notices,
)
from secret_authority.core.ledger.audit_trail import Event, handed_over
from secret_authority.core.phases import Authority
from tests.support.authority_seen import authority_seen

KEY = b"k" * 32
PLACE, ELSEWHERE = "platform-data/orders/api", "platform-data/orders/v2"
PLAN = Plan("orders-db", handover_id("dev", "orders-db", PLACE), PLACE)
# The same secret with another path: what an engine with another catalogue would do.
OTHER_PLAN = Plan("orders-db", handover_id("dev", "orders-db", ELSEWHERE), ELSEWHERE)
VALUE = {"password": b"one"}
OTHER = {"password": b"two"}


def digest(values: Mapping[str, bytes], place: str = PLACE) -> ValueDigest:
    return value_digest(KEY, "orders-db", place, values)


RECORD = Record("orders-db", PLAN.id, digest(VALUE).current, "2026-01-01T00:00:00+00:00", "run-1")


class Killed(BaseException):
    """The process is gone at this point; nothing in it runs on."""


@dataclass
class Path:
    """One path in Vault."""

    versions: list[dict[str, bytes]] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass
class Cluster:
    """What outlives a process: Git, the Secret, Vault and the trail. `watch` runs after every change."""

    git: dict[str, bytes] = field(default_factory=lambda: dict(VALUE))
    secret: dict[str, bytes] | None = field(default_factory=lambda: dict(VALUE))
    secret_version: int = 1
    mark: Mark | None = None
    paths: dict[str, Path] = field(default_factory=lambda: {PLACE: Path(), ELSEWHERE: Path()})
    begun: Begun | None = None
    trail: list[Event] = field(default_factory=list)
    history: list[tuple[Authority, bool, int]] = field(default_factory=list)

    @property
    def versions(self) -> list[dict[str, bytes]]:
        return self.paths[PLACE].versions

    @property
    def metadata(self) -> dict[str, str]:
        return self.paths[PLACE].metadata

    def watch(self) -> None:
        """What the outside sees: who is the authority, whether a value is there, and how many records there are."""
        records = [path for path in self.paths.values() if Record.begun_in(path.metadata)]
        vault = InVault(record=Record.from_metadata(records[0].metadata)) if records else InVault()
        authority = authority_seen(vault)
        there = bool(records[0].versions) if records else bool(self.git) and self.secret != {}
        self.history.append((authority, there, len(records)))

    def state(self) -> object:
        free = ("handover_at", "handover_run")
        paths = {
            place: (path.versions, {key: value for key, value in path.metadata.items() if key not in free})
            for place, path in self.paths.items()
        }
        mark = self.mark and self.mark.id
        return paths, self.secret, mark, self.begun, [(e.id, e.digest, e.result) for e in self.trail]


class Process:
    """One run's view of the cluster. `fault` is called before and after every request."""

    def __init__(self, cluster: Cluster, fault: Callable[[str], None], run: str = "run-1") -> None:
        self.cluster, self.fault, self.run = cluster, fault, run
        self.held: tuple[int, dict[str, bytes]] | None = None

    def observe_vault(self, plan: Plan) -> InVault:
        self.fault("read vault")
        path = self.cluster.paths[plan.place]
        found = digest(path.versions[-1], plan.place) if path.versions else None
        return InVault(len(path.versions), found, Record.from_metadata(path.metadata))

    def observe_bootstrap(self, plan: Plan) -> Bootstrap | None:
        self.fault("read secret")
        c = self.cluster
        if c.secret is None:
            self.held = None
            return None
        self.held = (c.secret_version, dict(c.secret))
        found = digest(c.secret, plan.place) if c.secret else None
        return Bootstrap(found, mark=c.mark, holds_data=bool(c.secret))

    def observe_git(self, plan: Plan) -> InGit:
        c = self.cluster
        return InGit(digest(c.git, plan.place)) if c.git else InGit(unknown=Reason.NOT_IN_GIT)

    def observe_trail(self, plan: Plan, whole: bool) -> SecretTrail:
        self.fault("read trail")
        entries = [TrailEntry(e.id, e.place, e.at, e.run, e.digest) for e in self.cluster.trail]
        own = next((entry for entry in entries if entry.id == plan.id), None)
        return SecretTrail(own, tuple(entry for entry in entries if entry is not own) if whole else ())

    def observe_begun(self, plan: Plan) -> Begun | None:
        self.fault("read note")
        return self.cluster.begun

    def begin(self, plan: Plan) -> None:
        self.fault("before begin")
        if self.cluster.begun is not None:
            raise LostRace
        self.cluster.begun = Begun(plan.id, plan.place)
        self.cluster.watch()
        self.fault("after begin")

    def write(self, plan: Plan) -> None:
        self.fault("before write")
        path = self.cluster.paths[plan.place]
        if path.versions:
            raise LostRace
        assert self.held is not None
        path.versions.append(self.held[1])
        self.cluster.watch()
        self.fault("after write")

    def record(self, plan: Plan, recorded: str) -> None:
        self.fault("before record")
        path = self.cluster.paths[plan.place]
        if Record.begun_in(path.metadata):
            raise LostRace
        self.fault("between the look and the patch")
        at = f"2026-01-01T00:00:{len(self.cluster.history) % 60:02}+00:00"
        path.metadata |= Record(plan.secret, plan.id, recorded, at, self.run).metadata()
        self.cluster.watch()
        self.fault("after record")

    def consume(self, plan: Plan, record: Record) -> None:
        self.fault("before consume")
        assert (plan.secret, plan.id) == (record.secret, record.id)
        if self.held is None or self.held[0] != self.cluster.secret_version:
            raise LostRace
        self.cluster.secret, self.cluster.mark = {}, Mark(record.id, record.at)
        self.cluster.secret_version += 1
        self.cluster.watch()
        self.fault("after consume")

    def audit(self, plan: Plan, record: Record) -> None:
        self.fault("before audit")
        assert (plan.secret, plan.id) == (record.secret, record.id)
        if any(event.id == record.id for event in self.cluster.trail):
            raise LostRace
        self.cluster.trail.append(handed_over(record, plan.place))
        self.cluster.watch()
        self.fault("after audit")


def quiet(_point: str) -> None:
    return


def run(
    cluster: Cluster, fault: Callable[[str], None] = quiet, name: str = "run-1", plan: Plan = PLAN
) -> Done | Blocked | Unavailable:
    return hand_over(plan, Process(cluster, fault, name)).end


def faults_at(points: list[int], kind: type[BaseException]) -> Callable[[str], None]:
    """Fail at the n-th request counted over the life of the callable."""
    count = itertools.count()

    def fault(_point: str) -> None:
        if next(count) in points:
            raise kind

    return fault


def boundaries() -> int:
    count = itertools.count()
    run(Cluster(), lambda _point: void(next(count)))
    return next(count)


def void(_value: object) -> None:
    return


def test_a_quiet_run_hands_over_in_five_steps() -> None:
    cluster = Cluster()
    result = hand_over(PLAN, Process(cluster, quiet))
    assert result.steps == (Step.BEGIN, Step.WRITE, Step.RECORD, Step.CONSUME, Step.AUDIT)
    assert isinstance(result.end, Done)
    assert cluster.secret == {} and cluster.mark is not None and cluster.versions == [VALUE]
    assert hand_over(PLAN, Process(cluster, quiet)).steps == ()


@pytest.mark.parametrize("kind", [Killed, Unavailable])
@pytest.mark.parametrize("point", range(boundaries()))
def test_every_boundary_survives_a_failure(point: int, kind: type[BaseException]) -> None:
    reference, cluster = Cluster(), Cluster()
    run(reference)
    try:
        end = run(cluster, faults_at([point], kind))
        assert kind is Unavailable and isinstance(end, Unavailable)
    except Killed:
        pass
    assert isinstance(run(cluster, name="run-2"), Done)
    assert cluster.state() == reference.state()
    assert_one_authority(cluster)


def assert_one_authority(cluster: Cluster) -> None:
    seen = [authority for authority, _, _ in cluster.history]
    assert seen == sorted(seen, key=[Authority.GIT, Authority.VAULT].index), "authority moved back"
    assert all(there for _, there, _ in cluster.history), "an instant without a value at the authority"
    assert all(records <= 1 for _, _, records in cluster.history), "two authorities"
    assert len({event.id for event in cluster.trail}) <= 1, "two handovers"


@given(
    st.lists(st.sets(st.integers(0, 35), max_size=3), min_size=1, max_size=8),
    st.sampled_from([Killed, Unavailable]),
)
@settings(max_examples=500)
def test_any_row_of_broken_runs_ends_in_the_same_state(rows: list[set[int]], kind: type[BaseException]) -> None:
    reference, cluster = Cluster(), Cluster()
    run(reference)
    for number, points in enumerate(rows):
        try:
            run(cluster, faults_at(sorted(points), kind), f"run-{number}")
        except Killed:
            continue
    assert isinstance(run(cluster, name="last"), Done)
    assert cluster.state() == reference.state()
    assert_one_authority(cluster)


@given(st.data())
@settings(max_examples=300)
def test_two_runs_in_one_another_end_in_the_same_state(data: st.DataObject) -> None:
    """A second run happens whole at any boundary of the first (a lease is no fence)."""
    reference, cluster = Cluster(), Cluster()
    run(reference)
    at = data.draw(st.integers(0, boundaries()))
    count = itertools.count()

    def fault(_point: str) -> None:
        if next(count) == at:
            run(cluster, name="inner")

    run(cluster, fault, "outer")
    assert isinstance(run(cluster, name="last"), Done)
    assert cluster.state() == reference.state()
    assert cluster.versions == [VALUE] and len(cluster.trail) == 1


class Turns:
    """Engines as threads, of which one runs at a time: `order` says which continues at each request, and which dies.

    When the order is used up, the engines end one after the other.
    """

    def __init__(self, order: list[tuple[int, bool]]) -> None:
        self.order, self.turn = order, 0
        self.lock = threading.Condition()
        self.running: int | None = None
        self.alive: set[int] = set()

    def _next(self) -> int:
        while self.turn < len(self.order) and self.order[self.turn][0] not in self.alive:
            self.turn += 1
        return self.order[self.turn][0] if self.turn < len(self.order) else min(self.alive)

    def fault(self, number: int) -> Callable[[str], None]:
        def fault(_point: str) -> None:
            with self.lock:
                if self.running == number:
                    self.running = None
                self.lock.notify_all()
                self.lock.wait_for(lambda: self.running is None and self._next() == number)
                self.running = number
                killed = self.turn < len(self.order) and self.order[self.turn][1]
                self.turn += 1
            if killed:
                raise Killed

        return fault

    def run(self, *engines: tuple[Cluster, Plan]) -> None:
        def one(number: int, cluster: Cluster, plan: Plan) -> None:
            try:
                with contextlib.suppress(Killed):
                    run(cluster, self.fault(number), f"run-{number}", plan)
            finally:
                with self.lock:
                    self.alive.discard(number)
                    self.running = None if self.running == number else self.running
                    self.lock.notify_all()

        self.alive = set(range(len(engines)))
        threads = [threading.Thread(target=one, args=(number, *engine)) for number, engine in enumerate(engines)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()


STEPS = st.lists(st.tuples(st.integers(0, 1), st.sampled_from([False] * 19 + [True])), max_size=120)


@given(STEPS, st.sampled_from([PLAN, OTHER_PLAN]))
@settings(max_examples=400, deadline=None)
def test_two_engines_request_by_request_with_kills_never_make_two_authorities_or_none(
    order: list[tuple[int, bool]], second: Plan
) -> None:
    """Any interleaving, also of engines whose catalogues name different Vault paths."""
    cluster = Cluster()
    Turns(order).run((cluster, PLAN), (cluster, second))
    assert_one_authority(cluster)
    ends = [run(cluster, name="last", plan=plan) for plan in (PLAN, OTHER_PLAN)]
    assert_one_authority(cluster)
    done = [end for end in ends if isinstance(end, Done)]
    blocked = [end for end in ends if isinstance(end, Blocked)]
    assert len(done) == 1 and [end.reason for end in blocked] == [Reason.HANDED_OVER_BEFORE]
    assert [path.versions for path in cluster.paths.values() if path.metadata] == [[VALUE]]
    assert len(cluster.trail) == 1 and cluster.secret == {}


@given(
    st.booleans(),
    st.sampled_from(["", "another value", "gone"]),
    st.lists(st.sets(st.integers(0, 35), max_size=2), max_size=4),
)
def test_what_is_not_proved_to_be_gits_never_reaches_vault(begun: bool, in_git: str, rows: list[set[int]]) -> None:
    cluster = Cluster(secret=dict(OTHER))
    cluster.begun = Begun(PLAN.id, PLAN.place) if begun else None
    cluster.git = {"another value": dict(VALUE), "gone": {}}.get(in_git, dict(OTHER))
    for number, points in enumerate(rows):
        with contextlib.suppress(Killed):
            run(cluster, faults_at(sorted(points), Killed), f"run-{number}")
    end = run(cluster)
    if in_git:
        assert isinstance(end, Blocked) and cluster.versions == [] and cluster.secret == OTHER
    else:
        assert isinstance(end, Done) and cluster.versions == [OTHER]
    assert_one_authority(cluster)


@given(st.integers(0, 35), st.integers(0, 35))
@settings(max_examples=300)
def test_git_changing_under_a_handover_never_changes_vault_after_the_record(change: int, kill: int) -> None:
    """From any instant on Git says something else. Flux, in this phase, leaves an existing Secret alone."""
    cluster = Cluster()
    count = itertools.count()

    def fault(_point: str) -> None:
        number = next(count)
        if number == change:
            cluster.git = dict(OTHER)
        if number == kill:
            raise Killed

    with contextlib.suppress(Killed):
        run(cluster, fault)
    cluster.git = dict(OTHER)
    result = hand_over(PLAN, Process(cluster, quiet, "run-2"))
    assert_one_authority(cluster)
    if isinstance(result.end, Done):
        assert cluster.versions == [VALUE] and Notice.GIT_CHANGED in result.notices
    else:
        assert isinstance(result.end, Blocked) and result.end.reason is Reason.NOT_FROM_GIT
        assert cluster.metadata == {} and cluster.secret == VALUE and result.steps == ()


def test_a_secret_that_changes_all_the_time_is_left_for_the_next_run() -> None:
    class Restless(Process):
        tries = 0

        def consume(self, plan: Plan, record: Record) -> None:
            self.tries += 1
            raise LostRace

    process = Restless(Cluster(git=dict(VALUE)), quiet)
    result = hand_over(PLAN, process)
    assert isinstance(result.end, Unavailable) and "change faster" in str(result.end)
    assert result.secret == "orders-db" and result.steps == (Step.BEGIN, Step.WRITE, Step.RECORD)
    assert process.tries == 13 and result.notices == ()
    process.cluster.git = dict(OTHER)
    assert hand_over(PLAN, process).notices == (Notice.GIT_CHANGED,)


def test_notices_are_kept_when_the_systems_go_away() -> None:
    cluster = Cluster()
    run(cluster)
    cluster.git, cluster.secret, cluster.mark = dict(OTHER), dict(VALUE), None
    cluster.secret_version += 1

    class Away(Process):
        def consume(self, plan: Plan, record: Record) -> None:
            raise Unavailable("away")

    result = hand_over(PLAN, Away(cluster, quiet, "run-2"))
    assert isinstance(result.end, Unavailable) and result.steps == () and result.secret == "orders-db"
    assert result.notices == (Notice.GIT_CHANGED,)


def test_a_secret_that_flux_creates_again_is_consumed_again() -> None:
    cluster = Cluster()
    run(cluster)
    cluster.secret, cluster.mark = dict(VALUE), None
    cluster.secret_version += 1
    result = hand_over(PLAN, Process(cluster, quiet, "run-2"))
    assert result.steps == (Step.CONSUME,) and isinstance(result.end, Done)
    assert cluster.secret == {} and cluster.mark is not None and cluster.mark.at == result.end.record.at


def test_a_consumed_secret_that_is_gone_stays_handed_over() -> None:
    cluster = Cluster()
    run(cluster)
    cluster.secret = None
    assert hand_over(PLAN, Process(cluster, quiet)).steps == ()


EMPTIED = Bootstrap(None, mark=Mark("x", "y"), holds_data=False)
DIGEST, ELSE = digest(VALUE), digest(OTHER)
GIT = InGit(DIGEST)
HELD = Bootstrap(DIGEST)
CONSUMED = Bootstrap(None, mark=Mark(RECORD.id, RECORD.at), holds_data=False)
OWN = TrailEntry(RECORD.id, PLACE, RECORD.at, RECORD.run, RECORD.digest)
BEGUN = Begun(PLAN.id, PLACE)
BEFORE = TrailEntry("ho-x", ELSEWHERE)


@pytest.mark.parametrize(
    ("seen", "reason", "said"),
    [
        (Observation(InVault(), None, GIT), Reason.NO_BOOTSTRAP, ""),
        (Observation(InVault(), Bootstrap(None, missing=("user",)), GIT), Reason.KEYS_MISSING, "(user)"),
        (Observation(InVault(), Bootstrap(None), GIT), Reason.KEYS_MISSING, ""),
        (Observation(InVault(), replace(HELD, more=("a", "b")), GIT), Reason.MORE_KEYS, "(a, b)"),
        (Observation(InVault(), HELD, InGit(ELSE)), Reason.NOT_FROM_GIT, ""),
        (Observation(InVault(), HELD, InGit(unknown=Reason.NOT_IN_GIT, detail="r")), Reason.NOT_IN_GIT, "(r)"),
        (Observation(InVault(), HELD, InGit(DIGEST, Reason.GIT_AWAY, "r")), Reason.GIT_AWAY, "(r)"),
        (Observation(InVault(), HELD, InGit(ELSE, Reason.UNREADABLE)), Reason.UNREADABLE, ""),
        (Observation(InVault(1, ELSE), HELD, GIT), Reason.VALUE_DIFFERS, ""),
        (Observation(InVault(2, DIGEST), HELD, GIT), Reason.WRITTEN_OFTEN, "(version 2)"),
        (Observation(InVault(2, DIGEST), HELD, GIT, begun=BEGUN), Reason.WRITTEN_OFTEN, "(version 2)"),
        (Observation(InVault(1, None), HELD, GIT), Reason.DELETED_BEFORE, ""),
        (Observation(InVault(), EMPTIED, GIT), Reason.CONSUMED_WITHOUT_RECORD, "(handover x)"),
        (Observation(InVault(1, DIGEST), replace(HELD, mark=Mark("x", "y")), GIT), Reason.CONSUMED_WITHOUT_RECORD, ""),
        (Observation(InVault(1, DIGEST, broken="handover_at"), HELD, GIT), Reason.RECORD_BROKEN, "(handover_at)"),
        (Observation(InVault(1, DIGEST, broken="x"), HELD, GIT, SecretTrail(OWN)), Reason.RECORD_BROKEN, "(x)"),
        (
            Observation(InVault(1, DIGEST, replace(RECORD, id="ho-x", secret="a")), HELD, GIT),
            Reason.RECORD_FOREIGN,
            "(secret a, handover ho-x)",
        ),
        (Observation(InVault(1, DIGEST, RECORD), EMPTIED, GIT), Reason.CONSUMED_BY_ANOTHER, "(handover x)"),
        (Observation(InVault(1, DIGEST, RECORD), replace(HELD, more=("b", "c")), GIT), Reason.MORE_KEYS, "(b, c)"),
        (Observation(InVault(1, DIGEST), HELD, GIT, SecretTrail(OWN)), Reason.RECORD_LOST, f"(handover {PLAN.id})"),
        (
            Observation(InVault(), HELD, GIT, SecretTrail(None, (BEFORE,))),
            Reason.HANDED_OVER_BEFORE,
            f"(handover ho-x to {ELSEWHERE})",
        ),
        (
            Observation(InVault(), None, GIT, begun=Begun("ho-y", ELSEWHERE)),
            Reason.HANDED_OVER_BEFORE,
            f"(handover ho-y to {ELSEWHERE})",
        ),
        (Observation(InVault(), HELD, GIT, SecretTrail(OWN, (BEFORE,))), Reason.HANDED_OVER_BEFORE, "ho-x"),
    ],
)
def test_conflicts_are_named_and_nothing_is_done(seen: Observation, reason: Reason, said: str) -> None:
    move = next_move(PLAN, seen)
    assert isinstance(move, Blocked) and move.reason is reason
    assert str(move).startswith(f"orders-db: {reason}") and said in str(move)
    assert str(move).endswith(f". Fix: {reason.fix}.") and move.secret == "orders-db"
    assert ("(" in str(move).removesuffix(f". Fix: {reason.fix}.")) == bool(move.detail)


@pytest.mark.parametrize(
    ("seen", "step"),
    [
        (Observation(InVault(), HELD, GIT), Step.BEGIN),
        (Observation(InVault(1, DIGEST), HELD, GIT), Step.BEGIN),
        (Observation(InVault(), HELD, GIT, begun=BEGUN), Step.WRITE),
        (Observation(InVault(1, DIGEST), HELD, GIT, begun=BEGUN), Step.RECORD),
        (Observation(InVault(1, DIGEST, RECORD), HELD, GIT), Step.CONSUME),
        (Observation(InVault(1, DIGEST, RECORD), replace(HELD, mark=Mark("", "")), GIT), Step.CONSUME),
        (Observation(InVault(1, DIGEST, RECORD), replace(CONSUMED, mark=Mark(RECORD.id, "x")), GIT), Step.CONSUME),
        (Observation(InVault(1, DIGEST, RECORD), replace(CONSUMED, mark=None), GIT), Step.CONSUME),
        (Observation(InVault(1, DIGEST, RECORD), replace(CONSUMED, holds_data=True), GIT), Step.CONSUME),
        (Observation(InVault(1, DIGEST, RECORD), CONSUMED, GIT), Step.AUDIT),
        (Observation(InVault(1, DIGEST, RECORD), None, GIT), Step.AUDIT),
        (Observation(InVault(1, DIGEST, RECORD), replace(CONSUMED, more=("a",)), GIT), Step.AUDIT),
        (Observation(InVault(1, DIGEST, RECORD), CONSUMED, GIT, SecretTrail(OWN)), Done(RECORD)),
    ],
)
def test_the_next_step_follows_from_what_is_seen(seen: Observation, step: Step | Done) -> None:
    assert next_move(PLAN, seen) == step


def test_each_reason_says_what_ends_it() -> None:
    passing = {reason for reason in Reason if reason.wait is Wait.PASSES}
    assert passing == {Reason.NO_BOOTSTRAP, Reason.GIT_AWAY}
    for reason in Reason:
        assert Blocked("s", reason).passing == (reason in passing)
        assert str(reason) and reason.fix and str(reason) != reason.fix


def test_what_git_says_is_known_or_has_a_reason() -> None:
    with pytest.raises(ValueError, match="a reason"):
        InGit()


def test_a_digest_of_an_older_release_still_compares() -> None:
    old = replace(RECORD, digest=keyed_digest(KEY, VALUE))
    vault = InVault(1, DIGEST, old)
    own = replace(OWN, digest=old.digest)
    assert notices(Observation(vault, CONSUMED, GIT, SecretTrail(own))) == ()
    assert notices(Observation(vault, CONSUMED, InGit(ELSE), SecretTrail(own))) == (Notice.GIT_CHANGED,)
    newer = replace(RECORD, digest="hmac-sha512-v9:00")
    assert notices(Observation(replace(vault, record=newer), HELD, GIT)) == ()


def test_a_rotated_value_does_not_disturb_what_is_done() -> None:
    seen = Observation(InVault(7, ELSE, RECORD), CONSUMED, GIT, SecretTrail(OWN))
    assert next_move(PLAN, seen) == Done(RECORD)
    assert notices(seen) == ()


def test_notices() -> None:
    seen = Observation(InVault(1, None, RECORD), Bootstrap(ELSE), InGit(ELSE))
    assert notices(seen) == (Notice.GIT_CHANGED, Notice.BOOTSTRAP_CHANGED, Notice.VALUE_GONE)
    away = replace(seen, git=InGit(ELSE, Reason.GIT_AWAY))
    assert Notice.GIT_CHANGED in notices(away), "the last revision that could be read tells it too"
    assert notices(Observation(InVault(1, DIGEST), Bootstrap(ELSE), InGit(ELSE))) == ()
    equal = Observation(InVault(1, DIGEST, RECORD), HELD, GIT)
    assert notices(equal) == ()
    assert notices(replace(equal, bootstrap=None, git=InGit(unknown=Reason.NOT_IN_GIT))) == ()
    emptied = replace(equal, bootstrap=Bootstrap(ELSE, holds_data=False))
    assert notices(emptied) == ()


@pytest.mark.parametrize("field", ["at", "run", "digest"])
def test_an_event_that_differs_from_the_record_is_noticed(field: str) -> None:
    seen = Observation(InVault(1, DIGEST, RECORD), CONSUMED, GIT, SecretTrail(replace(OWN, **{field: "x"})))
    assert notices(seen) == (Notice.TRAIL_DIFFERS,)
    assert next_move(PLAN, seen) == Done(RECORD)


@pytest.mark.parametrize(
    "key", ["authority", "handover_id", "handover_digest", "handover_at", "handover_run", "secret"]
)
def test_a_record_is_whole_or_refused(key: str) -> None:
    metadata = RECORD.metadata()
    assert Record.from_metadata(metadata) == RECORD
    del metadata[key]
    with pytest.raises(ValueError, match=key):
        Record.from_metadata(metadata)


@pytest.mark.parametrize(("key", "text"), [("handover_at", "yesterday"), ("authority", "git")])
def test_a_record_with_a_field_that_cannot_be_is_refused(key: str, text: str) -> None:
    with pytest.raises(ValueError, match=key):
        Record.from_metadata(RECORD.metadata() | {key: text})


def test_a_record_keeps_the_revision_that_it_was_made_from() -> None:
    made = replace(RECORD, revision="main@sha1:1")
    assert Record.from_metadata(made.metadata()) == made and "handover_revision" not in RECORD.metadata()


def test_other_metadata_is_no_record() -> None:
    assert Record.from_metadata({"rotation_type": "static", "secret": "orders-db"}) is None


def test_the_id_tells_clusters_secrets_and_paths_apart() -> None:
    ids = {handover_id(*parts) for parts in itertools.product(("a", "b"), repeat=3)}
    assert len(ids) == 8
    assert handover_id("a", "b", "c") == handover_id("a", "b", "c")
    assert handover_id("ab", "c", "d") != handover_id("a", "bc", "d")
