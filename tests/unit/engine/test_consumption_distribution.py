"""Delivery of new versions and restarts, over an API and a Vault in memory."""

from __future__ import annotations

import copy
import json
import threading
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from secret_authority.clients.kubernetes import Api, ApiRefusedError
from secret_authority.clients.vault import Vault
from secret_authority.clients.vault_counters import LEADER_PATH
from secret_authority.contract.consumption_settings import SyncTarget
from secret_authority.contract.names import (
    RESTART_ON_CHANGE,
    RESYNC_ANNOTATION,
    SECRET_VERSIONS,
    SYNCED_BEFORE_ANNOTATION,
    VERSION_ANNOTATION,
)
from secret_authority.contract.pod_secret_refs import secret_names
from secret_authority.core.errors import LostRace, Unavailable
from secret_authority.core.evidence import Outcome
from secret_authority.engine.consumption.controller import findings_of
from secret_authority.engine.consumption.delivery import SecretDelivery
from secret_authority.engine.consumption.restarts import WorkloadRestarts

ORDERS = SyncTarget("orders-db", "shop", "orders-db", "platform-data", "postgres/orders")
BROKER = SyncTarget("broker-orders", "shop", "broker", "platform-data", "broker/orders")
# The time at which the Vault in memory writes, in milliseconds since 1970.
WRITTEN = 1767225600123
STORES = "apis/external-secrets.io/v1/namespaces/shop/secretstores"
EXTERNAL_SECRETS = "apis/external-secrets.io/v1/namespaces/shop/externalsecrets"
DEPLOYMENTS = "apis/apps/v1/namespaces/shop/deployments"


class MemoryVault:
    """Metadata of KV v2 paths. A path that is not there was never written."""

    def __init__(self) -> None:
        self.paths: dict[str, dict[str, Any]] = {}
        self.reads = 0

    def write(self, path: str, written: str = "2026-01-01T00:00:00.123456789Z") -> None:
        entry = self.paths.setdefault(path, {"current_version": 0, "versions": {}})
        entry["current_version"] += 1
        details = {"created_time": written, "deletion_time": "", "destroyed": False}
        entry["versions"][str(entry["current_version"])] = details

    def read(self, path: str) -> dict[str, Any] | None:
        if path == LEADER_PATH:
            return {}  # it has no log
        self.reads += 1
        assert "/metadata/" in path, "no value is read"
        found = self.paths.get(path.replace("/metadata/", "/", 1))
        return {"data": found} if found else None

    def text(self, path: str) -> str:
        """Counters that change with whatever is written."""
        return f"vault_route_update_platform_data__count {json.dumps(self.paths, sort_keys=True)}"


