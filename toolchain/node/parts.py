"""The parts of a node: which program, with which arguments, and when it counts as running."""

from __future__ import annotations

import hashlib
import json
import ssl
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from toolchain.node import processes
from toolchain.node.errors import NodeError
from toolchain.node.layout import API_PORT, CLUSTER_DOMAIN, Node, binary
from toolchain.node.progress import Progress, tail

LOG_LIMIT = 64 * 1024 * 1024  # bytes after which a restart moves the log aside

_UNVERIFIED = ssl._create_unverified_context()  # noqa: S323

# In order of start.
NAMES = (
    "containerd",
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
)


@dataclass(frozen=True)
class Part:
    """One long-lived program of a node."""

    node: Node
    name: str
    arguments: Sequence[str]
    inputs: Sequence[Path] = ()
    health: str = ""

    @property
    def cgroup(self) -> str:
        return f"{self.node.cgroup}/parts/{self.name}"

    @property
    def log(self) -> Path:
        return self.node.logs / f"{self.name}.log"

    @property
    def pid(self) -> int | None:
        """The host's id of the process, or None when it does not run."""
        return processes.find(self.cgroup, self.name)

    @property
    def _mark(self) -> Path:
        return self.node.runtime / f"{self.name}.started"

    def fingerprint(self) -> str:
        """Changes when the program, its arguments or its input files change."""
        program = binary(self.name).resolve().stat()
        facts = [program.st_size, program.st_mtime_ns, *self.arguments]
        digest = hashlib.sha256(json.dumps(facts).encode())
        for path in self.inputs:
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def ensure(self, init: int, progress: Progress) -> bool:
        """Start the program unless it runs in its present form. True when it was started."""
        wanted = self.fingerprint()
        if self.pid is not None:
            if self._mark.exists() and self._mark.read_text() == wanted:
                return False
            progress.say(f"{self.name}: its configuration or program changed")
            processes.stop(self.cgroup, self.name, patience=3)
        progress.say(f"starting {self.name}")
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT:
            self.log.rename(self.log.with_suffix(".log.1"))
        self._mark.write_text(wanted)
        with self.log.open("ab") as log:
            processes.spawn([binary(self.name), *self.arguments], self.cgroup, log, namespaces_of=init)
        return True

    def unhealthy(self) -> str | None:
        """None when the part's own health endpoint says ok, else what it says. Raises when it ended."""
        self.check_alive()
        if not self.health:
            return None
        try:
            # The endpoint's certificate signs itself, and the answer carries nothing to protect.
            with urllib.request.urlopen(self.health, timeout=2, context=_UNVERIFIED) as answer:  # noqa: S310
                return None if answer.status == 200 else f"its health endpoint answers {answer.status}"
        except OSError as error:
            return f"its health endpoint: {error}"

    def check_alive(self) -> None:
        """Raise NodeError with the end of the log when the program is gone."""
        if self.pid is None:
            raise NodeError(f"{self.name}: it ended{tail(self.log)}")


def all_parts(node: Node) -> dict[str, Part]:
    """Every part of the node, in order of start."""
    builders = {
        "containerd": _containerd,
        "etcd": _etcd,
        "kube-apiserver": _apiserver,
        "kube-controller-manager": _controller_manager,
        "kube-scheduler": _scheduler,
        "kubelet": _kubelet,
        "kube-proxy": _proxy,
    }
    return {name: builders[name](node) for name in NAMES}


def _containerd(node: Node) -> Part:
    config = node.config / "containerd.toml"
    return Part(node, "containerd", ["--config", str(config)], [config])


def _etcd(node: Node) -> Part:
    pki = node.pki
    arguments = [
        f"--name={node.name}",
        "--data-dir=/var/lib/etcd",
        "--listen-client-urls=https://127.0.0.1:2379",
        "--advertise-client-urls=https://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--initial-advertise-peer-urls=http://127.0.0.1:2380",
        f"--initial-cluster={node.name}=http://127.0.0.1:2380",
        "--listen-metrics-urls=http://127.0.0.1:2381",
        f"--cert-file={pki}/etcd-server.crt",
        f"--key-file={pki}/etcd-server.key",
        f"--trusted-ca-file={pki}/etcd-ca.crt",
        "--client-cert-auth=true",
        "--snapshot-count=10000",
    ]
    return Part(node, "etcd", arguments, [pki / "etcd-server.crt", pki / "etcd-ca.crt"])


