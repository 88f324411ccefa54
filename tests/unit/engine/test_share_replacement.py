"""Vault's unseal shares follow a new cluster identity: `cluster reseal-shares`, killed wherever it can be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli import shares_cluster
from cli.commands import reseal_shares as command
from cli.main import main
from secret_authority.access.cluster_state import UNREACHABLE, ClusterState
from secret_authority.access.kubeconfig import ClusterConnection
from secret_authority.clients.age import Identity
from secret_authority.clients.kubernetes import Api, named
from secret_authority.contract.names import SHARES_CHANGE, SHARES_PERSON, UNSEAL_SHARES
from secret_authority.core.errors import LostRace, Unavailable
from secret_authority.engine.runtime_authority.seal_store import ClusterSealStore, read_shares
from secret_authority.engine.runtime_authority.share_replacement import NEXT, replace_shares
from secret_authority.engine.runtime_authority.unseal_shares import (
    SealedShares,
    SharesError,
    open_shares,
    reseal_shares,
    seal_shares,
)
from tests.fakes.kubernetes import FakeApi
from tests.support.fleets import Fleet, new_fleet

VALUES = tuple(f"share-value-{number}" for number in range(5))
FIRST, SECOND = named("secrets", "vault", UNSEAL_SHARES), named("secrets", "vault", NEXT)


class Killed(BaseException):
    pass


class MortalApi(FakeApi):
    """Ends the run at a change: before it is done, or after it was done and before the answer came."""

    def __init__(self) -> None:
        super().__init__()
        self.changes, self.kill_at, self.done_then = 0, -1, False
        self.error: BaseException = Killed()

    def _mortal(self, change: Callable[[], Any]) -> Any:
        self.changes += 1
        if self.changes - 1 != self.kill_at:
            return change()
        if self.done_then:
            change()
        raise self.error

    def create(self, path: str, body: Any) -> dict[str, Any]:
        made: dict[str, Any] = self._mortal(lambda: FakeApi.create(self, path, body))
        return made

    def delete(self, path: str, uid: str | None = None) -> None:
        self._mortal(lambda: self._delete(path, uid))

    def _delete(self, path: str, uid: str | None) -> None:
        found = self.objects.get(path)
        if found is not None and uid not in (None, found["metadata"]["uid"]):
            raise LostRace(path)
        super().delete(path)

    def store(self, place: str, body: dict[str, Any]) -> dict[str, Any]:
        assert place not in self.objects, "the Secret is immutable"
        body = {**body, "metadata": {**body["metadata"], "uid": f"uid-{self.version}"}}
        return super().store(place, body)


class Site:
    """Stored shares for an old cluster identity, and the identities that come after it."""

    def __init__(self) -> None:
        self.api = MortalApi()
        self.old, self.new, self.root, self.other_root = (Identity.generate() for _ in range(4))
        store = ClusterSealStore(self.api, "vault", "run", "configuration")
        store.store(seal_shares(VALUES, 3, [self.old.recipient, self.root.recipient]), placeholder=None)
        self.stored_by_the_engine = self.api.objects[FIRST]
        self.api.changes = 0

    def run(self, root: Identity | None = None) -> int:
        recipients = [self.new.recipient, self.root.recipient, self.other_root.recipient]
        opener = root or self.root
        return replace_shares(self.api, "vault", lambda sealed: reseal_shares(sealed, opener.secret, recipients))

    def opened(self, path: str, identity: Identity) -> tuple[str, ...]:
        sealed = read_shares(self.api.objects[path])
        return open_shares(SealedShares(sealed.ciphertexts, len(sealed.ciphertexts)), identity.secret)

    def assert_replaced(self) -> None:
        assert list(self.api.objects) == [FIRST]
        for identity in (self.new, self.root, self.other_root):
            assert self.opened(FIRST, identity) == VALUES
        with pytest.raises(SharesError, match="opens 0"):
            self.opened(FIRST, self.old)
        secret, before = self.api.objects[FIRST], self.stored_by_the_engine
        assert read_shares(secret).threshold == 3
        assert (secret["type"], secret["immutable"]) == (before["type"], True)
        assert secret["metadata"]["labels"] == before["metadata"]["labels"]


CHANGES = 4


def test_the_shares_are_sealed_to_the_present_recipients() -> None:
    site = Site()
    assert site.run() == 5
    assert site.api.changes == CHANGES, "a kill at each of them is tested below"
    site.assert_replaced()


@pytest.mark.parametrize("error", [Killed(), Unavailable("away")], ids=["killed", "unavailable"])
@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(CHANGES))
@pytest.mark.parametrize("again", [None, *range(CHANGES + 1)])
def test_a_run_that_ends_anywhere_loses_nothing(at: int, done: bool, error: BaseException, again: int | None) -> None:
    site = Site()
    site.api.kill_at, site.api.done_then, site.api.error = at, done, error
    with pytest.raises(type(error)):
        site.run()
    assert any(site.opened(path, site.root) == VALUES for path in site.api.objects)
    if again is not None:
        # The second run may end early as well, at any of its own changes.
        site.api.changes, site.api.kill_at = 0, again
        try:
            site.run()
        except type(error):
            assert any(site.opened(path, site.root) == VALUES for path in site.api.objects)
    site.api.kill_at = -1
    assert site.run() == 5
    site.assert_replaced()


def test_a_share_that_cannot_be_opened_changes_nothing() -> None:
    site = Site()
    before = dict(site.api.objects)
    with pytest.raises(SharesError, match="opens 0 of the 5"):
        site.run(Identity.generate())
    sealed = read_shares(before[FIRST])
    damaged = SealedShares((*sealed.ciphertexts[:4], "damaged"), 3)
    with pytest.raises(SharesError, match="opens 4 of the 5"):
        reseal_shares(damaged, site.root.secret, [site.new.recipient])
    assert site.api.objects == before and site.api.changes == 0


def test_another_run_that_was_faster_is_not_written_over() -> None:
    site = Site()

    def overtaken(sealed: SealedShares) -> SealedShares:
        site.run()
        return reseal_shares(sealed, site.root.secret, [site.old.recipient])

    with pytest.raises(LostRace):
        replace_shares(site.api, "vault", overtaken)
    assert site.opened(FIRST, site.new) == VALUES


def test_a_vault_without_shares_is_said() -> None:
    with pytest.raises(SharesError, match="stores no unseal shares"):
        replace_shares(MortalApi(), "vault", lambda sealed: sealed)


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return new_fleet(tmp_path)


def reseal(fleet: Fleet, monkeypatch: pytest.MonkeyPatch, cluster: ClusterState, api: Api) -> int:
    monkeypatch.setattr(shares_cluster, "read_cluster_state", lambda *_: cluster)
    monkeypatch.setattr(ClusterConnection, "api", lambda _: api)
    monkeypatch.setattr(command, "kubernetes_user", lambda _: "ada@example.org")
    kubeconfig = fleet.root_file.with_name("kubeconfig")
    kubeconfig.write_text("{current-context: here, contexts: [{name: here}]}")
    where = ["--repository", str(fleet.repository), "--kubeconfig", str(kubeconfig)]
    where += ["--root-identity", str(fleet.root_file)]
    return main(["cluster", "reseal-shares", "dev", *where])


def test_the_command(fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    api, present = MortalApi(), fleet.identity()
    store = ClusterSealStore(api, "vault", "run", "configuration")
    store.store(seal_shares(VALUES, 3, [Identity.generate().recipient, fleet.root().recipient]), placeholder=None)
    assert reseal(fleet, monkeypatch, ClusterState(True, recipient=present.recipient), api) == 0
    marks = api.objects[FIRST]["metadata"]["annotations"]
    assert marks[SHARES_PERSON] == "ada@example.org" and "reseal-shares" in marks[SHARES_CHANGE]
    assert "5 unseal shares sealed to cluster dev and 1 root holder(s)" in capsys.readouterr().out
    assert open_shares(store.load(), present.secret) == VALUES[:3]


def test_the_new_identity_has_to_be_planted_first(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    planted = Identity.generate().recipient
    assert reseal(fleet, monkeypatch, ClusterState(True, recipient=planted), MortalApi()) == 2
    assert f"the cluster holds the identity of {planted}, not of age1" in capsys.readouterr().err


def test_what_ends_the_command_is_said(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    api, cluster = MortalApi(), ClusterState(True, recipient=fleet.identity().recipient)
    assert reseal(fleet, monkeypatch, UNREACHABLE, api) == 1
    assert "does not answer; nothing was changed" in capsys.readouterr().err
    assert reseal(fleet, monkeypatch, cluster, api) == 1
    assert "nothing was changed: namespace vault stores no unseal shares" in capsys.readouterr().err
    shares = seal_shares(VALUES, 3, [fleet.root().recipient])
    ClusterSealStore(api, "vault", "run", "configuration").store(shares, placeholder=None)
    api.kill_at, api.changes, api.error = 2, 0, Unavailable("away")
    assert reseal(fleet, monkeypatch, cluster, api) == 1
    assert "not finished: away. No share is lost; run this command again" in capsys.readouterr().err
