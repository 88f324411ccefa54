"""The engine of rotation against a real Vault and a real PostgreSQL, with its real policy, killed at every request.

An outside watcher logs in to the database all the time with what the pods have. The cluster is a model: External
Secrets delivers what is newest in Vault a moment later, and each pod is replaced by one that has the new value after
another moment, as rollouts do.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from secret_authority.clients.vault import Vault, VaultRefusedError
from secret_authority.contract.rotation_settings import RotationSettings
from secret_authority.contract.vault_policies import (
    events_policy,
    requests_policy,
)
from secret_authority.core.catalogue.schema import parse_catalogue
from secret_authority.core.errors import LostRace
from secret_authority.core.rotation.document import Document, Request, RequestKind, State, Trigger
from secret_authority.core.rotation.events import sign
from secret_authority.engine.common.status import Status
from secret_authority.engine.consumption.versions import Version
from secret_authority.engine.events.receiver import Receiver
from secret_authority.engine.rotation.rotators.postgresql import PostgresqlRotator
from tests.support.postgres_process import PostgresServer, installations, postgres_server
from tests.support.rotation_site import (
    DATA,
    DOCS,
    METADATA,
    Cluster,
    Killed,
    Site,
    Watcher,
    done,
    unsealed_vault,
    work,
)
from tests.support.vault_process import vault_program

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(vault_program() is None, reason="no vault program: run `make tools`"),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vault]:
    with unsealed_vault(tmp_path_factory.mktemp("vault")) as (made, _):
        yield made


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    version = max(installations())
    with postgres_server(installations()[version]) as made:
        yield made


def test_a_request_rotates_delivers_revokes_and_leaves_four_answers(root: Vault, server: PostgresServer) -> None:
    site = Site(root, server, ["orders_a", "orders_b"])
    with Cluster(root) as cluster, Watcher(server, cluster) as watcher:
        engine = site.engine(cluster)
        engine.reconcile()
        assert root.read(DOCS) is None, "nothing is due and nothing was asked for"
        site.ask("r1")
        work(engine, lambda: done(site), "the rotation")
    assert watcher.denied == [] and watcher.logins > 3
    assert site.value()["username"] == "orders_b" and site.accepted(site.value())
    assert not site.accepted(site.value(1)), "the old login still works"
    (event,) = site.events()
    assert site.outcome("r1") == f"accepted as {event['id']}"
    assert event["why"] == "rotation (manual): a test" and event["result"] == "done" and event["run"] == "run-1"
    metadata = (root.read(METADATA) or {})["data"]["custom_metadata"]
    assert metadata["rotation_id"] == event["id"] and metadata["rotation_gen"] == "1"
    assert metadata["handover_id"] == "ho-1" and metadata["rotation_type"] == "time-based"


class ClosedCluster(Cluster):
    """External Secrets reads nothing until it is opened, as during a restore."""

    def __init__(self, root: Vault) -> None:
        self.opened = threading.Event()
        self.opened.set()
        super().__init__(root)

    def newest(self) -> tuple[dict[str, str], Version]:
        return super().newest() if self.opened.is_set() else self.secret


def restore_older(site: Site, version: int, document: Document) -> None:
    """Vault is again as it was with this version. Its number is another one here; what it holds is the same."""
    newest = (site.root.read(METADATA) or {})["data"]["current_version"]
    site.root.write(DATA, {"options": {"cas": newest}, "data": site.value(version)})
    found = (site.root.read(DOCS) or {})["data"]["metadata"]["version"]
    site.root.write(DOCS, {"options": {"cas": found}, "data": document.fields()})


def test_after_a_restore_a_dead_value_is_made_anew_in_its_own_slot(root: Vault, server: PostgresServer) -> None:
    """The snapshot has the first generation, the database the second, and running pods have the second's login."""
    site = Site(root, server, ["orders_a", "orders_b"])
    with ClosedCluster(root) as cluster, Watcher(server, cluster) as watcher:
        engine = site.engine(cluster)
        site.ask("r1")
        work(engine, lambda: done(site), "the first rotation")
        saved = site.document()
        site.ask("r2")
        work(engine, lambda: done(site, 2), "the second rotation")
        assert site.value()["username"] == "orders_a"
        cluster.opened.clear()
        restore_older(site, 2, saved)
        assert site.value()["username"] == "orders_b" and not site.accepted(site.value())
        site.ask("re-1", trigger=Trigger.RESTORE)
        engine = site.engine(cluster)
        work(engine, lambda: site.document().state is State.PUBLISHED, "another value is published")
        assert site.value()["username"] == "orders_b", "the slot that no pod uses"
        cluster.opened.set()
        work(engine, lambda: done(site, 3), "it is delivered")
        assert cluster.pods[0][0]["username"] == "orders_b"
    assert watcher.denied == [] and watcher.logins > 3
    assert site.accepted(site.value()) and site.outcome("re-1").startswith("accepted as ro-")
    (event,) = [event for event in site.events() if "restore" in event["why"]]
    assert event["why"] == "rotation (restore): a test" and event["result"] == "done"