def _apiserver(node: Node) -> Part:
    pki, config = node.pki, node.config
    arguments = [
        f"--advertise-address={node.address}",
        f"--secure-port={API_PORT}",
        "--etcd-servers=https://127.0.0.1:2379",
        f"--etcd-cafile={pki}/etcd-ca.crt",
        f"--etcd-certfile={pki}/apiserver-etcd-client.crt",
        f"--etcd-keyfile={pki}/apiserver-etcd-client.key",
        f"--encryption-provider-config={config}/encryption.json",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        f"--client-ca-file={pki}/cluster-ca.crt",
        f"--authentication-config={config}/authentication.json",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--kubelet-certificate-authority={pki}/cluster-ca.crt",
        f"--kubelet-client-certificate={pki}/apiserver-kubelet-client.crt",
        f"--kubelet-client-key={pki}/apiserver-kubelet-client.key",
        "--kubelet-preferred-address-types=InternalIP",
        f"--service-account-issuer=https://kubernetes.default.svc.{CLUSTER_DOMAIN}",
        f"--service-account-key-file={pki}/service-account.pub",
        f"--service-account-signing-key-file={pki}/service-account.key",
        f"--service-cluster-ip-range={node.service_cidr}",
        f"--audit-policy-file={config}/audit-policy.json",
        f"--audit-log-path={node.logs}/audit.log",
        "--audit-log-maxsize=100",
        "--audit-log-maxbackup=3",
        "--allow-privileged=true",
        "--profiling=false",
    ]
    inputs = [
        config / "encryption.json",
        config / "authentication.json",
        config / "audit-policy.json",
        pki / "apiserver.crt",
        pki / "apiserver-kubelet-client.crt",
        pki / "cluster-ca.crt",
        pki / "service-account.pub",
    ]
    return Part(node, "kube-apiserver", arguments, inputs)


def _controller_manager(node: Node) -> Part:
    kubeconfig = node.config / "kube-controller-manager.kubeconfig"
    arguments = [
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--bind-address={node.address}",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        # With the default of 20 requests a second its forty controllers start one after the other.
        "--kube-api-qps=200",
        "--kube-api-burst=400",
        f"--client-ca-file={node.pki}/cluster-ca.crt",
        f"--root-ca-file={node.pki}/cluster-ca.crt",
        f"--cluster-signing-cert-file={node.pki}/cluster-ca.crt",
        f"--cluster-signing-key-file={node.pki}/cluster-ca.key",
        f"--service-account-private-key-file={node.pki}/service-account.key",
        f"--service-cluster-ip-range={node.service_cidr}",
        "--flex-volume-plugin-dir=/var/lib/kubelet/volume-plugins",
        "--profiling=false",
    ]
    health = f"https://{node.address}:10257/healthz"
    return Part(node, "kube-controller-manager", arguments, [kubeconfig], health)


def _scheduler(node: Node) -> Part:
    kubeconfig = node.config / "kube-scheduler.kubeconfig"
    arguments = [
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--client-ca-file={node.pki}/cluster-ca.crt",
        f"--bind-address={node.address}",
        "--leader-elect=false",
        "--profiling=false",
    ]
    health = f"https://{node.address}:10259/healthz"
    return Part(node, "kube-scheduler", arguments, [kubeconfig], health)


def _kubelet(node: Node) -> Part:
    config, kubeconfig = node.config / "kubelet.json", node.config / "kubelet.kubeconfig"
    arguments = [
        f"--config={config}",
        f"--kubeconfig={kubeconfig}",
        f"--hostname-override={node.name}",
        f"--node-ip={node.address}",
        "--root-dir=/var/lib/kubelet",
    ]
    inputs = [config, kubeconfig, node.pki / "kubelet-server.crt"]
    return Part(node, "kubelet", arguments, inputs, f"http://{node.address}:10248/healthz")


def _proxy(node: Node) -> Part:
    config, kubeconfig = node.config / "kube-proxy.json", node.config / "kube-proxy.kubeconfig"
    health = f"http://{node.address}:10256/healthz"
    return Part(node, "kube-proxy", [f"--config={config}"], [config, kubeconfig], health)
