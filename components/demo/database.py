"""A real PostgreSQL for the example: one server, whose logins come from Vault. Not part of a layer.

start_database.py says what the pod does. The ways to it are those of the engine of rotation and of pods with the label
`USES_DATABASE`; there is no way out of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.kit.network import NamespacePolicies, pods, ports
from components.kit.pod_security import RESTRICTED_CONTAINER, RESTRICTED_POD_WITH_VOLUMES
from secret_authority.contract.names import (
    DOMAIN,
    ENGINE_NAMESPACE,
    EXAMPLE_DATABASE_IMAGE,
    MANAGED_BY,
    ROTATION_ACCOUNT,
)
from secret_authority.core.catalogue.schema import Catalogue

# The entry of the catalogue whose rotator has this server as its target.
SECRET = "orders-db"
USES_DATABASE = {f"{DOMAIN}/uses": SECRET}
_START = Path(__file__).with_name("start_database.py")
_KIND = "postgresql"


@dataclass(frozen=True)
class DatabasePlace:
    """Where the catalogue says that the server is, who administrates it, and where its clients are."""

    name: str
    namespace: str
    port: int
    admin_secret: str
    clients: tuple[str, ...]


def database_place(catalogue: Catalogue) -> DatabasePlace | None:
    """None when this catalogue has no such server in the cluster, or its administrator's Secret is not beside it."""
    entries = {secret.name: secret for secret in catalogue}
    entry = entries.get(SECRET)
    if entry is None or entry.rotator is None or entry.rotator.kind != _KIND:
        return None
    settings = entry.rotator.settings
    parts = str(settings["host"]).split(".")
    admin = entries.get(str(settings["admin"]))
    if len(parts) != 3 or parts[2] != "svc" or admin is None:
        return None
    beside = [consumer.secret for consumer in admin.consumers if consumer.namespace == parts[1]]
    if not beside:
        return None
    clients = tuple(sorted({consumer.namespace for consumer in entry.consumers}))
    return DatabasePlace(parts[0], parts[1], int(settings.get("port", 5432)), beside[0], clients)


@dataclass(frozen=True)
class DemoDatabaseArgs:
    """`storage_class` is the one of Vault's volumes; None is the cluster's default."""

    place: DatabasePlace
    storage_class: str | None


class DemoDatabase(pulumi.ComponentResource):
    """A StatefulSet with one pod and its volume, a Service, the start script, the network policy."""

    server: k8s.apps.v1.StatefulSet

    def __init__(self, name: str, args: DemoDatabaseArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("secret-authority:demo:Database", name, {}, opts)
        place = args.place
        labels = {"app": place.name}
        metadata = {"name": place.name, "namespace": place.namespace, "labels": {**MANAGED_BY, **labels}}
        here = pulumi.ResourceOptions(parent=self)
        script = k8s.core.v1.ConfigMap(name, metadata=metadata, data={"start.py": _START.read_text()}, opts=here)
        engine = pods(ENGINE_NAMESPACE, {"app": ROTATION_ACCOUNT})
        ways = {
            "from": [engine, *(pods(namespace, USES_DATABASE) for namespace in place.clients)],
            "ports": ports(place.port),
        }
        network = NamespacePolicies(name, self, place.namespace, []).policy(
            place.name, {"matchLabels": labels}, ingress=[ways], egress=[]
        )
        service = k8s.core.v1.Service(
            name,
            # It has no endpoints before the pod is ready; the StatefulSet waits for the pod.
            metadata={**metadata, "annotations": {"pulumi.com/skipAwait": "true"}},
            spec={"selector": labels, "ports": [{"name": "postgresql", "port": place.port}]},
            opts=here,
        )
        self.server = k8s.apps.v1.StatefulSet(
            name,
            metadata=metadata,
            spec={
                "replicas": 1,
                "serviceName": place.name,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": database_pod(place)},
                "volumeClaimTemplates": [
                    {
                        "metadata": {"name": "data"},
                        "spec": {
                            "accessModes": ["ReadWriteOnce"],
                            "resources": {"requests": {"storage": "256Mi"}},
                            **({"storageClassName": args.storage_class} if args.storage_class else {}),
                        },
                    }
                ],
                # The example's data go with the example.
                "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Retain"},
            },
            opts=pulumi.ResourceOptions(parent=self, depends_on=[script, network, service]),
        )
        self.register_outputs({"namespace": place.namespace, "service": place.name})


def database_pod(place: DatabasePlace) -> dict[str, Any]:
    """The pod, without an identity in the cluster and with a root file system that cannot be written."""
    volume, secret = "/var/lib/postgresql", f"/secrets/{place.admin_secret}"
    return {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 10,
        # Only at first: the server refuses data that a group may write.
        "securityContext": {**RESTRICTED_POD_WITH_VOLUMES, "fsGroupChangePolicy": "OnRootMismatch"},
        "containers": [
            {
                "name": "postgresql",
                "image": EXAMPLE_DATABASE_IMAGE,
                "imagePullPolicy": "IfNotPresent",
                "args": ["-B", "/start/start.py"],
                "env": [
                    {"name": "VOLUME", "value": volume},
                    {"name": "ADMIN", "value": secret},
                    {"name": "PORT", "value": str(place.port)},
                ],
                "ports": [{"name": "postgresql", "containerPort": place.port}],
                "readinessProbe": {"tcpSocket": {"port": place.port}, "periodSeconds": 1, "failureThreshold": 3},
                "securityContext": RESTRICTED_CONTAINER,
                "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
                "volumeMounts": [
                    {"name": "data", "mountPath": volume},
                    {"name": "sockets", "mountPath": "/run/postgresql"},
                    {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108  a mount of the pod
                    {"name": "start", "mountPath": "/start", "readOnly": True},
                    {"name": "admin", "mountPath": secret, "readOnly": True},
                ],
            }
        ],
        "volumes": [
            {"name": "sockets", "emptyDir": {"sizeLimit": "1Mi"}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "16Mi"}},
            {"name": "start", "configMap": {"name": place.name}},
            {"name": "admin", "secret": {"secretName": place.admin_secret, "defaultMode": 0o440}},
        ],
    }
