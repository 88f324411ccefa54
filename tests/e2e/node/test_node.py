"""The local node itself: two side by side, repair of every part, nothing left behind.

These tests use nodes of their own and leave a node named `dev` alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from toolchain.images import engine
from toolchain.node import api, cgroups, layout, parts, sandbox

pytestmark = pytest.mark.cluster

ONE, TWO = "t-one", "t-two"
CANARY = "canary-value-of-a-secret"
# The parts whose end is tried with every change: where the data is, and what runs pods.
SOME = ("etcd", "kubelet")


def run(module: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """One command of the toolchain. A failure shows its messages."""
    done = subprocess.run(
        [sys.executable, "-m", f"toolchain.{module}", *arguments],
        cwd=layout.CHECKOUT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if check:
        assert done.returncode == 0, done.stderr
    return done


def up(name: str) -> layout.Node:
    run("node", "up", "--name", name)
    return layout.require(name)


def kubectl(node: layout.Node, *arguments: str, given: str | None = None, check: bool = True) -> str:
    done = subprocess.run(
        [str(layout.binary("kubectl")), "--kubeconfig", str(node.kubeconfig), *arguments],
        input=given,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if check:
        assert done.returncode == 0, done.stderr
    return done.stdout + ("" if check else done.stderr)


def until(condition: Callable[[], bool], what: str, timeout: float = 60) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout:.0f} s: {what}"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def node() -> Iterator[layout.Node]:
    """The first node. Whatever a test did to it, `up` repairs it before the next."""
    run("node", "down", "--name", ONE)
    yield up(ONE)
    run("node", "down", "--name", ONE)


def host_facts() -> set[str]:
    """What a node could leave behind on the machine, one fact a line.

    Nodes that these tests do not own may come and go meanwhile; their facts are left out.
    """

    def shown(*command: str) -> list[str]:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    folders = ["/var/lib", "/var/lib/secret-authority/nodes", "/run", "/run/secret-authority", "/run/lock", "/etc"]
    folders += ["/opt", "/var/log", "/var/lib/kubelet", "/var/lib/cni", "/run/netns", "/run/containerd"]
    settings = [*(f"/proc/sys/{name}" for name in sandbox.KERNEL_SETTINGS), "/proc/sys/net/ipv4/ip_forward"]
    facts = [f"link {line.split()[0].split('@')[0]}" for line in shown("ip", "-br", "link")]
    facts += [f"address {line}" for line in shown("ip", "-br", "-4", "addr")]
    facts += [f"route {line}" for line in shown("ip", "route", "show")]
    facts += [f"nft {line}" for line in shown("nft", "list", "tables")]
    facts += [f"netns {line}" for line in shown("ip", "netns", "list")]
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    # Those of a build of the engine's image, which another lane may need just now.
    facts += [f"mount {path}" for path in mounts if not path.startswith(f"{engine.CACHE}/")]
    for hierarchy in cgroups.hierarchies():
        facts += [f"cgroup {path}" for path in (hierarchy.mount / "secret-authority").glob("*/")]
    for folder in folders:
        if Path(folder).is_dir():
            facts += [f"file {path}" for path in Path(folder).iterdir()]
    facts += [f"setting {name}={Path(name).read_text().strip()}" for name in settings]
    foreign = [node for node in layout.known_nodes() if node.name not in (ONE, TWO)]
    marks = [mark for node in foreign for mark in (node.link, f"/{node.name}", f"-{node.name}.")]
    # The folders of all nodes: they come with the first and go with the last one, whoever's it is.
    shared = {"file /var/lib/secret-authority", "file /run/secret-authority"} if foreign else set()
    return {fact for fact in facts if not any(mark in fact for mark in marks)} - shared


def identities(pids: list[int]) -> set[tuple[int, str]]:
    """Process ids with their start times, so that a reused number is another process."""
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            found.add((pid, Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]))
    return found


def test_down_leaves_nothing_behind() -> None:
    run("node", "down", "--name", TWO)
    before = host_facts()
    decoy = subprocess.Popen(["/bin/sleep", "infinity"])  # the name of a sandbox's first process
    try:
        two = up(TWO)
        until(lambda: "Running" in kubectl(two, "get", "pods", "-A"), "a pod runs")
        owned = identities(cgroups.processes(two.cgroup))
        assert len(owned) > 9, "every part, the sandbox, the shim and a pod"
        run("gitserver", "start", "--name", TWO)
        assert len(host_facts() - before) > 8, "a running node must show, or this test could not fail"
        run("node", "down", "--name", TWO)
        until(lambda: not (identities([pid for pid, _ in owned]) & owned), "the node's processes end", 10)
        assert host_facts() - before == set()
        assert {fact for fact in before - host_facts() if fact.startswith("setting")} == set()
        assert decoy.poll() is None, "a process of somebody else was ended"
    finally:
        decoy.kill()
        decoy.wait()
        run("node", "down", "--name", TWO)


def test_down_of_nothing_is_fine() -> None:
    assert "down" in run("node", "down", "--name", "t-none").stderr


def test_two_nodes_side_by_side(node: layout.Node) -> None:
    two = up(TWO)
    try:
        assert {node.address, node.pod_cidr, node.service_cidr}.isdisjoint(
            {two.address, two.pod_cidr, two.service_cidr}
        )
        for each in (node, two):
            kubectl(each, "create", "configmap", f"only-in-{each.name}")
            assert kubectl(each, "get", "nodes", "-o", "name").split() == [f"node/{each.name}"]
        assert "NotFound" in kubectl(node, "get", "configmap", f"only-in-{TWO}", check=False)
        # One administrator is a stranger at the other cluster.
        stranger = json.loads(two.kubeconfig.read_text())
        stranger["clusters"][0]["cluster"] = json.loads(node.kubeconfig.read_text())["clusters"][0]["cluster"]
        path = two.state / "stranger"
        path.write_text(json.dumps(stranger))
        refused = subprocess.run(
            [str(layout.binary("kubectl")), "--kubeconfig", str(path), "get", "nodes"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert refused.returncode != 0
        assert "Unauthorized" in refused.stderr or "logged in" in refused.stderr
    finally:
        run("node", "down", "--name", TWO)
    assert run("node", "status", "--name", ONE).returncode == 0, "the other node's end did not touch this one"


def test_warm_up_changes_nothing(node: layout.Node) -> None:
    before = {name: part.pid for name, part in parts.all_parts(node).items()}
    started = time.monotonic()
    up(ONE)
    assert time.monotonic() - started < 30, "nothing is awaited that stands already"
    assert {name: part.pid for name, part in parts.all_parts(node).items()} == before


@pytest.mark.parametrize("name", [n if n in SOME else pytest.param(n, marks=pytest.mark.nightly) for n in parts.NAMES])
def test_a_killed_part_is_repaired(node: layout.Node, name: str) -> None:
    before = {part: found.pid for part, found in parts.all_parts(node).items()}
    assert before[name] is not None
    run("node", "kill", "--name", ONE, "--part", name)
    until(lambda: parts.all_parts(node)[name].pid is None, f"{name} ends", 10)
    up(ONE)
    after = {part: found.pid for part, found in parts.all_parts(node).items()}
    assert after[name] not in (None, before[name])
    assert {part for part in before if before[part] != after[part]} == {name}, "only the dead part was started"
    assert kubectl(node, "get", "--raw", "/readyz") == "ok"


def test_a_deleted_addon_comes_back(node: layout.Node) -> None:
    kubectl(node, "-n", "kube-system", "delete", "deployment", "coredns", "--wait")
    kubectl(node, "-n", "kube-system", "delete", "configmap", "coredns")
    up(ONE)
    assert api.resolve(node.dns_service, f"kubernetes.default.svc.{layout.CLUSTER_DOMAIN}") == node.api_service


def test_power_cut(node: layout.Node) -> None:
    """Every process ends at once; what the API server had accepted is there again."""
    kubectl(node, "create", "configmap", "written-before")
    kubectl(node, "create", "secret", "generic", "secret-before", f"--from-literal=a={CANARY}")
    run("gitserver", "start", "--name", ONE)
    run("node", "kill", "--name", ONE)
    assert not cgroups.processes(node.cgroup)
    up(ONE)
    kubectl(node, "get", "configmap", "written-before")
    kubectl(node, "-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=60s")


def test_a_reboot_leaves_a_state_that_up_repairs(node: layout.Node) -> None:
    """After a reboot the runtime folder may be gone, or be there without its processes."""
    for wipe in (True, False):
        run("node", "kill", "--name", ONE)
        if wipe:
            subprocess.run(["rm", "-rf", str(node.runtime)], check=True)
        cgroups.remove(node.cgroup)
        up(ONE)
        assert run("node", "status", "--name", ONE).returncode == 0


@pytest.mark.parametrize("seconds", [*(pytest.param(s, marks=pytest.mark.nightly) for s in (0.3, 4.0)), 1.5])
def test_a_killed_up_is_continued_or_cleaned(seconds: float) -> None:
    """`up` gets SIGKILL after some seconds. Once a second `up` goes on, once `down` cleans."""
    run("node", "down", "--name", TWO)
    before = host_facts()
    for follow in ("up", "down"):
        begun = subprocess.Popen(
            [sys.executable, "-m", "toolchain.node", "up", "--name", TWO],
            cwd=layout.CHECKOUT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            begun.wait(seconds)
        begun.send_signal(signal.SIGKILL)
        begun.wait()
        run("node", follow, "--name", TWO)
        if follow == "up":
            assert run("node", "status", "--name", TWO).returncode == 0
    assert host_facts() - before == set()


def test_a_part_that_cannot_start_is_named_with_its_log(node: layout.Node) -> None:
    """A broken etcd database: the message names etcd and shows the end of its log."""
    run("node", "kill", "--name", ONE, "--part", "etcd")
    database = node.var / "lib/etcd/member/snap/db"
    saved = database.read_bytes()
    try:
        database.write_bytes(b"not a database")
        failed = run("node", "up", "--name", ONE, check=False)
        assert failed.returncode == 1
        assert "error: etcd: it ended" in failed.stderr or "error: API server" in failed.stderr
        assert "last lines of" in failed.stderr
        assert "Traceback" not in failed.stderr
    finally:
        database.write_bytes(saved)
        up(ONE)


def anonymous(node: layout.Node, path: str) -> int:
    context = ssl.create_default_context(cafile=str(node.pki / "cluster-ca.crt"))
    try:
        with urllib.request.urlopen(f"{node.api_url}{path}", timeout=5, context=context) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_anonymous_requests_reach_health_alone(node: layout.Node) -> None:
    assert anonymous(node, "/readyz") == 200
    assert anonymous(node, "/version") == 401
    assert anonymous(node, "/api/v1/namespaces") == 401


def test_no_secret_value_in_logs_or_etcd(node: layout.Node) -> None:
    kubectl(node, "create", "secret", "generic", "canary", f"--from-literal=value={CANARY}")
    kubectl(node, "get", "secret", "canary", "-o", "yaml")
    needle, name = CANARY.encode(), b'"name":"canary"'
    logs = [path for path in node.logs.rglob("*") if path.is_file()]
    assert any(name in path.read_bytes() for path in logs if path.name == "audit.log"), "the audit log records it"
    for path in [*logs, *(node.var / "lib/etcd").rglob("*")]:
        if path.is_file():
            assert needle not in path.read_bytes(), path


def test_logs_and_exec(node: layout.Node) -> None:
    kubectl(node, "-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=60s")
    assert "CoreDNS-1.12" in kubectl(node, "-n", "kube-system", "logs", "deployment/coredns")
    assert "CoreDNS-1.12" in kubectl(
        node, "-n", "kube-system", "exec", "deployment/coredns", "--", "/coredns", "-version"
    )


POLICY = """
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: no-forbidden}
spec:
  matchConstraints:
    resourceRules:
    - {apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}
  validations:
  - {expression: "object.metadata.name != 'forbidden'", message: "this name is forbidden"}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: no-forbidden}
