"""Network policies are enforced by kube-network-policies, when the toolchain has built it.

It judges the first packet of every connection that a pod makes or gets. Packets reach it through a kernel
queue. It sets the rules for that itself with nftables; where the kernel has no queue expression for
nftables, the node sets equal rules with iptables. While it does not run, new connections of pods wait.
"""

from __future__ import annotations

import subprocess
from typing import Any

from toolchain.node import layout
from toolchain.node.errors import NodeError
from toolchain.node.layout import Node

PROGRAM = "kube-network-policies"
IMAGE = "registry.k8s.io/networking/kube-network-policies:v0.8.0"
QUEUE = 98
CHAIN = "NETWORK-POLICY"


def available() -> bool:
    """Whether the program is there. Without it policies are accepted and not enforced."""
    try:
        layout.binary(PROGRAM)
    except NodeError:
        return False
    return True


def manifests(node: Node) -> list[dict[str, Any]]:
    """The controller as a DaemonSet in the node's network."""
    rbac = "rbac.authorization.k8s.io"
    metadata = {"name": PROGRAM, "namespace": "kube-system"}
    labels = {"app.kubernetes.io/name": PROGRAM}
    watched = [("", ["pods", "namespaces"]), ("networking.k8s.io", ["networkpolicies"])]
    container = {
        "name": PROGRAM,
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "args": [
            f"--hostname-override={node.name}",
            f"--nfqueue-id={QUEUE}",
            "--netfilter-bug-1766-fix=false",
            "--metrics-bind-address=127.0.0.1:9080",
        ],
        "resources": {"requests": {"cpu": "20m", "memory": "40Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]},
        },
    }
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": PROGRAM},
            "rules": [
                {"apiGroups": [group], "resources": resources, "verbs": ["list", "watch"]}
                for group, resources in watched
            ],
        },
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": PROGRAM},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": PROGRAM},
            "subjects": [{"kind": "ServiceAccount", "name": PROGRAM, "namespace": "kube-system"}],
        },
        {
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": metadata,
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "hostNetwork": True,
                        "serviceAccountName": PROGRAM,
                        "priorityClassName": "system-node-critical",
                        "tolerations": [{"operator": "Exists"}],
                        "terminationGracePeriodSeconds": 1,
                        "containers": [container],
                    },
                },
            },
        },
    ]


def ensure_rules(node: Node, init: int) -> None:
    """Send the first packet of every pod connection to the queue. Idempotent."""
    inside = ["nsenter", "--target", str(init), "--mount", "--net", "--"]
    probe = "add table inet probe\nadd chain inet probe c { type filter hook forward priority 0; }\n"
    probe += f"add rule inet probe c queue num {QUEUE}\n"
    if _run([*inside, "nft", "--check", "--file", "-"], probe).returncode == 0:
        return
    rules = [
        "-m conntrack --ctstate ESTABLISHED,RELATED -j RETURN",
        # The kubelet's probes and the API server's calls come from the node itself.
        "-m owner --uid-owner 0 -j RETURN",
        f"-s {node.pod_cidr} -j NFQUEUE --queue-num {QUEUE}",
        f"-d {node.pod_cidr} -j NFQUEUE --queue-num {QUEUE}",
    ]
    # Naming the chain empties it, and the whole text takes effect at once.
    text = "\n".join(["*mangle", f":{CHAIN} - [0:0]", *(f"-A {CHAIN} {rule}" for rule in rules), "COMMIT", ""])
    _need(_run([*inside, "iptables-restore", "--wait", "--noflush"], text))
    jump = ["POSTROUTING", "--jump", CHAIN]
    table = [*inside, "iptables", "--wait", "--table", "mangle"]
    if _run([*table, "--check", *jump]).returncode:
        _need(_run([*table, "--append", *jump]))


def _run(command: list[str], given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=given, capture_output=True, text=True, check=False)


def _need(done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode:
        raise NodeError(f"network policy rules: {done.args[7]} failed: {done.stderr.strip()}")
