"""The first minutes of a Vault and what becomes of its shares, without a Vault process.

tests/integration/test_vault_seal.py does the same with real ones.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from pyrage import x25519

from secret_authority.clients import vault as vault_client
from secret_authority.clients.vault import Vault, VaultRefusedError
from secret_authority.contract.engine_settings import Identities
from secret_authority.contract.names import INITIALISATION, UNSEAL_SHARES
from secret_authority.core.errors import LostRace, Unavailable
from secret_authority.engine.runtime_authority import seal as sealing
from secret_authority.engine.runtime_authority.initial_configuration import FirstConfiguration
from secret_authority.engine.runtime_authority.seal import Seal, SealProblem, SealSettings, Stage
from secret_authority.engine.runtime_authority.seal_store import (
    ClusterSealStore,
    is_placeholder,
    placeholder_secret,
)
from secret_authority.engine.runtime_authority.unseal_shares import SharesError, open_shares, seal_shares
from tests.fakes.kubernetes import FakeApi
from tests.support.http_server import Handler, served

SHARES = ("one", "two", "three", "four", "five")
MARKER = f"api/v1/namespaces/vault/configmaps/{INITIALISATION}"
SECRET = f"api/v1/namespaces/vault/secrets/{UNSEAL_SHARES}"
ACCOUNTS = Identities(("a", "b"), ("a", "b"), ("a", "b"))


class Pod(Vault):
    """A Vault pod in memory, which opens with three of `SHARES`. `lose` is raised instead of sys/init's answer."""

    def __init__(self, initialised: bool = False) -> None:
        self.address = "https://vault-0"
        self.initialised, self.sealed, self.given = initialised, True, [""] * 0
        self.lose: Exception | None = None
        self.refuse = False
        self.n, self.t = 5, 3
        self.asked: list[str] = []

    def read(self, path: str) -> dict[str, Any] | None:
        assert path == "sys/seal-status"
        return {
            "initialized": self.initialised,
            "sealed": self.sealed,
            "progress": len(self.given),
            "n": self.n,
            "t": self.t,
        }

    def with_token(self, token: str) -> Vault:
        return self

    def health(self) -> int:
        return 503 if self.sealed else 200

    def write(self, path: str, data: Any, seconds: float = 15) -> dict[str, Any]:
        self.asked.append(path)
        if path == "sys/init":
            assert seconds >= 600, "the answer is awaited for minutes"
            if self.refuse:
                raise VaultRefusedError("POST", path, 400, ["Vault is already initialized"])
            self.initialised = True
            if self.lose is not None:
                raise self.lose
            return {"keys_base64": list(SHARES), "root_token": "t"}
        assert path == "sys/unseal"
        if data.get("reset"):
            self.given = []
        else:
            self.given.append(data["key"])
            if len(self.given) == 3:
                self.sealed, self.given = not set(SHARES) >= set(self.given), []
        return {"sealed": self.sealed}


class Site:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, pod: Pod | None = None) -> None:
        self.api, self.pod = FakeApi(), pod or Pod()
        self.identity = x25519.Identity.generate()
        self.configured = 0
        monkeypatch.setattr(sealing, "configure", self.configure)
        monkeypatch.setattr(sealing, "revoke_every_root", lambda _: 1)
        monkeypatch.setattr(sealing, "generate_root", self.generate_root)

    def configure(self, *_: Any) -> None:
        self.configured += 1

    def generate_root(self, _: Vault, shares: Any, own: str, note: Any) -> str:
        assert set(shares) <= set(SHARES)
        return "root"

    def store(self) -> ClusterSealStore:
        return ClusterSealStore(self.api, "vault", "run", "fingerprint")

    def seal(self, *, heartbeat: Any = lambda: None, store: ClusterSealStore | None = None) -> Seal:
        recipients = (str(self.identity.to_public()),)
        settings = SealSettings(5, 3, lambda _: recipients, FirstConfiguration(ACCOUNTS))
        return Seal([self.pod], store or self.store(), settings, lambda: str(self.identity), lambda _: None, heartbeat)

    def keep_shares(self, *recipients: str) -> None:
        self.store().store(seal_shares(SHARES, 3, recipients or (str(self.identity.to_public()),)), None)


def test_from_nothing_to_service(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch)
    assert site.seal().reconcile().in_service and site.configured == 1
    assert set(open_shares(site.store().load(), str(site.identity))) <= set(SHARES)


class Joining(Pod):
    """It has no data: it takes its shares, and opens when those of the others have arrived."""

    def __init__(self) -> None:
        super().__init__(initialised=True)
        self.opened = 0
        self.away = False

    def read(self, path: str) -> dict[str, Any] | None:
        if self.away:
            raise Unavailable("it starts")
        return super().read(path)

    def write(self, path: str, data: Any, seconds: float = 15) -> dict[str, Any]:
        answer = super().write(path, data, seconds)
        if not answer["sealed"]:
            self.sealed, self.opened = True, self.opened + 1
        return {"sealed": True}