def test_after_a_restore_a_value_that_its_target_accepts_stays(root: Vault, server: PostgresServer) -> None:
    site = Site(root, server, ["orders_a", "orders_b"])
    with Cluster(root) as cluster:
        engine = site.engine(cluster)
        site.ask("re-1", trigger=Trigger.RESTORE)
        work(engine, lambda: bool(site.outcome("re-1")), "the answer")
    assert site.outcome("re-1") == "same: its target accepts the restored value"
    assert site.value() == {"username": "orders_a", "password": "first-password"} and not site.events()


def test_what_is_due_rotates_by_itself_again_and_again(root: Vault, server: PostgresServer) -> None:
    """A policy of four seconds: three generations without a request, without Git, without Pulumi."""
    site = Site(root, server, ["orders_a", "orders_b"], ttl="4s")
    with Cluster(root) as cluster, Watcher(server, cluster) as watcher:
        engine = site.engine(cluster)
        work(engine, lambda: site.document().generation >= 4, "the fourth generation", 60)
    assert watcher.denied == [] and watcher.logins > 20
    assert [event["why"].split(":")[0] for event in site.events()[:3]] == ["rotation (time)"] * 3


def test_a_database_without_its_users_gets_them_as_soon_as_it_is_there(root: Vault, server: PostgresServer) -> None:
    site = Site(root, server, ["orders_a", "orders_b"], owner="orders")
    with contextlib.closing(server.superuser()) as admin:
        admin.run("DROP ROLE orders_a")
        admin.run("DROP ROLE orders_b")
    server.kill()
    try:
        with Cluster(root) as cluster:
            engine = site.engine(cluster)
            for _ in range(3):
                engine.reconcile()
            said = cluster.objects["api/v1/namespaces/ns/configmaps/rotation-status"]["data"]["secrets"]
            assert "cannot be reached" in json.loads(said)["orders-db"]["problem"]
            server.start()
            work(engine, lambda: site.accepted(site.value()), "the login of Vault's value", 60)
            assert site.value()["username"] == "orders_a" and root.read(DOCS) is None, "that is no rotation"
            site.ask("r1")
            work(engine, lambda: done(site), "the rotation")
        assert site.value()["username"] == "orders_b" and not site.accepted(site.value(1))
    finally:
        with contextlib.closing(server.superuser()) as admin:
            for user in ("orders_a", "orders_b"):
                admin.run(f"DROP ROLE IF EXISTS {user}")
                admin.run(f"CREATE ROLE {user} LOGIN IN ROLE orders")
                admin.run(f"GRANT {user} TO rotator WITH ADMIN OPTION")


class Writes:
    """Numbers the writes of an engine; `kill` is the one before or after which it ends."""

    def __init__(self, kill: str = "") -> None:
        self.seen: list[str] = []
        self._kill = kill

    def __call__(self, name: str) -> None:
        if name.split()[1] not in ("POST", "PATCH"):
            return
        numbered = f"{name} ({1 + sum(one.startswith(f'{name} (') for one in self.seen)})"
        self.seen.append(numbered)
        if numbered == self._kill:
            raise Killed


