"""Who has a new value: every kind of consumer, and what is missing, in words. What is not known is not delivered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from secret_authority.contract.names import SECRET_VERSIONS, SYNCED_BEFORE_ANNOTATION, VERSION_ANNOTATION
from secret_authority.core.catalogue.schema import CatalogueSecret
from secret_authority.core.errors import Unavailable
from secret_authority.core.rotation.document import Document
from secret_authority.core.rotation.state_machine import Newest
from secret_authority.engine.consumption.versions import Version
from secret_authority.engine.rotation.evidence import (
    KUBELET,
    DeliveryEvidence,
    containers_that_use,
    pod_problem,
    whole_volumes_only,
)

WRITTEN = datetime(2026, 1, 1, 12, tzinfo=UTC)
VERSION = Version(2, WRITTEN)
SYNCED = WRITTEN + timedelta(seconds=2)
DOCUMENT = Document(synced=VERSION.mark, synced_at=SYNCED.isoformat())
BEFORE, AFTER = WRITTEN - timedelta(hours=1), SYNCED + timedelta(seconds=31)

ENV = {"env": [{"name": "P", "valueFrom": {"secretKeyRef": {"name": "orders-db", "key": "P"}}}]}
ENV_FROM = {"envFrom": [{"secretRef": {"name": "orders-db"}}]}
MOUNT = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
SUB_PATH = {"volumeMounts": [{"name": "v", "mountPath": "/v/p", "subPath": "P"}]}
VOLUME = [{"name": "v", "secret": {"secretName": "orders-db"}}]
PROJECTED = [{"name": "v", "projected": {"sources": [{"secret": {"name": "orders-db"}}]}}]


def at(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def pod(
    use: dict[str, Any],
    started: datetime | None = BEFORE,
    volumes: list[dict[str, Any]] | None = None,
    kind: str = "containers",
    phase: str = "Running",
    **metadata: Any,
) -> dict[str, Any]:
    state = {"running": {"startedAt": at(started)}} if started else {"waiting": {"reason": "ContainerCreating"}}
    statuses = {"containers": "containerStatuses", "initContainers": "initContainerStatuses"}
    spec: dict[str, Any] = {"containers": [{"name": "other"}], "volumes": volumes or []}
    spec[kind] = [{"name": "app", **use}]
    return {
        "metadata": {"name": "web-1", **metadata},
        "spec": spec,
        "status": {"phase": phase, statuses[kind]: [{"name": "app", "state": state}]},
    }


USES = {
    "env": (ENV, None),
    "envFrom": (ENV_FROM, None),
    "volume": (MOUNT, VOLUME),
    "subPath": (SUB_PATH, VOLUME),
    "projected": (MOUNT, PROJECTED),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("kind", ["containers", "initContainers"])
def test_a_container_that_started_before_lacks_it_and_one_that_started_after_has_it(use: str, kind: str) -> None:
    fields, volumes = USES[use]
    old, new = (pod(fields, moment, volumes, kind) for moment in (BEFORE, AFTER))
    assert (
        pod_problem(old, "orders-db", VERSION, DOCUMENT, None)
        == "container app started before its Secret had this version"
    )
    assert pod_problem(new, "orders-db", VERSION, DOCUMENT, None) == ""


def test_clocks_of_nodes_may_differ_so_the_half_minute_after_does_not_count() -> None:
    for seconds, has in ((0, False), (30, False), (31, True)):
        found = pod_problem(pod(ENV, SYNCED + timedelta(seconds=seconds)), "orders-db", VERSION, DOCUMENT, None)
        assert (found == "") is has, seconds


def test_a_container_that_waits_will_read_the_new_value() -> None:
    assert pod_problem(pod(ENV, None), "orders-db", VERSION, DOCUMENT, None) == ""


def test_a_pod_that_was_made_for_this_version_has_it_whenever_it_started() -> None:
    made = pod(ENV, BEFORE, annotations={SECRET_VERSIONS: f"other=1@x,orders-db={VERSION.mark}"})
    assert pod_problem(made, "orders-db", VERSION, DOCUMENT, None) == ""
    for marks in (f"orders-db={VERSION.mark}x", f"x-orders-db={VERSION.mark}", "", "orders-db=1@x"):
        other = pod(ENV, BEFORE, annotations={SECRET_VERSIONS: marks})
        assert pod_problem(other, "orders-db", VERSION, DOCUMENT, None), marks


def test_the_first_version_needs_no_evidence() -> None:
    assert pod_problem(pod(ENV), "orders-db", Version(1, WRITTEN), Document(), None) == ""


def test_without_knowing_since_when_the_secret_has_it_nothing_is_delivered() -> None:
    for document in (Document(), Document(synced="1@x", synced_at=SYNCED.isoformat())):
        found = pod_problem(pod(ENV, AFTER), "orders-db", VERSION, document, None)
        assert found == "it is not known since when its Secret has this version"


def test_a_file_that_is_read_again_counts_when_the_kubelet_has_had_time() -> None:
    mounted = pod(MOUNT, BEFORE, VOLUME)
    early, late = SYNCED + KUBELET - timedelta(seconds=1), SYNCED + KUBELET
    assert "kubelet" in pod_problem(mounted, "orders-db", VERSION, DOCUMENT, early)
    assert pod_problem(mounted, "orders-db", VERSION, DOCUMENT, late) == ""
    # Neither the environment nor a subPath ever changes in a running container.
    for fields, volumes in ((ENV, None), (ENV_FROM, None), (SUB_PATH, VOLUME), ({**ENV, **MOUNT}, VOLUME)):
        found = pod_problem(pod(fields, BEFORE, volumes), "orders-db", VERSION, DOCUMENT, late + timedelta(days=1))
        assert found == "container app started before its Secret had this version"


def test_whole_volumes() -> None:
    assert whole_volumes_only(pod(MOUNT, volumes=VOLUME)["spec"], "orders-db")
    assert whole_volumes_only(pod(MOUNT, volumes=PROJECTED)["spec"], "orders-db")
    expression = {"volumeMounts": [{"name": "v", "mountPath": "/v", "subPathExpr": "$(P)"}]}
    for use, volumes in ((expression, VOLUME), (SUB_PATH, VOLUME), (ENV, None), ({**MOUNT, **ENV_FROM}, VOLUME)):
        assert not whole_volumes_only(pod(use, volumes=volumes)["spec"], "orders-db")


def test_only_containers_that_use_it_count() -> None:
    spec = pod(MOUNT, volumes=VOLUME)["spec"]
    spec["containers"].append({"name": "sidecar", "envFrom": [{"secretRef": {"name": "another"}}]})
    assert list(containers_that_use(spec, "orders-db")) == ["app"]
    assert list(containers_that_use(spec, "another")) == ["sidecar"]


class Cluster:
    """One ExternalSecret and some pods."""

    def __init__(self, *pods: dict[str, Any]) -> None:
        self.pods = list(pods)
        self.external: dict[str, Any] | None = {
            "metadata": {"annotations": {VERSION_ANNOTATION: VERSION.mark, SYNCED_BEFORE_ANNOTATION: "before"}},
            "status": {"conditions": [{"type": "Ready", "status": "True"}], "syncedResourceVersion": "after"},
        }
        self.down = False

    def get(self, path: str) -> dict[str, Any] | None:
        if self.down:
            raise Unavailable("the API server does not answer")
        assert path == "apis/external-secrets.io/v1/namespaces/shop/externalsecrets/orders-db"
        return self.external

    def list(self, path: str) -> list[dict[str, Any]]:
        assert path == "api/v1/namespaces/shop/pods"
        return self.pods


def evidence(cluster: Cluster, reload: str | None = None, now: datetime = AFTER) -> tuple[tuple[str, ...], bool]:
    secret = CatalogueSecret.model_validate(
        {
            "name": "orders-db",
            "class": "internal",
            "owner": "team",
            "vault": {"datasource": "d", "consumer": "c"},
            "consumers": [{"namespace": "shop", "secret": "orders-db", "keys": {"P": "p"}, "reload": reload}],
            "rotation": {"type": "static"},
        }
    )
    look = DeliveryEvidence(cluster, secret, lambda: now)  # type: ignore[arg-type]
    found = look(Newest(VERSION.number, VERSION.mark, "d", WRITTEN), DOCUMENT)
    return found.missing, found.synced


def test_every_pod_that_uses_the_secret_is_asked_and_named() -> None:
    others = pod({"envFrom": [{"secretRef": {"name": "another"}}]}), pod(ENV, AFTER)
    assert evidence(Cluster(*others)) == ((), True)
    missing, synced = evidence(Cluster(pod(ENV, BEFORE), *others))
    assert missing == ("pod shop/web-1: container app started before its Secret had this version",) and synced


def test_a_pod_that_is_being_deleted_counts_until_it_is_gone_and_a_job_until_it_ends() -> None:
    terminating = pod(ENV, BEFORE, deletionTimestamp=at(AFTER))
    job = pod(ENV, BEFORE, ownerReferences=[{"kind": "Job", "name": "report"}])
    assert len(evidence(Cluster(terminating, job))[0]) == 2
    ended = [pod(ENV, BEFORE, phase=phase) for phase in ("Succeeded", "Failed")]
    assert evidence(Cluster(*ended)) == ((), True)
    # A pod whose node does not answer may run on.
    assert evidence(Cluster(pod(ENV, BEFORE, phase="Unknown")))[0]


def test_a_secret_that_lags_behind_is_named_before_any_pod() -> None:
    cluster = Cluster(pod(ENV, BEFORE))
    for external, words in (
        (None, "there is no ExternalSecret"),
        ({"metadata": {}, "status": {}}, "Secret shop/orders-db: "),
    ):
        cluster.external = external
        missing, synced = evidence(cluster)
        assert len(missing) == 1 and words in missing[0] and not synced


def test_a_consumer_that_reads_files_again_counts_by_time() -> None:
    cluster = Cluster(pod(MOUNT, BEFORE, VOLUME))
    assert evidence(cluster, "file", SYNCED + KUBELET) == ((), True)
    assert "kubelet" in evidence(cluster, "file", SYNCED)[0][0]
    assert "started before" in evidence(cluster, "restart", SYNCED + KUBELET)[0][0]


def test_an_api_server_that_is_away_is_no_evidence() -> None:
    cluster = Cluster()
    cluster.down = True
    with pytest.raises(Unavailable):
        evidence(cluster)