def joining(monkeypatch: pytest.MonkeyPatch) -> tuple[Joining, Seal]:
    """A pod that joins, and the engine that has the shares for it."""
    pod = Joining()
    site = Site(monkeypatch, pod)
    site.keep_shares()
    return pod, site.seal()


def test_a_pod_that_joins_gets_its_shares_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opened twice, Vault 1.21 does not notice that it has lost its leadership."""
    (pod, seal), now = joining(monkeypatch), [1000.0]
    monkeypatch.setattr(sealing.time, "monotonic", lambda: now[0])
    for _ in range(30):
        assert seal.reconcile().problem is SealProblem.SEALED
        now[0] += 2
    assert pod.opened == 1
    # A new process of the pod takes them again, and so does one that has not opened for long.
    pod.away = True
    seal.reconcile()
    pod.away = False
    seal.reconcile()
    assert pod.opened == 2
    now[0] += sealing.JOIN_SECONDS
    seal.reconcile()
    assert pod.opened == 3
    # Sealed again after it has served.
    pod.sealed = False
    seal.reconcile()
    pod.sealed = True
    seal.reconcile()
    assert pod.opened == 4


def test_a_pod_that_does_not_answer_the_last_share_gets_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pod, seal = joining(monkeypatch)
    answer = pod.write

    def late(path: str, data: Any, seconds: float = 15) -> dict[str, Any]:
        before = pod.opened
        given = answer(path, data, seconds)
        if pod.opened > before:
            raise Unavailable("its answer takes too long")
        return given

    monkeypatch.setattr(pod, "write", late)
    for _ in range(5):
        seal.reconcile()
    assert pod.opened == 1


def test_a_pod_that_has_not_found_the_others_is_tried_at_every_look(monkeypatch: pytest.MonkeyPatch) -> None:
    pod, seal = joining(monkeypatch)
    tried: list[str] = []

    def refused(path: str, data: Any, seconds: float = 15) -> dict[str, Any]:
        tried.append(path)
        raise VaultRefusedError("POST", path, 400, ["Vault is not initialized"])

    monkeypatch.setattr(pod, "write", refused)
    for _ in range(3):
        seal.reconcile()
    assert len(tried) == 3


def test_an_empty_vault_whose_shares_were_lost_is_one_condition_with_one_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site = Site(monkeypatch)
    site.pod.lose = Unavailable("the connection was cut")
    with pytest.raises(Unavailable):
        site.seal().reconcile()
    state = site.seal().reconcile()
    assert state.problem is SealProblem.SHARES_LOST and not state.in_service
    assert str(state.problem).count("kubectl") == 1 and "pvc/data-vault-0" in str(state.problem)
    # What the command does: the volume, the pod and the record are gone.
    del site.api.objects[MARKER]
    site.pod = Pod()
    assert site.seal().reconcile().in_service


def lost(site: Site) -> None:
    """A Vault that was initialised, and whose shares nobody has."""
    site.pod.lose = Unavailable("the connection was cut")
    with pytest.raises(Unavailable):
        site.seal().reconcile()


def cleared(site: Site) -> None:
    """What the operator's program does: the place of the shares is taken, the volume and the pod are gone."""
    body = placeholder_secret("admin")
    if (found := site.api.get(SECRET)) is None:
        site.api.create(SECRET.rpartition("/")[0], body)
    else:
        body["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"]
        site.api.replace(SECRET, body)
    site.pod = Pod()


def test_a_cleared_vault_is_initialised_again_without_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch)
    lost(site)
    cleared(site)
    assert site.store().stage() is Stage.CLAIMED
    assert site.seal().reconcile().in_service and site.configured == 1
    assert set(open_shares(site.store().load(), str(site.identity))) <= set(SHARES)
    assert site.api.objects[SECRET]["immutable"]


@pytest.mark.parametrize("clearings", [1, 2])
@pytest.mark.parametrize(
    "moment", ["before the next one claims", "while the next one stores", "when Vault is in service"]
)
def test_an_engine_that_wakes_up_after_the_clearing_stores_nothing_and_opens_nothing(
    monkeypatch: pytest.MonkeyPatch, clearings: int, moment: str
) -> None:
    site = Site(monkeypatch)
    if clearings == 2:
        lost(site)
        cleared(site)
    first_pod, late, successor = site.pod, site.store(), site.store()
    store_late, store_successor = late.store, successor.store

    def wake_up(shares: Any, placeholder: Any) -> None:
        with pytest.raises(LostRace):
            store_late(shares, placeholder)

    def stopped(shares: Any, placeholder: Any) -> None:
        """It has the answer of sys/init when it is stopped; meanwhile Vault is cleared."""
        cleared(site)
        if moment == "before the next claims":
            wake_up(shares, placeholder)
        if moment == "while the next stores":
            monkeypatch.setattr(successor, "store", lambda *own: (wake_up(shares, placeholder), store_successor(*own)))
        assert site.seal(store=successor).reconcile().in_service
        store_late(shares, placeholder)

    monkeypatch.setattr(late, "store", stopped)
    with pytest.raises(LostRace):
        site.seal(store=late).reconcile()
    assert set(open_shares(site.store().load(), str(site.identity))) <= set(SHARES)
    assert first_pod.sealed and "sys/unseal" not in first_pod.asked and site.configured == 1


