"""The handover machine and its loop, in a world that can break before and after every request."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secret_authority.core.digest import keyed_digest
from secret_authority.core.errors import LostRace, Unavailable
from secret_authority.core.handover.runner import hand_over
from secret_authority.core.handover.state_machine import (
    Blocked,
    Bootstrap,
    Done,
    InVault,
    Mark,
    Notice,
    Observation,
    Plan,
    Reason,
    Record,
    Step,
    handover_id,
    next_move,
    notices,
)
from secret_authority.core.ledger.audit_trail import Event, handed_over
from secret_authority.core.phases import Authority
from tests.support.authority_seen import authority_seen

KEY = b"k" * 32
PLAN = Plan("orders-db", handover_id("dev", "orders-db", "platform-data/orders/api"))
VALUE = {"password": b"one"}
OTHER = {"password": b"two"}
RECORD = Record("orders-db", PLAN.id, keyed_digest(KEY, VALUE), "2026-01-01T00:00:00+00:00", "run-1")


class Killed(BaseException):
    """The process is gone at this point; nothing in it runs on."""


@dataclass
class Cluster:
    """What outlives a process: Git, the Secret, Vault and the trail. `watch` runs after every change."""

    git: dict[str, bytes] = field(default_factory=lambda: dict(VALUE))
    secret: dict[str, bytes] | None = field(default_factory=lambda: dict(VALUE))
    secret_version: int = 1
    mark: Mark | None = None
    versions: list[dict[str, bytes]] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    trail: list[Event] = field(default_factory=list)
    history: list[tuple[Authority, bool]] = field(default_factory=list)

    def watch(self) -> None:
        authority = authority_seen(InVault(len(self.versions), None, Record.from_metadata(self.metadata)))
        # What the outside sees beside the record: is there still a value where the authority says it is?
        self.history.append((authority, bool(self.git) if authority is Authority.GIT else bool(self.versions)))

    def state(self) -> object:
        free = ("handover_at", "handover_run")
        metadata = {key: value for key, value in self.metadata.items() if key not in free}
        mark = self.mark and self.mark.id
        return self.versions, metadata, self.secret, mark, [(e.id, e.digest, e.result) for e in self.trail]


class Process:
    """One run's view of the cluster. `fault` is asked before and after every request."""

    def __init__(self, cluster: Cluster, fault: Callable[[str], None], run: str = "run-1") -> None:
        self.cluster, self.fault, self.run = cluster, fault, run
        self.read: tuple[int, dict[str, bytes]] | None = None

    def observe_vault(self, plan: Plan) -> InVault:
        self.fault("read vault")
        c = self.cluster
        digest = keyed_digest(KEY, c.versions[-1]) if c.versions else None
        return InVault(len(c.versions), digest, Record.from_metadata(c.metadata))

    def observe_bootstrap(self, plan: Plan) -> Bootstrap | None:
        self.fault("read secret")
        c = self.cluster
        if c.secret is None:
            self.read = None
            return None
        self.read = (c.secret_version, dict(c.secret))
        digest = keyed_digest(KEY, c.secret) if c.secret else None
        return Bootstrap(digest, mark=c.mark, holds_data=bool(c.secret))

    def observe_git(self, plan: Plan) -> str | None:
        return keyed_digest(KEY, self.cluster.git) if self.cluster.git else None

    def observe_audit(self, plan: Plan) -> bool:
        self.fault("read trail")
        return any(event.id == plan.id for event in self.cluster.trail)

    def write(self, plan: Plan) -> None:
        self.fault("before write")
        if self.cluster.versions:
            raise LostRace
        assert self.read is not None
        self.cluster.versions.append(self.read[1])
        self.cluster.watch()
        self.fault("after write")

    def record(self, plan: Plan, digest: str) -> None:
        self.fault("before record")
        at = f"2026-01-01T00:00:{len(self.cluster.history) % 60:02}+00:00"
        self.cluster.metadata |= Record(plan.secret, plan.id, digest, at, self.run).metadata()
        self.cluster.watch()
        self.fault("after record")

    def consume(self, plan: Plan, record: Record) -> None:
        self.fault("before consume")
        if self.read is None or self.read[0] != self.cluster.secret_version:
            raise LostRace
        self.cluster.secret, self.cluster.mark = {}, Mark(record.id, record.at)
        self.cluster.secret_version += 1
        self.cluster.watch()
        self.fault("after consume")

    def audit(self, plan: Plan, record: Record) -> None:
        self.fault("before audit")
        if any(event.id == record.id for event in self.cluster.trail):
            raise LostRace
        self.cluster.trail.append(handed_over(record, "platform-data/orders/api"))
        self.cluster.watch()
        self.fault("after audit")


