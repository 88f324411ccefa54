"""The drill of a rotation on three Vault servers: the active one steps down, or is killed, in the middle of it.

The engine's way leads to one server until that one fails, as a Service does. An outside watcher logs in all the time,
and each run ends in the one same state. `make test` takes one point of each kind, `make test-all` all of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from secret_authority.clients.vault import Vault, VaultRefusedError
from secret_authority.core.errors import Unavailable
from tests.support.postgres_process import PostgresServer, installations, postgres_server
from tests.support.rotation_faults import SHORT, Points, assert_ended, engine_at, figures
from tests.support.rotation_site import Cluster, Site, Watcher, done, work
from tests.support.rotation_under_faults import ReadyServers
from tests.support.storage_losses import SECONDS, health
from tests.support.vault_process import Server, servers, vault_program, wait_for

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(vault_program() is None, reason="no vault program: run `make tools`"),
]
USERS = ["orders_a", "orders_b"]
LAG = 0.01


@dataclass
class Three:
    """Three servers with one unseal share."""

    all: list[Server]
    share: str
    root: Vault
    target: PostgresServer

    def active(self) -> Server:
        wait_for(lambda: any(health(one) == 200 for one in self.all), "a server is active", SECONDS)
        return next(one for one in self.all if health(one) == 200)

    def step_down(self) -> None:
        before = self.active()
        before.api.with_token(self.root.token or "").write("sys/step-down", {})

    def kill(self) -> None:
        self.active().kill()

    def whole(self) -> None:
        """Start and unseal what is down; wait until another one may be lost."""
        for one in self.all:
            if one.process is None:
                one.start()
        wait_for(self._serve, "all three serve", SECONDS)
        wait_for(self._voters, "all three vote", SECONDS)

    def _serve(self) -> bool:
        for one in self.all:
            if health(one) == 503:
                with contextlib.suppress(Unavailable, VaultRefusedError):
                    one.api.write("sys/unseal", {"key": self.share})
        return sorted(str(health(one)) for one in self.all) == ["200", "429", "429"]

    def _voters(self) -> bool:
        with contextlib.suppress(Unavailable, VaultRefusedError):
            state = self.root.read("sys/storage/raft/autopilot/state") or {}
            found = state["data"]
            return bool(found["healthy"]) and len(found.get("voters") or ()) == len(self.all)
        return False


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Three]:
    with (
        servers(tmp_path_factory.mktemp("three"), count=3) as vaults,
        postgres_server(installations()[max(installations())]) as target,
    ):
        wait_for(lambda: all(health(one) in (501, 503) for one in vaults), "all answer", SECONDS)
        made = vaults[0].api.write("sys/init", {"secret_shares": 1, "secret_threshold": 1})
        share = str(made["keys"][0])
        vaults[0].api.write("sys/unseal", {"key": share})
        found = Three(vaults, share, ReadyServers(vaults, str(made["root_token"])), target)
        found.whole()
        yield found


def writes(three: Three) -> list[str]:
    """Each request of an undisturbed rotation that changes something in Vault: the points before and after it."""
    site, seen = Site(three.root, three.target, USERS), Points()
    with Cluster(three.root, lag=LAG) as cluster, engine_at(site, cluster, seen) as engine:
        site.ask("r1")
        work(engine, lambda: done(site), "the rotation", SECONDS)
    return [name for name in seen.seen if name.split()[1] == "vault" and ("POST" in name or "PATCH" in name)]


def disturbed(three: Three, at: str, act: Callable[[], None]) -> int:
    """One rotation with one loss of the active server. Returns the number of logins."""
    three.whole()
    site, passing = Site(three.root, three.target, USERS), Points(at, act)

    def ended() -> bool:
        with contextlib.suppress(Unavailable, VaultRefusedError):
            return done(site)
        return False

    with Cluster(three.root, lag=LAG) as cluster, Watcher(three.target, cluster) as watcher:
        site.ask("r1")
        with engine_at(site, cluster, passing) as engine:
            work(engine, ended, f"the end after {at}", SECONDS)
        wait_for(lambda: watcher.logins > 3, "the watcher has looked")
    assert passing.passed, f"{at} was not passed"
    three.whole()
    assert_ended(site, watcher, at)
    return watcher.logins


@pytest.mark.parametrize("short", SHORT)
@pytest.mark.parametrize("loss", [Three.step_down, Three.kill])
def test_the_active_server_is_lost_in_the_middle(
    three: Three, loss: Callable[[Three], None], short: bool, record_property: Callable[[str, object], None]
) -> None:
    points = writes(three)
    assert len(points) >= 10
    wanted = points[len(points) // 2 :][:1] if short else points
    logins = [disturbed(three, at, lambda: loss(three)) for at in wanted]
    figures(f"{loss.__name__} of the active server", logins, record_property)
