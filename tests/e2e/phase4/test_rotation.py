"""`secret-authority rotate` on a real node: a new value reaches its pods, and the four questions have answers."""

from __future__ import annotations

import base64
import copy
import json
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from tests.support.database_watcher import DatabaseWatcher
from tests.support.recorded_stack import RecordedStack
from tests.support.waiting import until
from tests.support.workloads import steady
from toolchain.local_stack import CHECKOUT

# After the search for leaks: what a container has in its environment, containerd writes to the node's disk.
pytestmark = pytest.mark.cluster

NAME = "session-key"


def command(stack: RecordedStack, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`secret-authority`, as a person runs it."""
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments, f"--kubeconfig={stack.kubeconfig}"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def text(data: Mapping[str, str], key: str) -> str:
    return base64.b64decode(data[key]).decode()


DEPLOYMENTS = "/apis/apps/v1/namespaces/shop/deployments"
PODS = {
    # Beside the application of the example, which has its Secrets as mounted folders.
    "env": {"envFrom": [{"secretRef": {"name": name}} for name in ("orders-db", "orders-db-endpoint")]},
    "subpath": {
        "args": ["database-session", "--database=orders", "/login"],
        "volumeMounts": [
            {"name": volume, "mountPath": f"/login/{key}", "subPath": key, "readOnly": True}
            for volume, keys in (
                ("orders-db", ("DB_USER", "DB_PASSWORD")),
                ("orders-db-endpoint", ("DB_HOST", "DB_PORT")),
            )
            for key in keys
        ],
    },
}


@pytest.fixture
def applications(altered: RecordedStack) -> Iterator[list[str]]:
    """The application of the example, once for each way in which a pod can have a Secret; all are logged in."""
    original = altered.objects.get(f"{DEPLOYMENTS}/orders")
    assert original is not None
    names = ["orders"]
    try:
        for kind, own in PODS.items():
            name, spec = f"orders-{kind}", copy.deepcopy(original["spec"])
            spec["selector"]["matchLabels"] = {"app": name}
            spec["template"]["metadata"]["labels"]["app"] = name
            spec["template"]["metadata"].pop("annotations", None)
            (container,) = spec["template"]["spec"]["containers"]
            container |= {"args": ["database-session", "--database=orders"], "volumeMounts": [], **own}
            altered.objects.request("POST", DEPLOYMENTS, {"metadata": {"name": name}, "spec": spec})
            names.append(name)
        for name in names:
            until(lambda name=name: steady(altered, f"{DEPLOYMENTS}/{name}", 1), f"{name} is logged in", 120)  # type: ignore[misc]
        yield names
    finally:
        for kind in PODS:
            if altered.objects.get(f"{DEPLOYMENTS}/orders-{kind}"):
                altered.objects.request("DELETE", f"{DEPLOYMENTS}/orders-{kind}")


def test_a_database_login_is_rotated_and_nobody_is_denied(
    altered: RecordedStack, applications: list[str], record_property: Callable[[str, object], None]
) -> None:
    secret = altered.objects.secret("shop", "orders-db")
    service = altered.objects.get("/api/v1/namespaces/data/services/orders-db")
    assert secret is not None and service is not None
    old = {key: text(secret["data"], key) for key in ("DB_USER", "DB_PASSWORD")}
    with DatabaseWatcher(altered.name, service["spec"]["clusterIP"], 5432, "orders") as watcher:
        begun = time.monotonic()
        done = command(altered, "rotate", "orders-db", "--why", "tried on a node")
        altered.measured.append(("rotate orders-db, until the old login is refused", time.monotonic() - begun))
        assert done.returncode == 0 and "orders-db: done" in done.stdout, done.stdout + done.stderr
        seen = watcher.end(old["DB_USER"], old["DB_PASSWORD"])
    record_property("figures", f"{seen.logins} logins, {len(seen.denied)} denied, {seen.kinds}")
    print(f"{seen.logins} logins, {len(seen.denied)} denied, {seen.unanswered} unanswered, {seen.kinds}")
    assert seen.denied == [] and seen.old == "refused"
    after = altered.objects.secret("shop", "orders-db")
    assert after is not None and {text(after["data"], "DB_USER"), old["DB_USER"]} == {"orders_a", "orders_b"}
    assert seen.users == ["orders_a", "orders_b"], "it has seen pods of before and of after"
    assert seen.kinds.keys() == {"env", "file", "subPath"} and seen.logins >= 20
    for name in applications:
        assert steady(altered, f"{DEPLOYMENTS}/{name}", 1), name
    history = command(altered, "rotation", "history", "orders-db")
    assert "rotation (manual): tried on a node" in history.stdout and "done" in history.stdout, history.stderr
    new = text(after["data"], "DB_PASSWORD")
    assert not any(one in done.stdout + history.stdout for one in (old["DB_PASSWORD"], new))


def value(stack: RecordedStack) -> bytes:
    found = stack.objects.secret("shop", NAME)
    assert found is not None
    return base64.b64decode(found["data"]["SESSION_KEY"])


def test_a_generated_value_is_rotated_delivered_and_on_record(altered: RecordedStack) -> None:
    before, begun = value(altered), time.monotonic()
    done = command(altered, "rotate", NAME, "--why", "tried on a node")
    altered.measured.append(("rotate session-key, until every pod has it", time.monotonic() - begun))
    assert done.returncode == 0, done.stdout + done.stderr
    after = value(altered)
    assert after != before and before.decode() not in done.stdout and after.decode() not in done.stdout
    assert "accepted as ro-" in done.stdout and f"{NAME}: done" in done.stdout
    history = command(altered, "rotation", "history", NAME)
    assert "rotation (manual): tried on a node" in history.stdout and "done" in history.stdout, history.stderr
    status = command(altered, "rotation", "status", NAME)
    assert NAME in status.stdout and "idle" in status.stdout, status.stderr


def test_a_value_that_a_person_gives_takes_the_way_of_a_rotation(altered: RecordedStack) -> None:
    given = secrets.token_urlsafe(32)
    where = [f"--repository={altered.fleet}", f"--cluster={altered.name}", f"--kubeconfig={altered.kubeconfig}"]
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "enter", *where, "--replace", NAME],
        cwd=CHECKOUT,
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0 and f"{NAME}: done" in done.stdout, done.stdout + done.stderr
    assert value(altered) == given.encode()
    history = command(altered, "rotation", "history", NAME)
    assert "rotation (manual): value entered by " in history.stdout and given not in done.stdout + history.stdout


def test_what_is_held_is_not_rotated(altered: RecordedStack) -> None:
    before = value(altered)
    assert command(altered, "rotation", "hold", NAME, "--why", "a test").returncode == 0
    refused = command(altered, "rotate", NAME, "--why", "not now")
    assert refused.returncode == 1 and "refused" in refused.stdout
    assert command(altered, "rotation", "resume", NAME, "--why", "a test").returncode == 0
    assert value(altered) == before


@pytest.mark.nightly
def test_git_is_stopped_for_three_rotations_of_a_short_policy(altered: RecordedStack, applications: list[str]) -> None:
    """What is due rotates by itself, without Git and without Pulumi, and nobody is denied."""

    def now() -> dict[str, Any]:
        shown = command(altered, "rotation", "status", "orders-db", "--format", "json")
        found: dict[str, Any] = json.loads(shown.stdout)["orders-db"]
        return found

    def policy(*fields: str) -> None:
        changes = [word for field in fields for word in ("--set", field)]
        done = command(altered, "rotation", "policy", "orders-db", *changes, "--why", "a short policy for a test")
        assert done.returncode == 0, done.stdout + done.stderr

    service = altered.objects.get("/api/v1/namespaces/data/services/orders-db")
    secret = altered.objects.secret("shop", "orders-db")
    assert service is not None and secret is not None
    old = {key: text(secret["data"], key) for key in ("DB_USER", "DB_PASSWORD")}
    first = int(now()["generation"])
    altered.git_server("stop")
    try:
        with DatabaseWatcher(altered.name, service["spec"]["clusterIP"], 5432, "orders") as watcher:
            policy("ttl=40s", "rotate_before=", "max_overlap=")
            until(lambda: int(now()["generation"]) >= first + 3, "the third rotation", 600)
            policy("ttl=720h", "rotate_before=24h", "max_overlap=1h")
            until(lambda: now()["state"] == "idle", "its end", 180)
            seen = watcher.end(old["DB_USER"], old["DB_PASSWORD"])
    finally:
        policy("ttl=720h", "rotate_before=24h", "max_overlap=1h")
        altered.git_server("start")
    print(f"{seen.logins} logins, {len(seen.denied)} denied, {seen.unanswered} unanswered, {seen.kinds}")
    assert seen.denied == [] and seen.old == "refused" and seen.users == ["orders_a", "orders_b"]
    history = command(altered, "rotation", "history", "orders-db").stdout
    assert history.count("rotation (time)") >= 3, history
    for name in applications:
        until(lambda name=name: steady(altered, f"{DEPLOYMENTS}/{name}", 1), f"{name} is logged in", 120)  # type: ignore[misc]


NAMESPACE = "/api/v1/namespaces/shop"
IMAGE = "registry.k8s.io/pause:3.10.1"
SECRET_VOLUME = {"name": "held", "secret": {"secretName": NAME}}
BY_ENVIRONMENT = {"envFrom": [{"secretRef": {"name": NAME}}]}
ASKS = {"secret-authority.dev/restart-on-change": "true"}


def uses(name: str, container: Mapping[str, Any], **pod: Any) -> dict[str, Any]:
    """A pod template whose one container uses the Secret in this way."""
    security = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    one = {"name": "app", "image": IMAGE, "securityContext": security, **container}
    spec = {"automountServiceAccountToken": False, "terminationGracePeriodSeconds": 1, "containers": [one], **pod}
    return {"metadata": {"labels": {"app": name}}, "spec": spec}


def mounting(volume: Mapping[str, Any], **mount: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"volumeMounts": [{"name": "held", "mountPath": "/held", **mount}]}, {"volumes": [volume]}


@pytest.fixture
def consumers(altered: RecordedStack) -> Iterator[list[str]]:
    """A consumer of every kind, all of which run. What does not get a new value by itself has a name that says why."""
    apps, made = "/apis/apps/v1/namespaces/shop", list[str]()

    def create(folder: str, name: str, body: Mapping[str, Any], annotations: Mapping[str, str] | None = None) -> None:
        metadata = {**body.get("metadata", {}), "name": name, "annotations": annotations or {}}
        altered.objects.request("POST", folder, {**body, "metadata": metadata})
        made.append(f"{folder}/{name}")

    def workload(kind: str, name: str, template: Mapping[str, Any], **spec: Any) -> None:
        selector = {"matchLabels": {"app": name}}
        create(f"{apps}/{kind}", name, {"spec": {"selector": selector, "template": template, **spec}}, ASKS)

    projected = {"name": "held", "projected": {"sources": [{"secret": {"name": NAME}}]}}
    alone = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []}}
    alone["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"].append(
        {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "kind-stalled"}}}
    )
    rolling = {
        "kind-volume": mounting(SECRET_VOLUME),
        "kind-projected": mounting(projected),
        "kind-subpath": mounting(SECRET_VOLUME, mountPath="/held/key", subPath="SESSION_KEY"),
        "kind-env": (BY_ENVIRONMENT, {}),
    }
    stays = {"lifecycle": {"preStop": {"sleep": {"seconds": 600}}}, **BY_ENVIRONMENT}
    try:
        for name, (container, pod) in rolling.items():
            workload("deployments", name, uses(name, container, **pod))
        workload("daemonsets", "kind-daemon", uses("kind-daemon", BY_ENVIRONMENT))
        stalled = {"strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}}
        workload("deployments", "kind-stalled", uses("kind-stalled", BY_ENVIRONMENT, affinity=alone), **stalled)
        on_delete = {"serviceName": "none", "updateStrategy": {"type": "OnDelete"}}
        workload("statefulsets", "kind-ondelete", uses("kind-ondelete", BY_ENVIRONMENT), **on_delete)
        job = uses("kind-job", BY_ENVIRONMENT, restartPolicy="Never")
        create("/apis/batch/v1/namespaces/shop/jobs", "kind-job", {"spec": {"template": job}})
        create(f"{NAMESPACE}/pods", "kind-bare", uses("kind-bare", BY_ENVIRONMENT))
        ending = uses("kind-a-ending", stays, terminationGracePeriodSeconds=600)
        create(f"{NAMESPACE}/pods", "kind-a-ending", ending)
        until(lambda: len(running(altered)) == len(made), "all of them run", 180)
        yield made
    finally:
        background = {"propagationPolicy": "Background", "gracePeriodSeconds": 0}
        for path in made:
            if altered.objects.get(path):
                altered.objects.request("DELETE", path, background)


def running(stack: RecordedStack) -> list[str]:
    found = (stack.objects.get(f"{NAMESPACE}/pods") or {})["items"]
    names = ((pod["metadata"]["name"], pod["status"].get("phase")) for pod in found)
    return sorted(name for name, phase in names if name.startswith("kind-") and phase == "Running")


@pytest.mark.nightly
def test_every_kind_of_consumer_is_proved_to_have_it_or_named(altered: RecordedStack, consumers: list[str]) -> None:
    """What restarts is waited for; what does not is named until it is gone, and nothing ends before."""

    def now() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(command(altered, "rotation", "status", NAME, "--format", "json").stdout)[
            NAME
        ]
        return found

    def waits_for(*prefixes: str, more: int = 0) -> bool:
        seen = now()
        words = str(seen["waitsFor"])
        named = [word.split()[1] for word in words.removeprefix("not delivered: ").split("; ") if word[:4] == "pod "]
        assert seen["generation"] == first or seen["state"] in ("prepared", "published"), seen
        fits = len(named) == len(prefixes) and all(map(str.startswith, named, [f"shop/{one}" for one in prefixes]))
        return fits and (f"; and {more} more" in words) is bool(more)

    def delete(name: str) -> None:
        path = f"{NAMESPACE}/pods/{name}"
        altered.objects.request("DELETE", path, {"gracePeriodSeconds": 0})

    first, before = int(now()["generation"]), value(altered)
    altered.objects.request("DELETE", f"{NAMESPACE}/pods/kind-a-ending", {})
    asked = command(altered, "rotate", NAME, "--why", "every kind of consumer", "--wait", "0")
    assert asked.returncode == 0, asked.stdout + asked.stderr
    until(lambda: value(altered) != before, "the Secret has the new value", 120)
    shown = ("kind-a-ending", "kind-bare", "kind-job-")
    until(lambda: waits_for(*shown, more=2), "the pod that is being deleted is named, and four more", 180)
    delete("kind-a-ending")
    until(lambda: waits_for("kind-bare", "kind-job-", "kind-ondelete-0", more=1), "it is gone", 120)
    jobs = "/apis/batch/v1/namespaces/shop/jobs/kind-job"
    altered.objects.request("DELETE", jobs, {"propagationPolicy": "Background"})
    until(lambda: waits_for("kind-bare", "kind-ondelete-0", "kind-stalled-"), "the Job is gone", 120)
    delete("kind-bare")
    until(lambda: waits_for("kind-ondelete-0", "kind-stalled-"), "the bare pod is gone", 120)
    delete("kind-ondelete-0")
    until(lambda: waits_for("kind-stalled-"), "the pod of the StatefulSet was made again", 120)
    for name in running(altered):
        if name.startswith("kind-stalled-"):
            delete(name)
    until(lambda: now()["state"] == "idle" and now()["result"] == "done", "its end", 120)
    assert int(now()["generation"]) == first + 1