def test_an_engine_whose_shares_are_stored_is_not_cleared_from_under(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch)
    site.keep_shares()
    with pytest.raises(LostRace):
        site.api.create(SECRET.rpartition("/")[0], placeholder_secret("admin"))
    with pytest.raises(LostRace):
        site.store().placeholder()


def test_a_placeholder_that_is_gone_is_a_lost_race(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch)
    cleared(site)
    seen = site.store().placeholder()
    del site.api.objects[SECRET]
    with pytest.raises(LostRace):
        site.store().store(seal_shares(SHARES, 3, [str(site.identity.to_public())]), seen)


@pytest.mark.parametrize("change", [{"data": {"share-1.age": "eA=="}}, {"type": "Opaque"}, {"metadata": {"name": "x"}}])
def test_only_an_empty_secret_with_the_mark_is_a_placeholder(change: dict[str, Any]) -> None:
    assert is_placeholder(placeholder_secret("admin"))
    assert not is_placeholder(placeholder_secret("admin") | change)


def test_a_placeholder_gives_no_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch)
    cleared(site)
    with pytest.raises(SharesError, match="was cleared before it held anything"):
        site.store().load()


@pytest.mark.parametrize("sign", ["unsealed", "other shares", "refused", "no claim"])
def test_a_vault_that_may_hold_values_is_never_called_empty(monkeypatch: pytest.MonkeyPatch, sign: str) -> None:
    site = Site(monkeypatch, Pod(initialised=sign != "refused"))
    if sign == "refused":
        site.pod.refuse = True
        with pytest.raises(VaultRefusedError):
            site.seal().reconcile()
        site.pod.initialised = True
    elif sign != "no claim":
        site.store().claim()
    if sign == "unsealed":
        site.pod.sealed = False
    if sign == "other shares":
        site.pod.n, site.pod.t = 1, 1
    state = site.seal().reconcile()
    assert state.problem is SealProblem.STRANGER and "kubectl" not in str(state.problem)


def test_a_deleted_record_heals_while_the_shares_open(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch, Pod(initialised=True))
    site.keep_shares()
    state = site.seal().reconcile()
    assert state.in_service and site.configured == 1
    assert site.store().stage() is Stage.CONFIGURED


def test_shares_of_another_vault_do_not_heal_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch, Pod(initialised=True))
    site.store().store(seal_shares(("other-1", "other-2", "other-3"), 3, [str(site.identity.to_public())]), None)
    assert site.seal().reconcile().problem is SealProblem.SEALED
    assert site.configured == 0


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("loss", ["deleted", "of another identity", "damaged"])
def test_shares_that_could_not_open_a_restart_end_the_service(
    monkeypatch: pytest.MonkeyPatch, sealed: bool, loss: str
) -> None:
    site = Site(monkeypatch, Pod(initialised=True))
    site.store().mark_configured()
    site.pod.sealed = sealed
    if loss == "of another identity":
        site.keep_shares(str(x25519.Identity.generate().to_public()))
    if loss == "damaged":
        site.keep_shares()
        site.api.objects[SECRET]["data"] = {}
    state = site.seal().reconcile()
    assert not state.in_service and state.problem is SealProblem.SHARES_UNUSABLE
    assert state.unsealed == (0 if sealed else 1)
    assert "restore-shares" in str(state.problem) and state.detail
    # Put back, and all is well again.
    site.api.objects.pop(SECRET, None)
    site.keep_shares()
    assert site.seal().reconcile().in_service


def test_shares_of_an_unfinished_attempt_do_not_spoil_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch, Pod(initialised=True))
    site.store().mark_configured()
    site.keep_shares()
    site.pod.given = ["a share of nobody"]
    assert site.seal().reconcile().in_service


@pytest.fixture
def slow_vault() -> Iterator[str]:
    """A Vault that initialises, and whose answer takes longer than any other call may."""
    held = {"initialized": False, "sealed": True}

    class Slow(Handler):
        def _do(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body: dict[str, Any] = dict(held)
            if self.path == "/v1/sys/init":
                held["initialized"] = True
                time.sleep(1.5)  # slow storage
                body = {"keys_base64": list(SHARES), "root_token": "t"}
            if self.path == "/v1/sys/unseal":
                held["sealed"] = False
                body = dict(held)
            self.answer(json.dumps(body).encode())

        do_GET = do_POST = _do

    with served(Slow) as url:
        yield url


def test_a_slow_answer_of_the_initialisation_is_awaited_and_the_engine_seen_alive(
    monkeypatch: pytest.MonkeyPatch, slow_vault: str
) -> None:
    monkeypatch.setattr(vault_client, "TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(sealing, "HEARTBEAT_SECONDS", 0.2)
    site, beats = Site(monkeypatch), [0]

    def heartbeat() -> None:
        beats[0] += 1

    monkeypatch.setattr(site, "pod", Vault(slow_vault))
    assert site.seal(heartbeat=heartbeat).reconcile().problem is None
    assert len(site.store().load().ciphertexts) == 5 and beats[0] >= 3