@pytest.mark.parametrize(
    ("users", "every"),
    [
        pytest.param(["orders_a", "orders_b"], 3, id="two users"),
        pytest.param(["orders_a"], 3, id="one user"),
        pytest.param(["orders_a", "orders_b"], 1, id="two users, each write", marks=pytest.mark.nightly),
    ],
)
def test_killed_before_and_after_every_write_it_ends_in_one_state(
    root: Vault, server: PostgresServer, users: list[str], every: int, record_property: Callable[[str, object], None]
) -> None:
    site = Site(root, server, users)
    writes = Writes()
    with Cluster(root, lag=0.01) as cluster:
        site.ask("r1")
        work(site.engine(cluster, writes), lambda: done(site), "the rotation")
    assert len(writes.seen) >= 20, writes.seen
    points = writes.seen[::every]
    logins = denied = 0
    windows: list[float] = []
    for name in points:
        site = Site(root, server, users)
        with Cluster(root, lag=0.01) as cluster, Watcher(server, cluster) as watcher:
            site.ask("r1")
            with pytest.raises(Killed):
                work(site.engine(cluster, Writes(name)), lambda: False, name)
            work(site.engine(cluster), lambda site=site: done(site), f"the end after {name}")  # type: ignore[misc]
            while watcher.logins < 3:
                time.sleep(0.02)
        logins, denied = logins + watcher.logins, denied + len(watcher.denied)
        windows.append(watcher.window)
        assert site.document().result == "done" and site.accepted(site.value()), name
        assert site.value()["username"] == users[-1] and not site.accepted(site.value(1)), name
        assert len(site.events()) == 1, name
        if len(users) == 2:
            assert watcher.denied == [], f"killed {name}"
    figures = f"{len(points)} of {len(points)} points, {logins} logins, {denied} denied"
    if len(users) == 1:
        figures += f", for {statistics.median(windows):.2f} s in the median, {max(windows):.2f} s at most"
    record_property("figures", figures)
    print(figures)


