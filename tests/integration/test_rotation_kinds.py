"""Every rotator but the database's, disturbed at each request: a rotation ends in one state, and no user is refused.

The drill of the database is in test_rotation_drill.py. Here are the random value, the key set, the certificate (while
its CA is replaced) and the key of an issuer, with a real Vault and a real issuer. `make test` takes two points of
each, `make test-all` all of them.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from secret_authority.clients.vault import Vault
from secret_authority.core.rotation.document import State
from secret_authority.core.rotation.rotator import Fence, Value
from secret_authority.engine.rotation.rotators.issuer import IssuerThatCreates
from tests.support.issuer import Issuer, serving
from tests.support.rotation_faults import SHORT, Points, cut_off, engine_at
from tests.support.rotation_kinds import Created, Generated, Issued, KeySet, Tls, Users
from tests.support.rotation_site import Cluster, HandedOver, Killed, done, unsealed_vault, work
from tests.support.vault_process import vault_program, wait_for

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(vault_program() is None, reason="no vault program: run `make tools`"),
]
KINDS: dict[str, Callable[[Issuer], Generated]] = {
    "generated": lambda _: Generated(),
    "key-set": lambda _: KeySet(),
    "tls": lambda _: Tls(),
    "issuer": Issued,
    "issuer-creates": Created,
}
LAG = 0.01


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vault]:
    with unsealed_vault(tmp_path_factory.mktemp("vault")) as (made, _):
        yield made


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Issuer]:
    with serving(tmp_path_factory.mktemp("issuer")) as made:
        yield made


def killed() -> None:
    raise Killed


def disturbed(root: Vault, kind: Generated, points: Points) -> tuple[HandedOver, Users]:
    """One rotation with at most one disturbance; after a kill another engine finishes it."""
    site = kind.site(root)
    with Cluster(root, lag=LAG) as cluster, Users(kind, cluster) as users:
        site.ask("r1")
        with engine_at(site, cluster, points) as engine, contextlib.suppress(Killed):
            work(engine, lambda: done(site), f"the end after {points.at}", 180)
        if not done(site):
            work(site.engine(cluster), lambda: done(site), f"the end after a kill {points.at}", 180)
        before = users.uses
        wait_for(lambda: users.uses > before + 3, "they have used what is newest")
    return site, users


def assert_ended(kind: Generated, site: HandedOver, users: Users, what: str) -> None:
    document = site.document()
    assert (document.state, document.generation, document.result) == (State.IDLE, 1, "done"), what
    assert kind.problem(site.value()) == "" and len(site.events()) == 1, what
    assert users.refused == 0, f"somebody was refused: {what}"


def wanted(points: list[str], system: str, short: bool) -> list[str]:
    """The points of a system, or the one in the middle of them."""
    # The status is written when it has changed: whether a certain run writes it once more is a matter of time.
    found = [name for name in points if name.split()[1] == system and name.split()[2] not in ("create", "merge")]
    return found[len(found) // 2 :][:1] if short else found


@pytest.mark.parametrize("short", SHORT)
@pytest.mark.parametrize("name", KINDS)
def test_killed_or_cut_off_at_each_request_a_rotation_ends_in_one_state(
    root: Vault, issuer: Issuer, name: str, short: bool, record_property: Callable[[str, object], None]
) -> None:
    seen = Points()
    kind = KINDS[name](issuer)
    assert_ended(kind, *disturbed(root, kind, seen), "undisturbed")
    tried = uses = 0
    faults = [(killed, 0, system) for system in ("vault", "target", "api")]
    faults += [(cut_off, 4, system) for system in ("vault", "target", "api")]
    for act, cut, system in faults[::4] if short else faults:
        for at in wanted(seen.seen, system, short):
            points, kind = Points(at, act, cut), KINDS[name](issuer)
            site, users = disturbed(root, kind, points)
            assert points.passed, f"{at} was not passed"
            assert_ended(kind, site, users, f"{act.__name__} {at}")
            tried, uses = tried + 1, uses + users.uses
    text = f"{name}: {tried} of {tried} points, {uses} uses, 0 refused"
    record_property("figures", text)
    print(text)


def test_without_an_idempotency_key_a_key_that_nobody_knows_is_left(
    root: Vault, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the drill of an issuer that creates has to find: each try asks under a name of its own."""
    complete = IssuerThatCreates.complete

    def another(self: IssuerThatCreates, value: Value, fence: Fence) -> Value:
        return complete(self, value, replace(fence, id=secrets.token_hex(8)))

    monkeypatch.setattr(IssuerThatCreates, "complete", another)
    kind = Created(issuer)
    site, _ = disturbed(root, kind, Points("after target complete (1)", killed))
    assert done(site) and kind.problem(site.value()) == "the issuer has 1 other keys"
