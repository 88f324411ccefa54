"""An engine is killed between the answer of sys/init and storing the shares; `pulumi up` gets there without a person.

A real Vault and a real API server. What a node would do is done here: a deleted pod with its volume comes back empty.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pyrage import x25519

from components.runtime_authority import vault_clearing
from components.runtime_authority.vault_clearing import Expected, VaultClearing
from secret_authority.access.kubeconfig import ClusterConnection
from secret_authority.clients.kubernetes import ApiRefusedError
from secret_authority.clients.vault import VaultRefusedError
from secret_authority.contract.engine_settings import Identities
from secret_authority.contract.names import (
    CLEARED_BY,
    CONSUMED,
    INITIALISATION,
    PHASE_LABEL,
    RESTORE_RECORD,
    STATE_LABEL,
    UNSEAL_SHARES,
)
from secret_authority.core.errors import LostRace, Unavailable
from secret_authority.core.phases import Phase
from secret_authority.engine.runtime_authority.initial_configuration import (
    FirstConfiguration,
    fingerprint,
    generate_root,
    revoke_every_root,
)
from secret_authority.engine.runtime_authority.seal import Placeholder, Seal, SealProblem, SealSettings
from secret_authority.engine.runtime_authority.seal_store import ClusterSealStore
from secret_authority.engine.runtime_authority.unseal_shares import SealedShares, open_shares
from tests.support.api_server import ApiServer, api_server, kubeconfig, programs_missing
from tests.support.vault_process import Server, servers, vault_program
from tests.support.waiting import until

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(vault_program() is None or bool(programs_missing()), reason="run `make tools`"),
]
VAULT = "/api/v1/namespaces/vault"
POD, VOLUME, SHARES = f"{VAULT}/pods/vault-0", f"{VAULT}/persistentvolumeclaims/data-vault-0", f"{VAULT}/secrets"
RECORD = f"{VAULT}/configmaps/{INITIALISATION}"
NOTHING_KNOWN = Expected(1, (5, 3), (), None)


class Killed(BaseException):
    pass


class Store(ClusterSealStore):
    """`before_store` runs when the engine has the shares and is about to store them."""

    before_store: Callable[[], object] = staticmethod(lambda: None)

    def store(self, shares: SealedShares, placeholder: Placeholder | None) -> None:
        self.before_store()
        super().store(shares, placeholder)


class Cluster:
    """An API server, one Vault as its pod `vault-0`, and engines."""

    def __init__(self, server: ApiServer, vault: Server, way: ClusterConnection) -> None:
        self.server, self.vault, self.way = server, vault, way
        self.identity = x25519.Identity.generate()
        self.said: list[str] = []

    def pod_with_volume(self) -> None:
        """What the StatefulSet makes when they are not there."""
        claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        volume = {"metadata": {"name": "data-vault-0"}, "spec": claim}
        volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data-vault-0"}}]
        spec = {"containers": [{"name": "vault", "image": "vault"}], "volumes": volumes}
        self.server.must("POST", VOLUME.rpartition("/")[0], volume)
        self.server.must("POST", POD.rpartition("/")[0], {"metadata": {"name": "vault-0"}, "spec": spec})

    def node(self) -> bool:
        """One look of the kubelet and the StatefulSet's controller. True when Vault's pod was made again."""
        if self.server.request("GET", POD)[0] != 404:
            return False
        status, text = self.server.request("GET", VOLUME)
        if status == 200 and "deletionTimestamp" in json.loads(text)["metadata"]:
            self.server.merge(VOLUME, {"metadata": {"finalizers": None}})
            self.vault.kill()
            shutil.rmtree(self.vault.folder / "raft")
            (self.vault.folder / "raft").mkdir()
            self.vault.start()
            until(self.answers, "the new Vault answers")
        if self.server.request("GET", VOLUME)[0] == 404:
            self.pod_with_volume()
        return True

    def answers(self) -> bool:
        try:
            return bool(self.vault.api.read("sys/seal-status"))
        except Unavailable:
            return False

    def store(self, run: str) -> Store:
        return Store(self.way.api(), "vault", run, fingerprint(self.first))

    @property
    def first(self) -> FirstConfiguration:
        accounts = Identities(("sa", "engine"), ("sa", "configurator"), ("sa", "auditor"))
        ca = Path(self.vault.ca_file).read_text()
        return FirstConfiguration(accounts, audit_file=str(self.vault.audit_file), kubernetes_ca=ca)

    def engine(self, run: str, store: Store | None = None) -> Seal:
        recipients = (str(self.identity.to_public()),)
        settings = SealSettings(5, 3, lambda _: recipients, self.first)
        return Seal([self.vault.api], store or self.store(run), settings, lambda: str(self.identity), lambda _: None)

    def lose_shares(self) -> None:
        store = self.store("killed")
        store.before_store = _kill
        with pytest.raises(Killed):
            self.engine("killed", store).reconcile()
        assert self.engine("next").reconcile().problem is SealProblem.SHARES_LOST

    def clearing(self, expected: Expected = NOTHING_KNOWN) -> VaultClearing:
        return VaultClearing(self.way, expected, lambda _: self.vault.api, self.said.append)

    @contextmanager
    def up(self, expected: Expected = NOTHING_KNOWN) -> Iterator[None]:
        """The watch of a `pulumi up` that waits for Vault."""
        ended = threading.Event()
        watch = threading.Thread(target=self.clearing(expected).watch, args=(ended,))
        watch.start()
        try:
            yield
        finally:
            ended.set()
            watch.join()

    def comes_into_service(self, engine: Seal) -> None:
        def served() -> bool:
            self.node()
            try:
                return engine.reconcile().in_service
            except (Unavailable, LostRace, VaultRefusedError):
                return False

        until(served, "Vault is in service", 120)

    def only_the_new_shares_open(self) -> None:
        """Vault holds together: its stored shares give root, and no other root token is left."""
        token = generate_root(self.vault.api, open_shares(self.store("test").load(), str(self.identity)))
        assert revoke_every_root(self.vault.api.with_token(token)) == 1

    def objects(self) -> list[Any]:
        found = [self.server.request("GET", path)[1] for path in (POD, VOLUME, RECORD, f"{SHARES}/{UNSEAL_SHARES}")]
        return [(one.get("metadata", {}).get("uid"), one.get("data")) for one in map(json.loads, found)]


def _kill() -> None:
    raise Killed


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with api_server(tmp_path_factory.mktemp("api")) as running:
        for name in ("vault", "secret-authority", "flux-system", "bootstrap-data"):
            running.must("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        yield running


@pytest.fixture
def cluster(server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setattr(vault_clearing, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(vault_clearing, "GRACE_SECONDS", 0.5)
    with servers(tmp_path) as (vault,):
        made = Cluster(server, vault, kubeconfig(server, tmp_path / "kubeconfig"))
        until(made.answers, "Vault answers")
        made.pod_with_volume()
        yield made
    server.merge(VOLUME, {"metadata": {"finalizers": None}})
    for path in (POD, VOLUME, RECORD, f"{SHARES}/{UNSEAL_SHARES}"):
        server.request("DELETE", path)


@pytest.mark.parametrize("moment", ["before the next engine", "when Vault is in service"])
def test_up_gets_there_alone_and_the_engine_that_wakes_up_late_changes_nothing(cluster: Cluster, moment: str) -> None:
    """The first engine has the shares in memory when it is paused."""
    paused, resumed = threading.Event(), threading.Event()
    failed: list[BaseException] = []
    store = cluster.store("late")

    def pause() -> None:
        paused.set()
        assert resumed.wait(300)

    def late() -> None:
        try:
            cluster.engine("late", store).reconcile()
        except BaseException as error:
            failed.append(error)

    store.before_store = pause
    thread = threading.Thread(target=late)
    thread.start()
    try:
        assert paused.wait(60)
        with cluster.up():
            until(lambda: bool(cluster.said), "it is cleared")
            if moment == "before the next engine":
                resumed.set()
                thread.join()
            cluster.comes_into_service(cluster.engine("second"))
        before = cluster.objects()
    finally:
        resumed.set()
        thread.join()
    assert [type(error) for error in failed] == [LostRace]
    assert cluster.objects() == before and cluster.engine("third").reconcile().in_service
    cluster.only_the_new_shares_open()
    assert len(cluster.said) == 1 and "is cleared" in cluster.said[0]
    secret = cluster.server.must("GET", f"{SHARES}/{UNSEAL_SHARES}")
    assert secret["immutable"] and len(secret["data"]) == 6
    assert CLEARED_BY not in (secret["metadata"].get("annotations") or {})


@pytest.mark.parametrize("point", ["the volume goes", "the pod goes"])
def test_a_clearing_that_was_killed_is_taken_up(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    cluster.lose_shares()
    clearing = cluster.clearing()
    delete, left = clearing.api.delete, [0 if point == "the volume goes" else 1]

    def deleted(path: str, uid: str | None = None) -> None:
        if not left[0]:
            raise Killed
        left[0] -= 1
        delete(path, uid)

    monkeypatch.setattr(clearing.api, "delete", deleted)
    with pytest.raises(Killed):
        clearing.clear(clearing.look())
    with cluster.up():
        cluster.comes_into_service(cluster.engine("next"))
    cluster.only_the_new_shares_open()


def test_a_clearing_that_wakes_up_late_deletes_nothing_of_the_next_vault(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.lose_shares()
    late, again = cluster.clearing(), cluster.clearing()
    old, fenced = late.look(), again.look()
    # One that is paused before it takes the place of the shares, and one that is paused right after it.
    delete, waiting = again.api.delete, [True]

    def paused(path: str, uid: str | None = None) -> None:
        if waiting.pop() if waiting else False:
            with cluster.up():
                cluster.comes_into_service(cluster.engine("next"))
        delete(path, uid)

    monkeypatch.setattr(again.api, "delete", paused)
    with pytest.raises(LostRace):
        again.clear(fenced)
    before = cluster.objects()
    with pytest.raises(LostRace):
        late.clear(old)
    assert cluster.objects() == before
    assert "deletionTimestamp" not in cluster.server.must("GET", VOLUME)["metadata"]
    cluster.only_the_new_shares_open()


def test_an_engine_that_stores_its_shares_in_time_is_left_alone(cluster: Cluster) -> None:
    """The look came first, the shares are stored, then comes the clearing."""
    store, clearing = cluster.store("first"), cluster.clearing()
    looks: list[vault_clearing.Look] = []
    store.before_store = lambda: looks.append(clearing.look())
    cluster.comes_into_service(cluster.engine("first", store))
    before = cluster.objects()
    assert looks[0].reason == ""
    with pytest.raises(LostRace):
        clearing.clear(looks[0])
    assert cluster.objects() == before
    assert "in service" in clearing.look().reason or "bare claim" in clearing.look().reason


def test_whatever_may_have_been_in_service_is_left_alone(cluster: Cluster) -> None:
    cluster.lose_shares()
    before = cluster.objects()

    def reason(expected: Expected = NOTHING_KNOWN) -> str:
        found = cluster.clearing(expected).look().reason
        assert found or cluster.objects() == before
        return found

    assert reason() == ""
    signs: dict[tuple[str, str], dict[str, str]] = {
        ("bootstrap-data/secrets", "orders"): {STATE_LABEL: CONSUMED},
        ("vault/configmaps", RESTORE_RECORD): {},
        ("vault/secrets", f"{UNSEAL_SHARES}-next"): {},
        ("secret-authority/configmaps", "phase-3"): {PHASE_LABEL: "3"},
        ("secret-authority/configmaps", "phase-x"): {PHASE_LABEL: "x"},
    }
    for (path, name), labels in signs.items():
        objects = f"/api/v1/namespaces/{path}"
        cluster.server.must("POST", objects, {"metadata": {"name": name, "labels": labels}})
        said = reason()
        assert name in said or (name == "phase-3" and "the cluster has reached phase 3" in said), said
        cluster.server.must("DELETE", f"{objects}/{name}")
    assert "the tombstone of orders" in reason(Expected(1, (5, 3), ("the tombstone of orders",), None))
    assert "the stack has reached phase 4" in reason(Expected(1, (5, 3), (), Phase.CONSUMPTION))
    assert "other numbers" in reason(Expected(1, (1, 1), (), None))
    cluster.server.merge(RECORD, {"data": {"refused": "now"}})
    assert "not a bare claim: refused" in reason()
    cluster.server.merge(RECORD, {"data": {"refused": None}})
    assert reason() == ""
    cluster.server.must("DELETE", POD)
    spec = {"containers": [{"name": "vault", "image": "vault"}]}
    cluster.server.must("POST", POD.rpartition("/")[0], {"metadata": {"name": "vault-0"}, "spec": spec})
    assert "does not use the volume" in reason()
    cluster.vault.kill()
    assert reason() == "not every Vault pod answers"


def test_what_the_person_may_not_do_is_said_and_tried_a_few_times_only(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.lose_shares()
    clearing = cluster.clearing()

    def refused(path: str, uid: str | None = None) -> None:
        raise ApiRefusedError("DELETE", path, 403, "Forbidden")

    monkeypatch.setattr(clearing.api, "delete", refused)
    clearing.watch(threading.Event())  # ends by itself
    assert len(cluster.said) == vault_clearing.MOST_TRIES
    assert all("could not be cleared" in text and "(403): Forbidden" in text for text in cluster.said)
    # By hand it works as before.
    assert cluster.engine("next").reconcile().problem is SealProblem.SHARES_LOST
    for path in (RECORD, VOLUME, POD):
        cluster.server.must("DELETE", path)
    cluster.comes_into_service(cluster.engine("next"))


def test_who_may_not_look_clears_nothing(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.lose_shares()
    stranger = kubeconfig(cluster.server, cluster.way.kubeconfig.with_name("stranger"), "unknown")
    clearing = VaultClearing(stranger, NOTHING_KNOWN, lambda _: cluster.vault.api, cluster.said.append)
    before, ended, looks, look = cluster.objects(), threading.Event(), [0], clearing.look

    def counted() -> vault_clearing.Look:
        looks[0] += 1
        if looks[0] == 10:
            ended.set()
        return look()

    monkeypatch.setattr(clearing, "look", counted)
    clearing.watch(ended)
    assert looks[0] == 10 and cluster.objects() == before and not cluster.said