spec: {policyName: no-forbidden, validationActions: [Deny]}
"""


def test_admission_policies_work(node: layout.Node) -> None:
    kubectl(node, "apply", "-f", "-", given=POLICY)
    dry = ("create", "configmap", "forbidden", "--dry-run=server")
    until(lambda: "this name is forbidden" in kubectl(node, *dry, check=False), "the policy applies")
    kubectl(node, "delete", "-f", "-", given=POLICY)


STATEFUL = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: keeper, namespace: default}
spec:
  serviceName: keeper
  selector: {matchLabels: {app: keeper}}
  template:
    metadata: {labels: {app: keeper}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - {name: pause, image: "registry.k8s.io/pause:3.10.1", volumeMounts: [{name: data, mountPath: /data}]}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {storageClassName: local, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
"""


def test_volumes_are_bound_and_recycled(node: layout.Node) -> None:
    kubectl(node, "apply", "-f", "-", given=STATEFUL)
    kubectl(node, "rollout", "status", "statefulset/keeper", "--timeout=90s")
    volume = kubectl(node, "get", "pvc", "data-keeper-0", "-o", "jsonpath={.spec.volumeName}")
    folder = node.var / f"local/volumes/{volume.rsplit('-', 1)[1]}"
    (folder / "kept").write_text("data")
    phase = ("get", "pv", volume, "-o", "jsonpath={.status.phase}")
    run("node", "recycle", "--name", ONE)
    assert kubectl(node, *phase) == "Bound", "a volume in use is never recycled"
    assert (folder / "kept").exists()
    kubectl(node, "delete", "statefulset", "keeper", "--wait")
    kubectl(node, "delete", "pvc", "data-keeper-0", "--wait")
    until(lambda: kubectl(node, *phase) == "Released", "the volume is released")
    assert (folder / "kept").exists()
    run("node", "recycle", "--name", ONE)
    until(lambda: kubectl(node, *phase) == "Available", "the volume is offered again")
    assert not list(folder.iterdir())


