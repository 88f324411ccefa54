"""An application of the example that logs in to the example's database with what its Secret says. Not part of a layer.

Its Deployment is available when it is logged in, so a run of Pulumi ends after that. It has no identity in the cluster
and none in Vault.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.demo.database import SECRET, USES_DATABASE, DatabasePlace
from components.kit.engine_deployment import probe
from components.kit.network import NamespacePolicies, dns, pods, ports
from components.kit.pod_security import RESTRICTED_CONTAINER, RESTRICTED_POD_WITH_VOLUMES
from components.settings.network import NetworkSettings
from secret_authority.contract.names import MANAGED_BY

NAME = "orders"
ENDPOINT = "orders-db-endpoint"


@dataclass(frozen=True)
class DemoOrdersArgs:
    """`image` is the engine's. `place` says where the database is; the first of its client namespaces is this one's."""

    image: str
    place: DatabasePlace
    network: NetworkSettings


class DemoOrders(pulumi.ComponentResource):
    """One Deployment, which the engine of consumption restarts when its login changes, and its network policy."""

    deployment: k8s.apps.v1.Deployment
    logged_in: pulumi.Output[str]

    def __init__(self, name: str, args: DemoOrdersArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("secret-authority:demo:Orders", name, {}, opts)
        namespace, place = args.place.clients[0], args.place
        labels = {"app": NAME, **USES_DATABASE}
        to_database = {"to": [pods(place.namespace, {"app": place.name})], "ports": ports(place.port)}
        network = NamespacePolicies(name, self, namespace, []).policy(
            f"uses-{place.name}",
            {"matchLabels": USES_DATABASE},
            ingress=[],
            egress=[dns(args.network), to_database],
        )
        self.deployment = k8s.apps.v1.Deployment(
            name,
            metadata={"name": NAME, "namespace": namespace, "labels": {**MANAGED_BY, "app": NAME}},
            spec={
                "replicas": 1,
                "selector": {"matchLabels": {"app": NAME}},
                "template": {"metadata": {"labels": labels}, "spec": _pod(args.image)},
            },
            opts=pulumi.ResourceOptions(parent=self, depends_on=[network]),
        )
        where = f"{place.name}.{place.namespace}.svc"
        self.logged_in = self.deployment.status.apply(lambda _: f"{namespace}/{NAME} is logged in to {where}")
        self.register_outputs({"namespace": namespace, "loggedIn": self.logged_in})


def _pod(image: str) -> dict[str, Any]:
    mounted = (SECRET, ENDPOINT)
    return {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 5,
        "securityContext": RESTRICTED_POD_WITH_VOLUMES,
        "containers": [
            container(
                image,
                [f"/secrets/{secret}" for secret in mounted],
                [{"name": secret, "mountPath": f"/secrets/{secret}", "readOnly": True} for secret in mounted],
            )
        ],
        "volumes": [{"name": name, "secret": {"secretName": name, "defaultMode": 0o440}} for name in mounted],
    }


def container(image: str, folders: Sequence[str], mounts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The application, ready while its session lives. Without folders it reads its environment."""
    return {
        "name": NAME,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["database-session", "--database=orders", *folders],
        "securityContext": RESTRICTED_CONTAINER,
        "readinessProbe": probe("/readyz", 1, 3),
        "resources": {"requests": {"cpu": "5m", "memory": "32Mi"}, "limits": {"memory": "96Mi"}},
        "volumeMounts": list(mounts),
    }