def quiet(_point: str) -> None:
    return


def run(cluster: Cluster, fault: Callable[[str], None] = quiet, name: str = "run-1") -> object:
    return hand_over(PLAN, Process(cluster, fault, name)).end


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


def test_a_quiet_run_hands_over_in_four_steps() -> None:
    cluster = Cluster()
    result = hand_over(PLAN, Process(cluster, quiet))
    assert result.steps == (Step.WRITE, Step.RECORD, Step.CONSUME, Step.AUDIT)
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
    seen = [authority for authority, _ in cluster.history]
    assert seen == sorted(seen, key=[Authority.GIT, Authority.VAULT].index), "authority moved back"
    assert all(there for _, there in cluster.history), "an instant without a value at the authority"


@given(
    st.lists(st.sets(st.integers(0, 25), max_size=3), min_size=1, max_size=8),
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


@given(st.integers(0, 25), st.integers(0, 25))
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


def test_flux_making_the_secret_anew_is_consumed_again() -> None:
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
DIGEST, ELSE = keyed_digest(KEY, VALUE), keyed_digest(KEY, OTHER)


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (Observation(InVault(), None), Reason.NO_BOOTSTRAP),
        (Observation(InVault(), Bootstrap(None, missing=("user",))), Reason.KEYS_MISSING),
        (Observation(InVault(), Bootstrap(DIGEST), git=ELSE), Reason.NOT_FROM_GIT),
        (Observation(InVault(1, ELSE), Bootstrap(DIGEST)), Reason.VALUE_DIFFERS),
        (Observation(InVault(2, DIGEST), Bootstrap(DIGEST)), Reason.WRITTEN_OFTEN),
        (Observation(InVault(1, None), Bootstrap(DIGEST)), Reason.DELETED_BEFORE),
        (Observation(InVault(), EMPTIED), Reason.CONSUMED_WITHOUT_RECORD),
        (Observation(InVault(1, DIGEST), Bootstrap(DIGEST, mark=Mark("x", "y"))), Reason.CONSUMED_WITHOUT_RECORD),
        (Observation(InVault(1, DIGEST, broken="handover_at"), Bootstrap(DIGEST)), Reason.RECORD_BROKEN),
        (
            Observation(InVault(1, DIGEST, Record("a", "ho-x", DIGEST, RECORD.at, "r")), Bootstrap(DIGEST)),
            Reason.RECORD_FOREIGN,
        ),
    ],
)
def test_conflicts_are_named_and_nothing_is_done(seen: Observation, reason: Reason) -> None:
    move = next_move(PLAN, seen)
    assert isinstance(move, Blocked) and move.reason is reason
    assert "orders-db" in str(move) and "Fix:" in str(move)
    assert move.passing == (reason in (Reason.NO_BOOTSTRAP, Reason.NOT_FROM_GIT))


def test_a_rotated_value_does_not_disturb_what_is_done() -> None:
    seen = Observation(
        InVault(7, ELSE, RECORD), Bootstrap(None, mark=Mark(RECORD.id, RECORD.at), holds_data=False), DIGEST, True
    )
    assert next_move(PLAN, seen) == Done(RECORD)
    assert notices(seen) == ()


def test_notices() -> None:
    seen = Observation(InVault(1, None, RECORD), Bootstrap(ELSE), git=ELSE)
    assert notices(seen) == (Notice.GIT_CHANGED, Notice.BOOTSTRAP_CHANGED, Notice.VALUE_GONE)
    assert notices(Observation(InVault(1, DIGEST), Bootstrap(ELSE), git=ELSE)) == ()


@pytest.mark.parametrize(
    "key", ["authority", "handover_id", "handover_digest", "handover_at", "handover_run", "secret"]
)
def test_a_record_is_whole_or_refused(key: str) -> None:
    metadata = RECORD.metadata()
    assert Record.from_metadata(metadata) == RECORD
    del metadata[key]
    with pytest.raises(ValueError, match=key):
        Record.from_metadata(metadata)


def test_other_metadata_is_no_record() -> None:
    assert Record.from_metadata({"rotation_type": "static", "secret": "orders-db"}) is None


def test_the_id_tells_clusters_secrets_and_paths_apart() -> None:
    ids = {handover_id(*parts) for parts in itertools.product(("a", "b"), repeat=3)}
    assert len(ids) == 8
    assert handover_id("a", "b", "c") == handover_id("a", "b", "c")
    assert handover_id("ab", "c", "d") != handover_id("a", "bc", "d")
