"""Configuration files of the node's parts. JSON is YAML, so no YAML writer is needed."""

from __future__ import annotations

import base64
import json
import os
import secrets
from pathlib import Path
from typing import Any

from toolchain.node.layout import API_PORT, CLUSTER_DOMAIN, Node

PAUSE_IMAGE = "registry.k8s.io/pause:3.10.1"

# File name of the kubeconfig -> name of the client certificate.
KUBECONFIGS = {
    "kubelet": "kubelet-client",
    "kube-controller-manager": "controller-manager",
    "kube-scheduler": "scheduler",
    "kube-proxy": "proxy",
}


def write(path: Path, content: str, mode: int = 0o644) -> None:
    """Write a file whole or not at all. An unchanged file is left alone."""
    try:
        if path.read_text() == content:
            return
    except OSError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".new")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(handle, "w") as stream:
        stream.write(content)
    partial.replace(path)


def _json(path: Path, content: dict[str, Any], mode: int = 0o644) -> None:
    write(path, json.dumps(content, indent=2) + "\n", mode)


def write_all(node: Node) -> None:
    """Write every configuration file. The PKI exists already."""
    folder = node.config
    write(folder / "containerd.toml", containerd(node))
    _json(folder / "cni/10-pods.conflist", cni(node))
    write(folder / "resolv.conf", "# Pods use the cluster DNS. The node has no way out.\n")
    _json(folder / "kubelet.json", kubelet(node))
    _json(folder / "kube-proxy.json", kube_proxy(node))
    _json(folder / "authentication.json", authentication())
    _json(folder / "audit-policy.json", audit_policy())
    _encryption(folder / "encryption.json")
    for name, certificate in KUBECONFIGS.items():
        _json(folder / f"{name}.kubeconfig", kubeconfig(node, certificate), 0o600)
    _json(node.kubeconfig, kubeconfig(node, "admin"), 0o600)


def containerd(node: Node) -> str:
    """Containerd 1.6 configuration, version 2 of the format."""
    return f"""version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]

[grpc]
address = "/run/containerd/containerd.sock"

[plugins."io.containerd.internal.v1.opt"]
path = "/var/lib/containerd/opt"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
stream_server_address = "127.0.0.1"
# Needed on machines whose root may not lower an out-of-memory score; elsewhere it changes nothing.
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{node.config}/cni"
"""


def cni(node: Node) -> dict[str, Any]:
    """Pod network: every pod hangs on a routed pair of its own, so that all traffic passes nftables."""
    return {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": False,
                "ipam": {
                    "type": "host-local",
                    "dataDir": "/run/cni/networks",
                    "ranges": [[{"subnet": node.pod_cidr}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def kubelet(node: Node) -> dict[str, Any]:
    pki = node.pki
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": node.address,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(pki / "cluster-ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(pki / "kubelet-server.crt"),
        "tlsPrivateKeyFile": str(pki / "kubelet-server.key"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{node.cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [node.dns_service],
        "clusterDomain": CLUSTER_DOMAIN,
        "resolvConf": str(node.config / "resolv.conf"),
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "healthzBindAddress": node.address,
        "readOnlyPort": 0,
        # The node shares its disk with the machine: no measuring, no eviction until it is nearly full.
        "localStorageCapacityIsolation": False,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        # Images are imported, not pulled. A removed image would not come back.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "serializeImagePulls": False,
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        "nodeStatusUpdateFrequency": "5s",
        "logging": {"format": "text"},
    }


def kube_proxy(node: Node) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clusterCIDR": node.pod_cidr,
        "hostnameOverride": node.name,
        "clientConnection": {"kubeconfig": str(node.config / "kube-proxy.kubeconfig")},
        "healthzBindAddress": f"{node.address}:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        # These settings belong to the whole machine; the node leaves them alone.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }


def authentication() -> dict[str, Any]:
    """Anonymous requests reach the health endpoints and nothing else."""
    return {
        "apiVersion": "apiserver.config.k8s.io/v1beta1",
        "kind": "AuthenticationConfiguration",
        "anonymous": {
            "enabled": True,
            "conditions": [{"path": path} for path in ("/livez", "/readyz", "/healthz")],
        },
    }


def audit_policy() -> dict[str, Any]:
    """Who did what, never with which content. Reads of leases and events would drown the rest."""
    quiet = [
        {"group": "coordination.k8s.io", "resources": ["leases"]},
        {"group": "", "resources": ["events"]},
        {"group": "events.k8s.io", "resources": ["events"]},
    ]
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "omitManagedFields": True,
        "rules": [
            {"level": "None", "resources": quiet},
            {"level": "None", "nonResourceURLs": ["/livez*", "/readyz*", "/healthz*"]},
            {"level": "Metadata"},
        ],
    }


def _encryption(path: Path) -> None:
    """Secrets are encrypted in etcd with a key made once for each node."""
    if path.exists():
        return
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    _json(
        path,
        {
            "apiVersion": "apiserver.config.k8s.io/v1",
            "kind": "EncryptionConfiguration",
            "resources": [
                {
                    "resources": ["secrets"],
                    "providers": [{"secretbox": {"keys": [{"name": "node", "secret": key}]}}, {"identity": {}}],
                }
            ],
        },
        0o600,
    )


def kubeconfig(node: Node, certificate: str) -> dict[str, Any]:
    def encoded(name: str) -> str:
        return base64.b64encode((node.pki / name).read_bytes()).decode()

    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": node.name,
                "cluster": {
                    "server": f"https://{node.address}:{API_PORT}",
                    "certificate-authority-data": encoded("cluster-ca.crt"),
                },
            }
        ],
        "users": [
            {
                "name": certificate,
                "user": {
                    "client-certificate-data": encoded(f"{certificate}.crt"),
                    "client-key-data": encoded(f"{certificate}.key"),
                },
            }
        ],
        "contexts": [{"name": node.name, "context": {"cluster": node.name, "user": certificate}}],
        "current-context": node.name,
    }