class MemoryApi:
    """Objects by collection; merge patches with a precondition, as the API server does them."""

    def __init__(self) -> None:
        self.collections: dict[str, dict[str, Any]] = {}
        self.patches: list[tuple[str, dict[str, Any]]] = []

    def add(self, collection: str, name: str, **fields: Any) -> dict[str, Any]:
        body = {"metadata": {"name": name, "namespace": "shop", "resourceVersion": "1"}, **fields}
        body["metadata"] |= {"creationTimestamp": "2026-02-01T00:00:00Z"}
        self.collections.setdefault(collection, {})[name] = body
        return body

    def list(self, path: str, label_selector: str = "") -> list[dict[str, Any]]:
        assert path.rpartition("/")[2] != "secrets", "no Secret is read"
        return copy.deepcopy(list(self.collections.get(path, {}).values()))

    def merge(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        path, _, query = path.partition("?")
        assert query == "fieldManager=secret-authority-consumption"
        collection, _, name = path.rpartition("/")
        found = self.collections[collection][name]
        wanted = body["metadata"].get("resourceVersion")
        if wanted and wanted != found["metadata"]["resourceVersion"]:
            raise LostRace(path)
        self.patches.append((name, body))
        found["metadata"].setdefault("annotations", {}).update(body["metadata"].get("annotations", {}))
        template = body.get("spec", {}).get("template")
        if template:
            found["spec"]["template"].setdefault("metadata", {}).setdefault("annotations", {}).update(
                template["metadata"]["annotations"]
            )
        found["metadata"]["resourceVersion"] += "1"
        return found


class Site:
    def __init__(self) -> None:
        self.api, self.vault = MemoryApi(), MemoryVault()
        self.delivery = SecretDelivery(cast(Api, self.api), cast(Vault, self.vault))
        for name in ("orders-db", "broker"):
            self.api.add(EXTERNAL_SECRETS, name)

    def external_secrets_reads(self, name: str = "orders-db", ready: str = "True", message: str = "") -> None:
        """What External Secrets does after a change of annotations."""
        found = self.api.collections[EXTERNAL_SECRETS][name]
        conditions = [{"type": "Ready", "status": ready, "message": message}]
        old = found.get("status", {}).get("syncedResourceVersion", "")
        synced = f"1-{hash(str(found['metadata'].get('annotations')))}" if ready == "True" else old
        found["status"] = {"conditions": conditions, "syncedResourceVersion": synced}

    def deliver(self, *consumers: SyncTarget) -> list[str]:
        return [delivery.problem for delivery in self.delivery.deliver(consumers or (ORDERS,))]

    def restart(self, *consumers: SyncTarget) -> list[str]:
        return WorkloadRestarts(cast(Api, self.api)).reconcile(self.delivery.deliver(consumers or (ORDERS,)))

    def arrive(self, *names: str) -> None:
        for name in names or ("orders-db",):
            self.external_secrets_reads(name)

    def workload(self, **annotations: str) -> dict[str, Any]:
        volumes = [{"secret": {"secretName": "orders-db"}}, {"secret": {"secretName": "broker"}}]
        made = self.api.add(DEPLOYMENTS, "web", spec={"template": {"spec": {"volumes": volumes, "containers": []}}})
        made["metadata"]["annotations"] = annotations
        return made

    def template_annotations(self) -> dict[str, str]:
        template = self.api.collections[DEPLOYMENTS]["web"]["spec"]["template"]
        found: dict[str, str] = template.get("metadata", {}).get("annotations", {})
        return found


@pytest.fixture
def site() -> Site:
    return Site()


def test_a_new_version_is_asked_for_once_and_has_arrived_when_it_was_read(site: Site) -> None:
    site.vault.write("platform-data/postgres/orders")
    assert site.deliver() == ["version 1 is not asked for yet"]
    assert site.deliver() == ["External Secrets has not looked at it yet"]
    assert len(site.api.patches) == 1
    site.external_secrets_reads()
    assert site.deliver() == [""]
    site.vault.write("platform-data/postgres/orders")
    assert site.deliver() == ["version 2 is not asked for yet"]
    assert site.deliver() == ["version 2 is on its way"], "the status is that of the version before"
    site.external_secrets_reads()
    assert site.deliver() == [""] and len(site.api.patches) == 2


def test_a_path_that_began_again_is_delivered_although_its_number_is_the_same(site: Site) -> None:
    site.vault.write("platform-data/postgres/orders")
    site.deliver()
    site.arrive()
    assert site.deliver() == [""]
    del site.vault.paths["platform-data/postgres/orders"]
    site.vault.write("platform-data/postgres/orders", "2026-03-01T00:00:00Z")
    assert site.deliver() == ["version 1 is not asked for yet"]


def deliver_versions(site: Site, count: int) -> None:
    """Versions of days one after the other, each delivered."""
    for day in range(1, count + 1):
        site.vault.write("platform-data/postgres/orders", f"2026-03-{day:02}T00:00:00Z")
        site.deliver()
        site.arrive()
    assert site.deliver() == [""]


@pytest.mark.parametrize("kept", [1, 2])
def test_a_vault_that_was_restored_from_an_older_snapshot_delivers_nothing_by_itself(site: Site, kept: int) -> None:
    deliver_versions(site, 3)
    path = site.vault.paths["platform-data/postgres/orders"]
    path["current_version"] = kept
    before, workload = len(site.api.patches), site.workload(**{RESTART_ON_CHANGE: "true"})
    (status,) = site.delivery.deliver((ORDERS,))
    assert status.rolled_back and f"its newest version is {kept}, and version 3 was delivered before" in status.problem
    assert "kubectl annotate externalsecret orders-db --namespace shop secret-authority.dev/vault-version-" in (
        status.problem
    )
    assert site.restart() == [] and len(site.api.patches) == before
    assert workload["metadata"]["annotations"] == {RESTART_ON_CHANGE: "true"}
    # A person accepts it.
    del site.api.collections[EXTERNAL_SECRETS]["orders-db"]["metadata"]["annotations"][VERSION_ANNOTATION]
    assert site.deliver() == [f"version {kept} is not asked for yet"]


def test_the_same_number_that_was_written_earlier_is_a_rollback_too(site: Site) -> None:
    deliver_versions(site, 2)
    versions = site.vault.paths["platform-data/postgres/orders"]["versions"]
    versions["2"]["created_time"] = "2026-02-01T00:00:00Z"
    assert [status.rolled_back for status in site.delivery.deliver((ORDERS,))] == [True]


def test_a_new_value_after_a_rollback_is_delivered(site: Site) -> None:
    deliver_versions(site, 3)
    site.vault.paths["platform-data/postgres/orders"]["current_version"] = 1
    assert "rolled back" in site.deliver()[0]
    site.vault.write("platform-data/postgres/orders", "2026-04-01T00:00:00Z")
    assert site.deliver() == ["version 2 is not asked for yet"]


def test_a_clock_that_goes_back_between_two_servers_is_no_rollback(site: Site) -> None:
    deliver_versions(site, 2)
    site.vault.write("platform-data/postgres/orders", "2026-03-01T23:59:59Z")
    assert site.deliver() == ["version 3 is not asked for yet"]


@pytest.mark.parametrize("mark", ["", "x", "5", "5@", "@5", "5@x", "-1@9999999999999"])
def test_an_annotation_that_is_no_version_holds_nothing_up(site: Site, mark: str) -> None:
    site.vault.write("platform-data/postgres/orders")
    found = site.api.collections[EXTERNAL_SECRETS]["orders-db"]
    found["metadata"]["annotations"] = {VERSION_ANNOTATION: mark}
    assert site.deliver() == ["version 1 is not asked for yet"]


def test_nothing_is_remembered_so_a_new_engine_goes_on(site: Site) -> None:
    site.vault.write("platform-data/postgres/orders")
    site.deliver()
    other = SecretDelivery(cast(Api, site.api), cast(Vault, site.vault))
    site.external_secrets_reads()
    assert [delivery.problem for delivery in other.deliver([ORDERS])] == [""]
    assert len(site.api.patches) == 1


def test_two_consumers_of_one_path_cost_one_look(site: Site) -> None:
    site.vault.write("platform-data/postgres/orders")
    site.deliver(ORDERS, SyncTarget("orders-db", "shop", "broker", "platform-data", "postgres/orders"))
    assert site.vault.reads == 1


def test_a_version_that_will_be_deleted_later_is_delivered(site: Site) -> None:
    site.vault.write("platform-data/postgres/orders")
    site.vault.paths["platform-data/postgres/orders"]["versions"]["1"]["deletion_time"] = "2999-01-01T00:00:00Z"
    assert site.deliver() == ["version 1 is not asked for yet"]


@pytest.mark.parametrize("case", ["no value", "deleted", "no object"])
def test_what_cannot_arrive_is_said_and_nothing_is_changed(site: Site, case: str) -> None:
    if case != "no value":
        site.vault.write("platform-data/postgres/orders")
    if case == "deleted":
        site.vault.paths["platform-data/postgres/orders"]["versions"]["1"]["deletion_time"] = "2026-03-01T00:00:00Z"
    if case == "no object":
        del site.api.collections[EXTERNAL_SECRETS]["orders-db"]
    said = {"no value": "no value yet", "deleted": "the Secret stays", "no object": "no ExternalSecret"}
    assert said[case] in site.deliver()[0]
    assert not site.api.patches


def test_binary_values_are_delivered_only_when_the_catalogue_says_so(site: Site) -> None:
    site.vault.write("platform-data/postgres/orders")
    site.vault.paths["platform-data/postgres/orders"]["custom_metadata"] = {"base64_keys": "keystore.p12 other"}
    keys = frozenset({"keystore.p12", "password"})
    said = replace(ORDERS, keys=keys, binary=frozenset({"keystore.p12"}))
    assert site.deliver(said) == ["version 1 is not asked for yet"]
    for wrong in (replace(ORDERS, keys=keys), replace(said, binary=frozenset({"keystore.p12", "password"}))):
        assert "disagree over" in site.deliver(wrong)[0]
    assert len(site.api.patches) == 1


def test_a_failure_is_asked_again_ever_more_rarely(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("secret_authority.engine.consumption.delivery.time.monotonic", lambda: clock[0])

    def asked_at(seconds: range) -> list[int]:
        times: list[int] = []
        for second in seconds:
            clock[0] = float(second)
            before = len(site.api.patches)
            assert site.deliver() == ["could not get secret data from provider"]
            times += [second] if len(site.api.patches) > before else []
        return times

    site.vault.write("platform-data/postgres/orders")
    site.deliver()
    site.external_secrets_reads(ready="False", message="could not get secret data from provider")
    assert asked_at(range(200)) == [0, 5, 15, 35, 75, 135, 195]
    assert all(RESYNC_ANNOTATION in body["metadata"]["annotations"] for _, body in site.api.patches[1:])
    site.external_secrets_reads()
    assert site.deliver() == [""]
    site.external_secrets_reads(ready="False", message="could not get secret data from provider")
    assert asked_at(range(200, 210)) == [200, 205], "a success counts as a new beginning"


def test_when_vault_is_back_what_failed_is_asked_again_at_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.vault.write("platform-data/postgres/orders")
    site.deliver()
    site.external_secrets_reads(ready="False", message="Vault is sealed")
    site.deliver()
    for call in ("text", "read"):
        monkeypatch.setattr(site.vault, call, lambda _: (_ for _ in ()).throw(Unavailable("sealed")))
    with pytest.raises(Unavailable):
        site.deliver()
    monkeypatch.undo()
    before = len(site.api.patches)
    site.deliver()
    assert len(site.api.patches) == before + 1


def test_a_store_that_could_not_log_in_is_tried_again(site: Site) -> None:
    site.api.add(STORES, "platform-data", status={"conditions": [{"type": "Ready", "status": "False"}]})
    site.api.add(STORES, "platform-config", status={"conditions": [{"type": "Ready", "status": "True"}]})
    site.delivery.resync_failed_stores(["shop"])
    assert [name for name, _ in site.api.patches] == ["platform-data"]


def test_the_ask_is_refused_when_the_object_changed_since_it_was_read(site: Site) -> None:
    site.vault.write("platform-data/postgres/orders")
    old = site.api.list(EXTERNAL_SECRETS)
    site.api.collections[EXTERNAL_SECRETS]["orders-db"]["metadata"]["resourceVersion"] = "7"
    site.api.list = lambda *_: old  # type: ignore[method-assign,misc,assignment]
    (status, other) = site.delivery.deliver((ORDERS, BROKER))
    assert status.problem == "version 1 is asked for in the next round: it was changed meanwhile"
    assert other.problem == "Vault has no value yet" and not site.api.patches, "it holds up no other"


def test_a_version_is_asked_for_while_others_are_still_read(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last of many paths is not waited for."""
    asked, read, merge = threading.Event(), site.vault.read, site.api.merge

    def late(path: str) -> dict[str, Any] | None:
        if path.endswith("broker/orders"):
            assert asked.wait(60), "the first one waits for the last one"
        return read(path)

    def merged(path: str, body: dict[str, Any]) -> dict[str, Any]:
        asked.set()
        return merge(path, body)

    monkeypatch.setattr(site.vault, "read", late)
    monkeypatch.setattr(site.api, "merge", merged)
    for path in ("platform-data/postgres/orders", "platform-data/broker/orders"):
        site.vault.write(path)
    assert site.deliver(ORDERS, BROKER) == ["version 1 is not asked for yet"] * 2
    assert len(site.api.patches) == 2


def test_a_workload_is_restarted_when_a_secret_that_it_uses_has_a_new_value(site: Site) -> None:
    site.workload(**{RESTART_ON_CHANGE: "true"})
    for path in ("platform-data/postgres/orders", "platform-data/broker/orders"):
        site.vault.write(path)
    site.deliver(ORDERS, BROKER)
    site.arrive("orders-db", "broker")
    assert site.restart(ORDERS, BROKER) == [], "the values are older than the workload: it started with them"
    assert not site.template_annotations()
    site.vault.write("platform-data/postgres/orders")
    assert site.restart(ORDERS, BROKER) == [], "not before the Secret has it"
    site.arrive("orders-db")
    assert site.restart(ORDERS, BROKER) == ["deployments shop/web"]
    assert site.template_annotations() == {SECRET_VERSIONS: f"broker=1@{WRITTEN},orders-db=2@{WRITTEN}"}
    assert site.restart(ORDERS, BROKER) == [], "once"


@pytest.mark.parametrize("error", [LostRace("it"), ApiRefusedError("PATCH", "it", 403, "Forbidden")])
def test_a_workload_that_cannot_be_restarted_holds_up_no_other_and_is_named(
    site: Site, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    site.vault.write("platform-data/postgres/orders")
    site.deliver()
    site.arrive()
    site.vault.write("platform-data/postgres/orders", "2026-03-01T00:00:00Z")
    site.deliver()
    site.arrive()
    first, last = site.workload(**{RESTART_ON_CHANGE: "true"}), copy.deepcopy(site.workload())
    last["metadata"] |= {"name": "worker", "annotations": {RESTART_ON_CHANGE: "true"}}
    first["metadata"]["annotations"] = {RESTART_ON_CHANGE: "true"}
    site.api.collections[DEPLOYMENTS] = {"web": first, "worker": last}
    merge = site.api.merge

    def refused(path: str, body: dict[str, Any]) -> dict[str, Any]:
        if "/deployments/web?" in path:
            raise error
        return merge(path, body)

    monkeypatch.setattr(site.api, "merge", refused)
    restarts = WorkloadRestarts(cast(Api, site.api))
    assert restarts.reconcile(site.delivery.deliver([ORDERS])) == ["deployments shop/worker"]
    assert len(restarts.problems) == 1 and restarts.problems[0].startswith("deployments shop/web is not restarted: ")
    monkeypatch.undo()
    assert restarts.reconcile(site.delivery.deliver([ORDERS])) == ["deployments shop/web"] and restarts.problems == []


def test_a_restart_does_not_wait_for_a_secret_without_a_first_value(site: Site) -> None:
    site.workload(**{RESTART_ON_CHANGE: "true"})
    site.vault.write("platform-data/postgres/orders", "2026-02-01T00:00:01.5Z")
    site.deliver(ORDERS, BROKER)
    site.arrive()
    assert site.restart(ORDERS, BROKER) == ["deployments shop/web"]
    assert site.restart(ORDERS, BROKER) == [], "once"
    site.vault.write("platform-data/broker/orders", "2026-03-01T00:00:00Z")
    site.deliver(ORDERS, BROKER)
    assert site.restart(ORDERS, BROKER) == [], "it has a value now, and its Secret not yet"
    site.arrive("broker")
    assert site.restart(ORDERS, BROKER) == ["deployments shop/web"], "the pods started without it"


def test_a_path_that_is_gone_from_vault_restarts_nothing(site: Site) -> None:
    site.workload(**{RESTART_ON_CHANGE: "true"})
    for path in ("platform-data/postgres/orders", "platform-data/broker/orders"):
        site.vault.write(path)
    site.deliver(ORDERS, BROKER)
    site.arrive("orders-db", "broker")
    site.restart(ORDERS, BROKER)
    del site.vault.paths["platform-data/broker/orders"]
    assert site.restart(ORDERS, BROKER) == [], "its Secret stays as it is"
    site.vault.write("platform-data/broker/orders", "2026-03-01T00:00:00Z")
    site.deliver(ORDERS, BROKER)
    site.arrive("broker")
    assert site.restart(ORDERS, BROKER) == ["deployments shop/web"]


def test_a_consumer_with_reload_restart_restarts_a_workload_that_does_not_ask(site: Site) -> None:
    site.workload()
    site.vault.write("platform-data/postgres/orders", "2026-02-01T00:00:01.5Z")
    site.deliver()
    site.arrive()
    assert site.restart() == []
    assert site.restart(replace(ORDERS, restart=True)) == ["deployments shop/web"]


def test_a_value_newer_than_a_workload_restarts_it_at_first_sight(site: Site) -> None:
    site.workload(**{RESTART_ON_CHANGE: "true"})
    site.vault.write("platform-data/postgres/orders", "2026-02-01T00:00:01.5Z")
    site.deliver()
    site.arrive()
    assert site.restart() == ["deployments shop/web"]


def test_a_workload_that_does_not_ask_is_left_alone(site: Site) -> None:
    site.workload()
    site.vault.write("platform-data/postgres/orders", "2026-02-02T00:00:00Z")
    site.deliver()
    site.arrive()
    before = len(site.api.patches)
    assert site.restart() == [] and len(site.api.patches) == before


def test_every_way_to_use_a_secret_counts() -> None:
    pod = {
        "volumes": [
            {"secret": {"secretName": "a"}},
            {"projected": {"sources": [{"secret": {"name": "b"}}, {"configMap": {"name": "no"}}]}},
            {"emptyDir": {}},
        ],
        "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "c"}}}, {"name": "X", "value": "no"}]}],
        "initContainers": [{"envFrom": [{"secretRef": {"name": "d"}}, {"configMapRef": {"name": "no"}}]}],
    }
    assert secret_names(pod) == {"a", "b", "c", "d"}


def test_the_findings_name_what_is_missing_and_leave_out_what_waits(site: Site) -> None:
    site.vault.write("platform-data/postgres/orders")
    site.deliver(ORDERS)
    site.arrive()
    deliveries = site.delivery.deliver([ORDERS, BROKER])
    found = {finding.secret: finding for finding in findings_of(deliveries, {})}
    assert found["orders-db"].outcome is Outcome.MATCHES and "shop/orders-db version 1" in found["orders-db"].where
    assert found["broker-orders"].outcome is Outcome.NOT_CONSUMED and "no value yet" in found["broker-orders"].where
    assert [f.secret for f in findings_of(deliveries, {"broker-orders": "not entered"})] == ["orders-db"]


def test_times_of_both_apis_can_be_compared(site: Site) -> None:
    site.vault.write("platform-data/postgres/orders", "2026-02-01T00:00:00.123456789Z")
    (delivery,) = site.delivery.deliver([ORDERS])
    assert delivery.version.written == datetime(2026, 2, 1, 0, 0, 0, 123456, tzinfo=UTC)
    assert SYNCED_BEFORE_ANNOTATION in site.api.patches[0][1]["metadata"]["annotations"]
    assert site.api.patches[0][1]["metadata"]["annotations"][VERSION_ANNOTATION] == "1@1769904000123"
