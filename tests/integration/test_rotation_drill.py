"""The drill: everything around a rotation goes wrong, at every request; an outside watcher logs in all the time.

With two users that take turns nobody is ever refused, and every run ends in one same state. What is left out of the
protocol is found by the very same watcher. `make test` takes a few points of each kind, `make test-all` all of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from secret_authority.clients.vault import Vault
from secret_authority.core.rotation import runner
from secret_authority.core.rotation.document import State
from secret_authority.core.rotation.rotator import Accepts, Fence, Value
from secret_authority.core.rotation.state_machine import Delivery, Move, Observation, Rules, next_move
from secret_authority.engine.rotation.evidence import DeliveryEvidence
from secret_authority.engine.rotation.rotators import postgresql
from secret_authority.engine.rotation.rotators.postgresql import PostgresqlRotator
from tests.support.postgres_process import PostgresServer, installations, postgres_server
from tests.support.rotation_faults import SHORT, Points, assert_ended, cut_off, engine_at, figures
from tests.support.rotation_site import Cluster, Site, Watcher, done, unsealed_vault, work
from tests.support.vault_process import vault_program, wait_for

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(vault_program() is None, reason="no vault program: run `make tools`"),
]
USERS = ["orders_a", "orders_b"]
LAG = 0.01


@dataclass(frozen=True)
class Surroundings:
    vault: Vault
    share: str
    server: PostgresServer

    def seal(self) -> None:
        self.vault.write("sys/seal", {})

    def unseal(self) -> None:
        self.vault.write("sys/unseal", {"key": self.share})
        wait_for(lambda: self.vault.health() == 200, "Vault is active again")


@pytest.fixture(scope="module")
def around(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surroundings]:
    newest = max(installations())
    with (
        unsealed_vault(tmp_path_factory.mktemp("vault")) as (vault, share),
        postgres_server(installations()[newest]) as server,
    ):
        yield Surroundings(vault, share, server)


@pytest.fixture(scope="module")
def points(around: Surroundings) -> list[str]:
    """All points that an undisturbed rotation passes."""
    site, seen = Site(around.vault, around.server, USERS), Points()
    with Cluster(around.vault, lag=LAG) as cluster, engine_at(site, cluster, seen) as engine:
        site.ask("r1")
        work(engine, lambda: done(site), "the rotation")
    assert len(seen.seen) >= 40, seen.seen
    return seen.seen


def of(points: list[str], *systems: str) -> list[str]:
    return [name for name in points if name.split()[1] in systems]


def some(points: list[str], short: bool, number: int) -> list[str]:
    """`number` points evenly over a rotation, or all."""
    return points if not short else points[:: max(1, len(points) // number)][:number]


def disturbed(
    around: Surroundings, at: str, act: Callable[[], None], cut: int = 0, after: Callable[[int], None] = lambda _: None
) -> int:
    """One rotation with one disturbance; `after` is called after each round. Returns the number of logins."""
    site, passing = Site(around.vault, around.server, USERS), Points(at, act, cut)
    rounds = 0

    def until() -> bool:
        nonlocal rounds
        if passing.passed:
            rounds += 1
            after(rounds)
        return around.vault.health() == 200 and done(site)

    with Cluster(around.vault, lag=LAG) as cluster, Watcher(around.server, cluster) as watcher:
        site.ask("r1")
        with engine_at(site, cluster, passing) as engine:
            work(engine, until, f"the end after {at}", 60)
        wait_for(lambda: watcher.logins > 3, "the watcher has looked")
    assert passing.passed, f"{at} was not passed"
    assert_ended(site, watcher, at)
    return watcher.logins


@pytest.mark.parametrize("short", SHORT)
@pytest.mark.parametrize("system", ["vault", "target", "api"])
def test_the_network_is_cut_before_and_after_each_request(
    around: Surroundings, points: list[str], system: str, short: bool, record_property: Callable[[str, object], None]
) -> None:
    # The status is written when it has changed: whether a certain run writes it once more is a matter of time.
    looks = [name for name in of(points, system) if name.split()[2] not in ("create", "merge")]
    wanted = some(looks, short, 4)
    assert len(wanted) >= 4
    logins = [disturbed(around, at, cut_off, cut=4) for at in wanted]
    figures(f"{system} cut off", logins, record_property)


@pytest.mark.parametrize("short", SHORT)
def test_vault_is_sealed_in_the_middle(
    around: Surroundings, points: list[str], short: bool, record_property: Callable[[str, object], None]
) -> None:
    def unseal(rounds: int) -> None:
        if rounds == 3:
            around.unseal()

    wanted = some([name for name in of(points, "vault") if "POST" in name or "PATCH" in name], short, 3)
    logins = [disturbed(around, at, around.seal, after=unseal) for at in wanted]
    figures("Vault sealed", logins, record_property)


@pytest.mark.parametrize("short", SHORT)
def test_the_target_is_restarted_in_the_middle(
    around: Surroundings, points: list[str], short: bool, record_property: Callable[[str, object], None]
) -> None:
    def restart() -> None:
        around.server.kill()
        around.server.start()

    wanted = some([name for name in of(points, "target") if "provision" not in name], short, 3)
    logins = [disturbed(around, at, restart) for at in wanted]
    figures("target restarted", logins, record_property)


def paused_for_two_generations(around: Surroundings, at: str) -> tuple[Site, Watcher]:
    """An engine stops at a point, as with SIGSTOP; another one finishes, and two rotations more; then it goes on."""
    site, stopped, go_on = Site(around.vault, around.server, USERS), threading.Event(), threading.Event()

    def stop() -> None:
        stopped.set()
        assert go_on.wait(120)

    with Cluster(around.vault, lag=LAG) as cluster, Watcher(around.server, cluster) as watcher:
        site.ask("r1")
        with engine_at(site, cluster, Points(at, stop)) as paused:
            thread = threading.Thread(target=lambda: work(paused, stopped.is_set, at, 60), daemon=True)
            thread.start()
            wait_for(stopped.is_set, f"the engine is at {at}")
            other = site.engine(cluster)
            work(other, lambda: done(site), "the rotation")
            for generation in (2, 3):
                site.ask(f"r{generation}")
                work(other, lambda wanted=generation: done(site, wanted), f"generation {generation}")  # type: ignore[misc]
            go_on.set()
            thread.join(60)
            assert not thread.is_alive()
            before = watcher.logins
            wait_for(lambda: watcher.logins > before + 6, "the watcher has looked afterwards")
    return site, watcher


@pytest.mark.parametrize("short", SHORT)
def test_an_engine_that_was_paused_for_two_generations_changes_nothing(
    around: Surroundings, points: list[str], short: bool, record_property: Callable[[str, object], None]
) -> None:
    changes = [name for name in points if "POST" in name or "PATCH" in name or "apply" in name or "revoke" in name]
    wanted = ["before target apply (1)", "before target revoke (1)"] if short else changes
    logins = []
    for at in wanted:
        site, watcher = paused_for_two_generations(around, at)
        assert watcher.denied == [] and site.document().generation == 3, at
        assert site.value()["username"] == "orders_b" and site.accepted(site.value()), at
        assert not site.accepted(site.value(3)) and len(site.events()) == 3, at
        logins.append(watcher.logins)
    figures("paused for two generations", logins, record_property)


# What the watcher has to find: each rule of the protocol, left out.


def _revoke_early(patch: pytest.MonkeyPatch) -> None:
    def mutant(rules: Rules, seen: Observation) -> Move:
        return next_move(replace(rules, drain=timedelta()), replace(seen, delivery=Delivery(), in_use=0))

    patch.setattr(runner, "next_move", mutant)


def _publish_before_apply(patch: pytest.MonkeyPatch) -> None:
    def mutant(rules: Rules, seen: Observation) -> Move:
        return next_move(rules, replace(seen, accepts_pending=Accepts.YES))

    patch.setattr(runner, "next_move", mutant)


def _no_pending_value(patch: pytest.MonkeyPatch) -> None:
    """Each try makes a value of its own, and what is published is another one."""
    apply, accepts = PostgresqlRotator.apply, PostgresqlRotator.accepts
    applied: set[str] = set()

    def other(self: PostgresqlRotator, value: Value, fence: Fence) -> None:
        applied.add(value.fields["password"])
        apply(self, Value({**value.fields, "password": f"{value.fields['password']}-again"}), fence)

    def believed(self: PostgresqlRotator, value: Value) -> Accepts:
        return Accepts.YES if value.fields["password"] in applied else accepts(self, value)

    patch.setattr(PostgresqlRotator, "apply", other)
    patch.setattr(PostgresqlRotator, "accepts", believed)


def _delivery_by_external_secrets_alone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(DeliveryEvidence, "pods_without", lambda *_: iter(()))


def _unreachable_is_accepted(patch: pytest.MonkeyPatch) -> None:
    """The target is away just when the new value should be applied."""
    ask, away = PostgresqlRotator.accepts, iter(range(2))

    def mutant(rules: Rules, seen: Observation) -> Move:
        if seen.accepts_pending is Accepts.UNKNOWN:
            seen = replace(seen, accepts_pending=Accepts.YES)
        return next_move(rules, seen)

    def accepts(self: PostgresqlRotator, value: Value) -> Accepts:
        pending = value.fields["username"] == "orders_b"
        return Accepts.UNKNOWN if pending and next(away, None) is not None else ask(self, value)

    patch.setattr(runner, "next_move", mutant)
    patch.setattr(PostgresqlRotator, "accepts", accepts)


LOCKING_OUT = {
    "revoked before delivery": _revoke_early,
    "published before it is applied": _publish_before_apply,
    "no pending value": _no_pending_value,
    "delivery believed of External Secrets alone": _delivery_by_external_secrets_alone,
    "unreachable read as accepted": _unreachable_is_accepted,
}


@pytest.mark.parametrize("name", LOCKING_OUT)
def test_the_watcher_finds_what_a_missing_rule_breaks(
    around: Surroundings, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    site = Site(around.vault, around.server, USERS)
    LOCKING_OUT[name](monkeypatch)
    # The pods are not replaced before the end: on a busy machine a login takes longer than any short lag.
    with Cluster(around.vault, pod_lag=120) as cluster, Watcher(around.server, cluster) as watcher:
        engine = site.engine(cluster)
        site.ask("r1")
        work(engine, lambda: bool(watcher.denied), "somebody is refused", 60)


@pytest.mark.parametrize("mutant", [False, True])
def test_unreachable_read_as_refused_leaves_the_old_login_open(
    around: Surroundings, monkeypatch: pytest.MonkeyPatch, mutant: bool
) -> None:
    """Nobody is locked out by this one: the watcher sees that a login of a rotation that is "done" still works."""
    site = Site(around.vault, around.server, USERS)
    ask, away = PostgresqlRotator.accepts, iter(range(3))

    def decide(rules: Rules, seen: Observation) -> Move:
        if seen.accepts_retired is Accepts.UNKNOWN:
            seen = replace(seen, accepts_retired=Accepts.NO)
        return next_move(rules, seen)

    def accepts(self: PostgresqlRotator, value: Value) -> Accepts:
        old = value.fields["username"] == "orders_a" and site.document().state is State.RETIRING
        return Accepts.UNKNOWN if old and next(away, None) is not None else ask(self, value)

    if mutant:
        monkeypatch.setattr(runner, "next_move", decide)
    monkeypatch.setattr(PostgresqlRotator, "accepts", accepts)
    with Cluster(around.vault, lag=LAG) as cluster:
        site.ask("r1")
        work(site.engine(cluster), lambda: done(site), "the rotation")
    assert site.document().result == "done" and site.accepted(site.value(1)) is mutant


def test_without_a_fence_a_paused_engine_locks_everybody_out(
    around: Surroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "generation_of", lambda _comment: (0, ""))
    site, watcher = paused_for_two_generations(around, "before target apply (1)")
    assert watcher.denied and not site.accepted(site.value())
