"""A workload that proves which values it reads, for the example repository and the tests. Not part of a layer.

It mounts every consumer Secret of its namespace and prints a keyed fingerprint of each, under a key that is
itself an internal secret of the catalogue. It has no identity in the cluster and none in Vault.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.kit.pod_security import RESTRICTED_CONTAINER, RESTRICTED_POD_WITH_VOLUMES
from secret_authority.contract.names import MANAGED_BY, RESTART_ON_CHANGE
from secret_authority.core.catalogue.schema import Catalogue, SecretClass

NAME = "fingerprint"
_APP = {"app": NAME}


def fingerprint_key(catalogue: Catalogue) -> tuple[str, str, str] | None:
    """Namespace, Secret and key of the first internal secret that has a consumer; its value keys the fingerprints."""
    for secret in catalogue.of_class(SecretClass.INTERNAL):
        for consumer in secret.consumers:
            return consumer.namespace, consumer.secret, min(consumer.keys)
    return None


@dataclass(frozen=True)
class DemoWorkloadArgs:
    """`image` is the engine's. `fingerprint_key` is from the function of this name."""

    image: str
    catalogue: Catalogue
    fingerprint_key: tuple[str, str, str]


class DemoWorkload(pulumi.ComponentResource):
    """One Deployment, restarted by the engine of consumption when a value changes."""

    deployment: k8s.apps.v1.Deployment

    def __init__(self, name: str, args: DemoWorkloadArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("secret-authority:demo:Workload", name, {}, opts)
        namespace, key_secret, key = args.fingerprint_key
        mounted = sorted(c.secret for secret in args.catalogue for c in secret.consumers if c.namespace == namespace)
        self.deployment = k8s.apps.v1.Deployment(
            name,
            metadata={
                "name": NAME,
                "namespace": namespace,
                "labels": {**MANAGED_BY, **_APP},
                "annotations": {RESTART_ON_CHANGE: "true"},
            },
            spec={
                "replicas": 1,
                "selector": {"matchLabels": _APP},
                "template": {
                    "metadata": {"labels": _APP},
                    "spec": _pod(args.image, mounted, f"/secrets/{key_secret}/{key}"),
                },
            },
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({"namespace": namespace})


def _pod(image: str, mounted: list[str], key_file: str) -> dict[str, Any]:
    return {
        # The default account without a token: a workload needs no identity to read its Secrets.
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 5,
        "securityContext": RESTRICTED_POD_WITH_VOLUMES,
        "containers": [
            {
                "name": NAME,
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "args": [NAME, f"--key={key_file}", *(f"/secrets/{secret}" for secret in mounted)],
                "securityContext": RESTRICTED_CONTAINER,
                "resources": {"requests": {"cpu": "5m", "memory": "32Mi"}, "limits": {"memory": "96Mi"}},
                "volumeMounts": [
                    {"name": f"secret-{index}", "mountPath": f"/secrets/{secret}", "readOnly": True}
                    for index, secret in enumerate(mounted)
                ],
            }
        ],
        "volumes": [
            # Optional: a secret that nobody has entered yet keeps no pod from starting.
            {"name": f"secret-{index}", "secret": {"secretName": secret, "optional": True, "defaultMode": 0o440}}
            for index, secret in enumerate(mounted)
        ],
    }