def test_killed_before_and_after_every_change_of_the_database(
    root: Vault, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for method, after in itertools.product(("apply", "revoke"), (False, True)):
        site = Site(root, server, ["orders_a", "orders_b"])
        original = getattr(PostgresqlRotator, method)

        def killed(self: Any, *given: Any, original: Any = original, after: bool = after) -> None:
            if after:
                original(self, *given)
            raise Killed

        with Cluster(root, lag=0.01) as cluster, Watcher(server, cluster) as watcher:
            site.ask("r1")
            with monkeypatch.context() as patch:
                patch.setattr(PostgresqlRotator, method, killed)
                with pytest.raises(Killed):
                    work(site.engine(cluster), lambda: False, method)
            work(site.engine(cluster), lambda site=site: done(site), f"the end after {method}")  # type: ignore[misc]
        assert watcher.denied == [] and site.accepted(site.value()) and not site.accepted(site.value(1))


def test_the_database_goes_away_in_the_middle_and_comes_back(root: Vault, server: PostgresServer) -> None:
    site = Site(root, server, ["orders_a", "orders_b"])
    with Cluster(root, lag=0.3) as cluster:
        engine = site.engine(cluster)
        site.ask("r1")
        work(engine, lambda: site.document().state is State.PUBLISHED, "published")
        server.kill()
        try:
            for _ in range(20):
                engine.reconcile()
                time.sleep(0.05)
            assert site.document().state is State.RETIRING, "what cannot be asked was taken for refused"
        finally:
            server.start()
        work(engine, lambda: done(site), "the rotation")
    assert not site.accepted(site.value(1)) and site.accepted(site.value())


def test_a_consumer_that_does_not_restart_holds_the_old_login_open_and_is_named(
    root: Vault, server: PostgresServer
) -> None:
    site = Site(root, server, ["orders_a", "orders_b"])
    cluster = Cluster(root)
    engine = site.engine(cluster)
    site.ask("r1")
    work(engine, lambda: site.document().state is State.PUBLISHED, "published")
    cluster.secret = cluster.newest()
    for _ in range(5):
        engine.reconcile()
    assert site.document().state is State.PUBLISHED and site.accepted(site.value(1)) and site.accepted(site.value())
    status = cluster.objects["api/v1/namespaces/ns/configmaps/rotation-status"]["data"]["secrets"]
    assert "pod shop/orders-0: container app started before its Secret had this version" in status
    site.ask("r2", trigger=Trigger.COMPROMISE, cut_off=True)
    work(engine, lambda: not site.accepted(site.value(1)), "cut off")
    assert "cut off: pod shop/orders-0" in next(iter(site.events()))["result"]


def test_hold_resume_and_abort(root: Vault, server: PostgresServer) -> None:
    site = Site(root, server, ["orders_a", "orders_b"])
    with Cluster(root) as cluster:
        engine = site.engine(cluster)
        site.ask("r1", RequestKind.HOLD)
        work(engine, lambda: site.document().state is State.HELD, "held")
        site.ask("r2")
        work(engine, lambda: bool(site.outcome("r2")), "an answer")
        assert "refused" in site.outcome("r2")
        site.ask("r3", RequestKind.RESUME)
        work(engine, lambda: site.document().state is State.IDLE and bool(site.outcome("r3")), "resumed")
        site.ask("r4", RequestKind.ABORT)
        work(engine, lambda: bool(site.outcome("r4")), "an answer")
        assert site.outcome("r4") == "refused: no rotation is in flight"
    assert site.value()["username"] == "orders_a" and site.events() == []


def test_the_engine_may_write_nothing_but_what_has_a_rotator(root: Vault, server: PostgresServer) -> None:
    site = Site(root, server, ["orders_a", "orders_b"])
    for path in ("platform-data/data/postgres/admin", "platform-data/data/other/app"):
        with pytest.raises(VaultRefusedError):
            site.engine_token.write(path, {"options": {"cas": 1}, "data": {"a": "b"}})
    asking = site.token("requests", requests_policy())
    for path in (DOCS, DATA, "platform-data/data/postgres/admin"):
        with pytest.raises(VaultRefusedError):
            asking.read(path)
    site.ask("r1")
    with pytest.raises(VaultRefusedError):
        path = "platform-rotation/data/rotation-requests/orders-db/r1"
        asking.write(path, {"options": {"cas": 1}, "data": {"kind": "x"}})


def test_no_value_is_in_status_events_metadata_or_logs(
    root: Vault, server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    site = Site(root, server, ["orders_a", "orders_b"])
    with Cluster(root) as cluster:
        engine = site.engine(cluster)
        site.ask("r1")
        work(engine, lambda: done(site), "the rotation")
        shown = str(cluster.objects) + str(site.events()) + str(root.read(METADATA)) + caplog.text + server.log()
    for version in (1, 2):
        password = site.value(version)["password"]
        assert password not in shown.replace("PASSWORD 'first-password'", "")


def readable_given(root: Vault) -> list[str]:
    """Values that were entered and can still be read."""
    base = "platform-rotation/metadata/given-values/orders-db"
    versions = {name: (root.read(f"{base}/{name}") or {})["data"]["versions"] for name in root.list(base)}
    return [name for name, found in versions.items() if not found["1"]["destroyed"]]


def test_a_value_that_is_entered_takes_the_way_of_a_rotation(root: Vault, server: PostgresServer) -> None:
    site = Site(root, server, ["orders_a", "orders_b"])
    given = {"username": "orders_b", "password": "issued-elsewhere"}
    with Cluster(root) as cluster, Watcher(server, cluster) as watcher:
        engine = site.engine(cluster)
        entry = site.enter("en-1", given)
        work(engine, lambda: done(site), "the rotation")
        assert site.value() == given and site.accepted(given) and not site.accepted(site.value(1))
        assert site.outcome("en-1") == f"accepted as {site.document().id}" and readable_given(root) == []
        site.enter("en-2", {**given, "password": "another"})
        work(engine, lambda: bool(site.outcome("en-2")), "the answer")
    assert site.outcome("en-2") == "refused: its username is not orders_a, whose turn it is"
    assert watcher.denied == [] and readable_given(root) == [] and site.value() == given
    (event,) = site.events()
    assert event["why"] == "rotation (manual): value entered by ada"
    for path in (DATA, "platform-rotation/data/given-values/orders-db/en-1", DOCS):
        with pytest.raises(VaultRefusedError):
            entry.read(path)
    with pytest.raises(VaultRefusedError):
        entry.write(DATA, {"options": {"cas": 2}, "data": given})


def test_a_value_is_refused_beside_a_rotation_and_one_without_a_request_is_forgotten(
    root: Vault, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(root, server, ["orders_a", "orders_b"])
    cluster = Cluster(root)
    engine = site.engine(cluster)
    site.ask("r1")
    work(engine, lambda: site.document().state is State.PUBLISHED, "published")
    site.enter("en-1", {"username": "orders_a", "password": "issued-elsewhere"})
    work(engine, lambda: bool(site.outcome("en-1")), "the answer")
    assert site.outcome("en-1") == f"refused: rotation {site.document().id} is published"
    assert site.document().state is State.PUBLISHED and readable_given(root) == []
    body = {"options": {"cas": 0}, "data": {"username": "orders_a", "password": "nobody-asked"}}
    root.write("platform-rotation/data/given-values/orders-db/en-2", body)
    site.engine(cluster).reconcile()
    assert readable_given(root) == ["en-2"], "its request may be under way"
    monkeypatch.setattr("secret_authority.engine.rotation.store.GIVEN_FOR", timedelta(seconds=-5))
    site.engine(cluster).reconcile()
    assert readable_given(root) == []


def published(cluster: Cluster) -> dict[str, str]:
    found: dict[str, str] = cluster.objects["api/v1/namespaces/ns/configmaps/rotation-status"]["data"]
    return found


def test_a_policy_is_changed_by_a_request_with_an_event_and_counts_at_once(root: Vault, server: PostgresServer) -> None:
    site = Site(root, server, ["orders_a", "orders_b"])
    with Cluster(root) as cluster:
        engine = site.engine(cluster)
        site.ask("p1", RequestKind.POLICY, changes={"ttl": "48h", "rotate_before": "1h", "failure_strategy": ""})
        work(engine, lambda: bool(site.outcome("p1")), "the answer")
        assert site.outcome("p1") == "applied"
        custom = (root.read(METADATA) or {})["data"]["custom_metadata"]
        assert (custom["ttl"], custom["rotate_before"], custom["handover_id"]) == ("48h", "1h", "ho-1")
        site.ask("p2", RequestKind.POLICY, changes={"rotate_before": ""})
        site.ask("p3", RequestKind.POLICY, changes={"ttl": "never"})
        site.ask("p4", RequestKind.POLICY, changes={"expires_at": "2027-01-01T00:00:00Z"})
        work(engine, lambda: all(site.outcome(name) for name in ("p2", "p3", "p4")), "the answers")
        assert "rotate_before" not in (root.read(METADATA) or {})["data"]["custom_metadata"]
        assert site.outcome("p3").startswith("refused: the rotation policy in the metadata is invalid: ttl")
        assert site.outcome("p4").startswith("refused: expires_at is for what is issued elsewhere")
        assert site.document().state is State.IDLE and site.document().generation == 0, "a policy rotates nothing"
        assert "differs from the catalogue" in published(cluster)["secrets"]
    assert {(event["id"], event["change"]) for event in site.events()} == {
        ("po-p1", "policy: failure_strategy unset, rotate_before=1h, ttl=48h"),
        ("po-p2", "policy: rotate_before unset"),
    }


def test_the_end_of_what_is_issued_elsewhere_is_seen_with_the_rights_that_the_engine_has(
    root: Vault, server: PostgresServer
) -> None:
    site = Site(root, server, ["orders_a", "orders_b"])
    path = "platform-data/metadata/payment/billing"
    root.write("platform-data/data/payment/billing", {"options": {"cas": 0}, "data": {"api-key": "issued"}})
    root.patch(path, {"custom_metadata": {"rotation_type": "event-based"}})
    asking = site.token("requests", requests_policy())
    at = datetime.now(UTC)
    changes = {"expires_at": (at + timedelta(days=1)).isoformat(), "rotate_before": "48h", "ttl": "2000h"}
    for name, kind in (("p1", RequestKind.POLICY), ("p2", RequestKind.ROTATE)):
        changed = changes if kind is RequestKind.POLICY else {}
        request = Request(name, kind, "the provider's mail", at=at.isoformat(), changes=changed)
        body = {"options": {"cas": 0}, "data": request.fields()}
        asking.write(f"platform-rotation/data/rotation-requests/payment-api/{name}", body)
    with Cluster(root) as cluster:
        engine = site.engine(cluster)
        work(engine, lambda: "ends at" in str(published(cluster)) if cluster.objects else False, "the warning")
        assert '"expires"' in published(cluster)["watched"]
    names = root.list("platform-authority/metadata/events/payment-api")
    assert sorted(name.split("-")[0] for name in names) == ["ex", "po"]
    for name, words in (("p1", "applied"), ("p2", "refused: it has no rotator")):
        answer = root.read(f"platform-rotation/data/rotation-requests/payment-api/{name}") or {}
        assert answer["data"]["data"]["outcome"].startswith(words)
    with pytest.raises(VaultRefusedError):
        site.engine_token.read("platform-data/data/payment/billing")


def test_a_request_that_is_filed_again_is_known(root: Vault, server: PostgresServer) -> None:
    """The identity may create and not change: Vault refuses the second one, whatever the check-and-set says."""
    site = Site(root, server, ["orders_a", "orders_b"])
    site.ask("hook-7")
    with pytest.raises((VaultRefusedError, LostRace)) as refused:
        site.ask("hook-7")
    path = "platform-rotation/data/rotation-requests/orders-db/hook-7"
    assert refused.type is VaultRefusedError and site.token("requests", requests_policy()).read(path)


def test_an_event_of_a_sender_rotates_and_its_receiver_can_do_no_more(root: Vault, server: PostgresServer) -> None:
    site = Site(root, server, ["orders_a", "orders_b"])
    data = site.catalogue.model_dump(mode="json", by_alias=True, exclude_none=True)
    sender = {"name": "pay", "key": "payment-api", "secrets": ["orders-db"], "from": "edge", "compromise": True}
    listening = parse_catalogue({**data, "events": {"senders": [sender]}}, "catalogue.yaml")
    key = b"a signing key of thirty-two bytes"
    root.write("platform-data/data/payment/billing", {"options": {"cas": 0}, "data": {"key": key.decode()}})
    vault = site.token("events", events_policy(listening))
    with Cluster(root) as cluster, Watcher(server, cluster) as watcher:
        receiver = Receiver(RotationSettings("dev", listening), cluster, vault, Status())
        body, stamp = b'{"secret": "orders-db", "why": "found in a log", "compromise": true}', int(time.time())
        headers = {"webhook-id": "evt-1", "webhook-timestamp": str(stamp)}
        headers["webhook-signature"] = sign(key, "evt-1", stamp, body)
        codes = [receiver.receive("/v1/events/pay", headers, body)[0] for _ in range(3)]
        engine = site.engine(cluster)
        work(engine, lambda: done(site), "the rotation")
        codes.append(receiver.receive("/v1/events/pay", headers, body)[0])
        for _ in range(5):
            engine.reconcile()
    assert codes == [202, 200, 200, 200] and watcher.denied == []
    assert site.document().generation == 1, "an event that was sent again rotated again"
    (event,) = site.events()
    assert event["why"] == "rotation (compromise): pay: found in a log"
    filed = "platform-rotation/data/rotation-requests/orders-db"
    for path in (DATA, DOCS, "platform-data/data/postgres/admin", f"{filed}/r1"):
        with pytest.raises(VaultRefusedError):
            vault.read(path)
    for path in (f"{filed}/r1", f"{filed}/ev-pay.evt-1", "platform-rotation/data/rotation-requests/payment-api/ev-x"):
        for cas in (0, 1, 2):
            with pytest.raises(VaultRefusedError):
                vault.write(path, {"options": {"cas": cas}, "data": {"kind": "rotate"}})


def test_a_request_that_its_name_does_not_allow_is_nobody_s_and_stops_no_other(
    root: Vault, server: PostgresServer
) -> None:
    site = Site(root, server, ["orders_a", "orders_b"])
    base = "platform-rotation/data/rotation-requests/orders-db"
    at = datetime.now(UTC).isoformat()
    for name, kind, given in (
        ("ev-x", RequestKind.HOLD, False),
        ("en-x", RequestKind.HOLD, False),
        ("ev-y", RequestKind.ROTATE, True),
        ("x", RequestKind.ROTATE, True),
    ):
        request = Request(name, kind, "x", at=at, given=given)
        root.write(f"{base}/{name}", {"options": {"cas": 0}, "data": request.fields()})
    root.write(f"{base}/a-malformed-one", {"options": {"cas": 0}, "data": {"kind": "dance"}})
    with Cluster(root) as cluster:
        site.ask("r1")
        work(site.engine(cluster), lambda: done(site), "the rotation")
    assert site.outcome("r1").startswith("accepted") and site.outcome("ev-x") == site.outcome("x") == ""
    assert site.document().state is State.IDLE and site.document().generation == 1
