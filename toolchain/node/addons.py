"""What the node puts into its cluster: cluster DNS, storage, and leave for the API server to use the kubelet."""

from __future__ import annotations

import shutil
from typing import Any

from toolchain.node import api, netpolicy
from toolchain.node.errors import NodeError
from toolchain.node.layout import CLUSTER_DOMAIN, GIT_HOST, VOLUME_COUNT, Node
from toolchain.node.progress import Progress

COREDNS_IMAGE = "registry.k8s.io/coredns/coredns:v1.12.4"
DNS_LABELS = {"k8s-app": "kube-dns"}
STORAGE_CLASS = "local"
VOLUME_SIZE = "1Gi"
RECYCLE_ANNOTATION = "secret-authority.dev/volume"


def manifests(node: Node) -> list[dict[str, Any]]:
    """Every object, in order of creation."""
    enforcement = netpolicy.manifests(node) if netpolicy.available() else []
    return [*_kubelet_access(), *enforcement, *_dns(node), *_storage(node)]


def apply(node: Node, client: api.Client) -> None:
    for manifest in manifests(node):
        client.apply(manifest)


def _kubelet_access() -> list[dict[str, Any]]:
    """`kubectl logs` and `exec`: the API server's client certificate may use the kubelet's API."""
    return [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "kube-apiserver-kubelet-client"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "system:kubelet-api-admin",
            },
            "subjects": [
                {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": "User",
                    "name": "kube-apiserver-kubelet-client",
                }
            ],
        }
    ]


def corefile(node: Node) -> str:
    """Names of the cluster, the Git server of the host, and a quick "no" for everything else."""
    return f"""{CLUSTER_DOMAIN}:53 in-addr.arpa:53 ip6.arpa:53 {{
    errors
    kubernetes {CLUSTER_DOMAIN} in-addr.arpa ip6.arpa {{
        pods insecure
        ttl 30
    }}
}}

{GIT_HOST}:53 {{
    errors
    hosts {{
        {node.host_address} {GIT_HOST}
    }}
}}

.:53 {{
    errors
    health :8080 {{
        lameduck 0s
    }}
    ready :8181
    template ANY ANY . {{
        rcode NXDOMAIN
    }}
    reload 10s
}}
"""


def _dns(node: Node) -> list[dict[str, Any]]:
    labels = {**DNS_LABELS, "app.kubernetes.io/name": "coredns"}
    metadata = {"name": "coredns", "namespace": "kube-system", "labels": labels}
    rbac = "rbac.authorization.k8s.io"
    container = {
        "name": "coredns",
        "image": COREDNS_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "ports": [
            {"name": "dns", "containerPort": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "containerPort": 53, "protocol": "TCP"},
        ],
        "livenessProbe": {
            "httpGet": {"path": "/health", "port": 8080},
            "initialDelaySeconds": 10,
            "failureThreshold": 5,
        },
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 2},
        "resources": {"requests": {"cpu": "20m", "memory": "40Mi"}, "limits": {"memory": "170Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns", "readOnly": True}],
    }
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "system:coredns"},
            "rules": [
                {
                    "apiGroups": [""],
                    "resources": ["endpoints", "services", "pods", "namespaces"],
                    "verbs": ["list", "watch"],
                },
                {
                    "apiGroups": ["discovery.k8s.io"],
                    "resources": ["endpointslices"],
                    "verbs": ["list", "watch"],
                },
            ],
        },
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "system:coredns"},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "system:coredns"},
            "subjects": [{"kind": "ServiceAccount", "name": "coredns", "namespace": "kube-system"}],
        },
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {"Corefile": corefile(node)},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": DNS_LABELS},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "serviceAccountName": "coredns",
                        "priorityClassName": "system-cluster-critical",
                        "dnsPolicy": "Default",
                        "securityContext": {
                            "runAsNonRoot": True,
                            "runAsUser": 65532,
                            "seccompProfile": {"type": "RuntimeDefault"},
                            # Port 53 without root and without a capability; network policies name that port.
                            "sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}],
                        },
                        "containers": [container],
                        "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
                    },
                },
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {**metadata, "name": "kube-dns"},
            "spec": {
                "clusterIP": node.dns_service,
                "selector": DNS_LABELS,
                "ports": [
                    {"name": "dns", "port": 53, "targetPort": 53, "protocol": "UDP"},
                    {"name": "dns-tcp", "port": 53, "targetPort": 53, "protocol": "TCP"},
                ],
            },
        },
    ]


def volume_name(node: Node, number: int) -> str:
    return f"local-{node.name}-{number}"


def _storage(node: Node) -> list[dict[str, Any]]:
    """A pool of volumes made in advance. The class is not the default: who wants one says so."""
    storage_class = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": STORAGE_CLASS},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
        "reclaimPolicy": "Retain",
    }
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node.name]}
    volumes = [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {
                "name": volume_name(node, number),
                "annotations": {RECYCLE_ANNOTATION: str(number)},
            },
            "spec": {
                "capacity": {"storage": VOLUME_SIZE},
                "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": STORAGE_CLASS,
                "volumeMode": "Filesystem",
                "local": {"path": f"/var/local/volumes/{number}"},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
            },
        }
        for number in range(VOLUME_COUNT)
    ]
    return [storage_class, *volumes]


def recycle(node: Node, client: api.Client, progress: Progress) -> int:
    """Empty every released volume and offer it again. Returns how many.

    A volume is released when the claim that held it is gone. One that is bound is never touched.
    """
    recycled = 0
    for number in range(VOLUME_COUNT):
        path = f"/api/v1/persistentvolumes/{volume_name(node, number)}"
        volume = client.get(path)
        if volume is None or volume.get("status", {}).get("phase") != "Released":
            continue
        _empty(node, number)
        version = volume["metadata"]["resourceVersion"]
        release = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": version},
            {"op": "remove", "path": "/spec/claimRef"},
        ]
        client.json("PATCH", path, release, "application/json-patch+json")
        progress.say(f"volume {volume_name(node, number)}: emptied and offered again")
        recycled += 1
    return recycled


def _empty(node: Node, number: int) -> None:
    folder = node.var / f"local/volumes/{number}"
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    if any(folder.iterdir()):
        raise NodeError(f"volume {number}: {folder} cannot be emptied")
