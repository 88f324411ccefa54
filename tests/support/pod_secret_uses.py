"""Pods that use one Secret, each in another way. The guard, the policy and the restarts must all see it."""

from __future__ import annotations

from typing import Any

SECRET = "orders-db"
PAUSE = "registry.k8s.io/pause:3.10.1"
RESTRICTED = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
SELECTED = {"name": SECRET, "key": "password"}
USES: dict[str, dict[str, Any]] = {
    "env": {"containers": [{"env": [{"name": "P", "valueFrom": {"secretKeyRef": SELECTED}}]}]},
    "envFrom": {"containers": [{"envFrom": [{"secretRef": {"name": SECRET}}]}]},
    "init container": {
        "initContainers": [
            {"name": "i", "image": PAUSE, "securityContext": RESTRICTED, "envFrom": [{"secretRef": {"name": SECRET}}]}
        ]
    },
    "volume": {"volumes": [{"name": "v", "secret": {"secretName": SECRET}}]},
    "projected volume": {
        "volumes": [{"name": "v", "projected": {"sources": [{"secret": {"name": SECRET}}]}}],
    },
    "second source": {
        "volumes": [
            {"name": "a", "emptyDir": {}},
            {"name": "v", "projected": {"sources": [{"downwardAPI": {}}, {"secret": {"name": SECRET}}]}},
        ],
    },
    "imagePullSecrets": {"imagePullSecrets": [{"name": SECRET}]},
    "CSI volume": {
        "volumes": [{"name": "v", "csi": {"driver": "example.org", "nodePublishSecretRef": {"name": SECRET}}}],
    },
    "flex volume": {
        "volumes": [{"name": "v", "flexVolume": {"driver": "example.org/x", "secretRef": {"name": SECRET}}}]
    },
    "ISCSI volume": {
        "volumes": [
            {
                "name": "v",
                "iscsi": {
                    "targetPortal": "10.0.0.1",
                    "iqn": "iqn.2026-01.a:b",
                    "lun": 0,
                    "secretRef": {"name": SECRET},
                },
            }
        ],
    },
    "CephFS volume": {"volumes": [{"name": "v", "cephfs": {"monitors": ["10.0.0.1"], "secretRef": {"name": SECRET}}}]},
    "RBD volume": {
        "volumes": [{"name": "v", "rbd": {"monitors": ["10.0.0.1"], "image": "i", "secretRef": {"name": SECRET}}}],
    },
    "ScaleIO volume": {
        "volumes": [
            {
                "name": "v",
                "scaleIO": {
                    "gateway": "https://10.0.0.1",
                    "system": "s",
                    "volumeName": "n",
                    "secretRef": {"name": SECRET},
                },
            }
        ],
    },
    "StorageOS volume": {"volumes": [{"name": "v", "storageos": {"volumeName": "n", "secretRef": {"name": SECRET}}}]},
    "Azure file volume": {"volumes": [{"name": "v", "azureFile": {"secretName": SECRET, "shareName": "s"}}]},
}
