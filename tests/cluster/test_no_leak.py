"""No secret value is anywhere but where it has to be: in its Secret, and in Git as ciphertext.

Looked through: the Pulumi state with its history and backups, the output of every command of the session, pod
logs, events and all other API objects, the audit log and the other logs of the node, etcd on disk, all objects
of the Git repository, arguments and environments of the node's processes and of a running `pulumi up`.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.names import ENGINE_NAMESPACE, FLUX_NAMESPACE, IDENTITY_SECRET
from tests.canary import Canaries, Hit, files, git_objects, processes
from tests.recorded_stack import UP, RecordedStack, until
from toolchain.node import cgroups, layout

pytestmark = pytest.mark.cluster

# A value that is planted in every place, to see that the search looks there.
PLANTED = f"planted-{secrets.token_hex(16)}"
PLACES = {"state", "export", "output", "pod logs", "API objects", "node's files", "etcd", "Git", "processes", "run"}


@pytest.fixture(scope="module")
def canaries(built: RecordedStack) -> Canaries:
    values = {
        f"{namespace}/{name}/{key}": value
        for (namespace, name), data in built.wanted_values().items()
        for key, value in data.items()
    }
    root, cluster = built.identities()
    assert len(values) >= 18
    return Canaries(
        {**values, "root identity": root.secret.encode(), "cluster identity": cluster.secret.encode()}
        | {"planted": PLANTED.encode()}
    )


@pytest.fixture(scope="module")
def hits(built: RecordedStack, canaries: Canaries, tmp_path_factory: pytest.TempPathFactory) -> list[Hit]:
    """Every hit in every place, with the planted value planted first."""
    plant_in_cluster(built)
    plant_in_git(built, tmp_path_factory.mktemp("git"))
    plant_in_state(built)
    found = list(canaries.search("run", during_a_run(built)))
    node = layout.require(built.name)
    texts: dict[str, Iterator[tuple[str, bytes]]] = {
        "state": files(built.state / ".pulumi"),
        "export": iter([("stack export", built.query("stack", "export", "--show-secrets").encode())]),
        "output": ((f"command {number}", text.encode()) for number, text in enumerate(built.transcript)),
        "pod logs": pod_logs(built),
        "API objects": ((str(key), json.dumps(item).encode()) for key, item in built.objects.everything()),
        "node's files": files(node.state, "containerd", "etcd", "pki"),
        "etcd": files(node.var / "lib/etcd"),
        "Git": git_objects(node.state / "git/fleet.git"),
        "processes": processes(cgroups.processes(node.cgroup)),
    }
    begun = time.monotonic()
    for place, pieces in texts.items():
        found += canaries.search(place, pieces)
    built.measured.append(("search of every place", time.monotonic() - begun))
    return found


def test_the_search_looks_everywhere(hits: list[Hit]) -> None:
    assert {hit.place for hit in hits if hit.name == "planted"} == PLACES
    logs = {Path(hit.where).name for hit in hits if hit.name == "planted" and hit.place == "node's files"}
    assert "audit.log" in logs


def test_values_are_in_their_secrets_only(built: RecordedStack, hits: list[Hit]) -> None:
    found = {(hit.name, hit.where) for hit in hits if hit.name != "planted"}
    wanted = {
        (f"{namespace}/{name}/{key}", f"Secret {namespace}/{name}")
        for (namespace, name), data in built.wanted_values().items()
        for key in data
    }
    wanted |= {
        ("cluster identity", f"Secret {space}/{IDENTITY_SECRET}") for space in (FLUX_NAMESPACE, ENGINE_NAMESPACE)
    }
    assert found == wanted
    assert {hit.place for hit in hits if hit.name != "planted"} == {"API objects"}


def plant_in_cluster(stack: RecordedStack) -> None:
    """A ConfigMap (also in etcd), a request (audit log), and a pod that has the value and says it."""
    objects, configs = stack.objects, "/api/v1/namespaces/default/configmaps"
    objects.request("POST", configs, {"metadata": {"name": PLANTED}, "data": {"value": PLANTED}})
    say = f"import time; print('{PLANTED}', flush=True); time.sleep(3600)"
    container = {"name": "say", "image": stack.engine_image, "command": ["python3", "-c", say]}
    pod = {"metadata": {"name": PLANTED}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 0}}
    objects.request("POST", "/api/v1/namespaces/default/pods", pod)
    path = f"/api/v1/namespaces/default/pods/{PLANTED}/log"
    until(lambda: PLANTED.encode() in objects.text(path), "the pod has spoken")


def plant_in_git(stack: RecordedStack, folder: Path) -> None:
    """A commit with the value that a later commit takes away: history is searched too."""
    shutil.copytree(stack.fleet, folder / "fleet")
    (folder / "fleet/note.txt").write_text(PLANTED)
    stack.publish(folder / "fleet")
    stack.publish()


def plant_in_state(stack: RecordedStack) -> None:
    """An output that is not the program's. The next `up` drops it, and the backups keep it."""
    state = json.loads(stack.query("stack", "export"))
    (top,) = [r for r in state["deployment"]["resources"] if r["type"] == "pulumi:pulumi:Stack"]
    top["outputs"]["planted"] = PLANTED
    file = stack.state / "planted.json"
    file.write_text(json.dumps(state))
    stack.query("stack", "import", "--file", str(file))
    file.unlink()
    stack.query("stack", "output", "planted")


def during_a_run(stack: RecordedStack) -> Iterator[tuple[str, bytes]]:
    """Arguments and environments of a `pulumi up` with the root holder and of all that it starts."""
    begun = time.monotonic()
    process = stack.start(*UP, "--replace", "**Job::bootstrap-evidence", "--message", PLANTED, root=True)
    seen: set[tuple[str, bytes]] = set()
    while process.poll() is None:
        seen.update(processes(descendants(process.pid)))
        time.sleep(0.05)  # between two looks
    stack.finish(process, begun).passed()
    assert any(b"pulumi-resource-kubernetes" in text for _, text in seen)
    yield from seen


def descendants(pid: int) -> set[int]:
    """A process and its children, theirs too, at this moment."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(entry.parent.name)] = int(entry.read_text().rsplit(")", 1)[1].split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def pod_logs(stack: RecordedStack) -> Iterator[tuple[str, bytes]]:
    """The log of each container of each pod, of the one before it too."""
    for key, item in stack.objects.everything():
        if key.kind != "Pod":
            continue
        spec = item["spec"]
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            path = f"/api/v1/namespaces/{key.namespace}/pods/{key.name}/log?container={container['name']}"
            yield f"{key} {container['name']}", stack.objects.text(path)
            yield f"{key} {container['name']} before", stack.objects.text(f"{path}&previous=true")


@pytest.fixture(scope="module", autouse=True)
def _take_away(built: RecordedStack) -> Iterator[None]:
    yield
    for path in (f"pods/{PLANTED}?gracePeriodSeconds=0", f"configmaps/{PLANTED}"):
        built.objects.request("DELETE", f"/api/v1/namespaces/default/{path}")