RELAY = """
apiVersion: v1
kind: ConfigMap
metadata: {{name: relay, namespace: default}}
data:
  # Every question opens a connection of its own: policies judge the first packet of each.
  Corefile: ".:53 {{\\n  forward . {server} {{\\n    expire 10ms\\n  }}\\n}}\\n"
---
apiVersion: v1
kind: Pod
metadata: {{name: relay, namespace: default, labels: {{app: relay}}}}
spec:
  terminationGracePeriodSeconds: 0
  securityContext: {{sysctls: [{{name: net.ipv4.ip_unprivileged_port_start, value: "0"}}]}}
  containers:
  - name: coredns
    image: registry.k8s.io/coredns/coredns:v1.12.4
    args: [-conf, /etc/coredns/Corefile]
    volumeMounts: [{{name: config, mountPath: /etc/coredns}}]
  volumes: [{{name: config, configMap: {{name: relay}}}}]
"""

POLICIES = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: relay, namespace: default}}
spec:
  podSelector: {{matchLabels: {{app: relay}}}}
  policyTypes: [Ingress, Egress]
  ingress: {ingress}
  egress: {egress}
"""


def test_network_policies_are_enforced(node: layout.Node) -> None:
    """A DNS relay is asked from the host and asks the cluster's DNS server: one connection in, one out."""
    dns_pod = ("-n", "kube-system", "get", "pods", "-l", "k8s-app=kube-dns", "-o", "jsonpath={.items[0].status.podIP}")
    kubectl(node, "apply", "-f", "-", given=RELAY.format(server=kubectl(node, *dns_pod)))
    kubectl(node, "wait", "--for=condition=Ready", "pod/relay", "--timeout=60s")
    relay = kubectl(node, "get", "pod", "relay", "-o", "jsonpath={.status.podIP}")
    name = f"kubernetes.default.svc.{layout.CLUSTER_DOMAIN}"

    def answers() -> bool:
        return api.resolve(relay, name, timeout=0.5) == node.api_service

    host = f"[{{from: [{{ipBlock: {{cidr: {node.host_address}/32}}}}], ports: [{{protocol: UDP, port: 53}}]}}]"
    other = "[{from: [{ipBlock: {cidr: 192.0.2.0/24}}]}]"
    server = (
        "[{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}}],"
        " ports: [{protocol: UDP, port: 53}]}]"
    )
    until(answers, "the relay answers without policies", 20)
    for ingress, egress, allowed in (
        (host, server, True),
        ("[]", server, False),
        (host, server, True),
        (host, "[]", False),
        (host, server, True),
        (other, server, False),
    ):
        kubectl(node, "apply", "-f", "-", given=POLICIES.format(ingress=ingress, egress=egress))
        until(lambda want=allowed: answers() is want, f"ingress {ingress}, egress {egress}: {allowed}", 20)  # type: ignore[misc]
    kubectl(node, "delete", "networkpolicy/relay", "pod/relay", "configmap/relay")


def test_git_server_stops_and_starts(node: layout.Node, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.yaml").write_text("a: 1\n")
    run("gitserver", "start", "--name", ONE)
    facts = json.loads(
        run("gitserver", "publish", "--name", ONE, "--repo", "fleet", "--from", str(source), "--json").stdout
    )

    def clone(target: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "GIT_SSL_CAINFO": facts["ca"], "GIT_CONFIG_GLOBAL": "/dev/null"}
        command = ["git", "clone", "--quiet", facts["host_url"], str(tmp_path / target)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    done = clone("first")
    assert done.returncode == 0, done.stderr
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=tmp_path / "first", capture_output=True, text=True, check=True
    )
    assert head.stdout.strip() == facts["commit"]
    run("gitserver", "stop", "--name", ONE)
    assert run("gitserver", "status", "--name", ONE, check=False).returncode == 1
    assert clone("second").returncode != 0
    run("gitserver", "start", "--name", ONE)
    assert clone("third").returncode == 0
    assert api.resolve(node.dns_service, layout.GIT_HOST) == node.host_address
