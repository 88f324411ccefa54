"""The receiver of events: a small program of its own that files requests, and has no other right.

It exists when the catalogue has a part `events`. Pods of the namespaces that senders name reach its port for messages;
what it may do in Vault is `contract.vault_policies.events_policy`. RFC-SECOPS-0001 §6.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s

from components.consumption.external_secrets_manifests import GROUP
from components.kit.engine_deployment import (
    CA_MOUNT,
    CA_VOLUME,
    TOKEN_MOUNT,
    TOKEN_VOLUME,
    EngineProgram,
    probe,
    vault_arguments,
)
from components.kit.network import NamespacePolicies, pods, ports
from components.kit.rbac import engine_account, grant, metadata
from components.runtime_authority.vault_objects import VaultConnection, VaultObjects
from components.settings.stack import Settings
from secret_authority.contract.names import (
    ENGINE_NAMESPACE,
    EVENTS_ACCOUNT,
    EVENTS_PORT,
    EVENTS_ROLE,
    VAULT_NAMESPACE,
    VAULT_PORT,
)
from secret_authority.contract.rotation_settings import RotationSettings
from secret_authority.contract.vault_policies import events_policy
from secret_authority.core.catalogue.schema import Catalogue

_SELECTOR = {"app": EVENTS_ACCOUNT}


@dataclass(frozen=True)
class EventReceiverArgs:
    """`mount` are the resources of Vault's mount for requests."""

    settings: Settings
    cluster: str
    catalogue: Catalogue
    connection: VaultConnection
    mount: Sequence[pulumi.Resource]

    @property
    def senders(self) -> list[str]:
        """The namespaces from which messages come."""
        events = self.catalogue.events
        return sorted({sender.namespace for sender in events.senders}) if events else []

    @property
    def annotated(self) -> list[str]:
        """The namespaces whose ExternalSecrets may ask by annotation."""
        if self.catalogue.events is None or not self.catalogue.events.annotations:
            return []
        return sorted({c.namespace for secret in self.catalogue if secret.rotator for c in secret.consumers})


class EventReceiver(pulumi.ComponentResource):
    """An identity in Vault, the program, its Service, its network policies."""

    deployment: k8s.apps.v1.Deployment
    service: k8s.core.v1.Service

    def __init__(self, name: str, args: EventReceiverArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("secret-authority:rotation:EventReceiver", name, {}, opts)
        objects = VaultObjects(self, args.connection)
        policy = events_policy(args.catalogue)
        objects.role(f"{name}-vault", EVENTS_ROLE, policy, EVENTS_ACCOUNT, ENGINE_NAMESPACE, *args.mount)
        account = engine_account(f"{name}-account", self, EVENTS_ACCOUNT)
        rules = [{"apiGroups": [GROUP], "resources": ["externalsecrets"], "verbs": ["get"]}]
        rights = [
            right
            for namespace in args.annotated
            for right in grant(f"{name}-{namespace}", self, EVENTS_ACCOUNT, namespace, rules)
        ]
        text = RotationSettings(args.cluster, args.catalogue).to_json()
        program = events_program(args.settings.engine_image, text)
        network = self._network(name, args)
        self.deployment = program.deploy(f"{name}-program", self, [account, *rights, *args.mount, *network])
        self.service = k8s.core.v1.Service(
            f"{name}-service",
            metadata=metadata(EVENTS_ACCOUNT),
            spec={"selector": _SELECTOR, "ports": [{"name": "events", "port": 80, "targetPort": EVENTS_PORT}]},
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({"senders": args.senders})

    def _network(self, name: str, args: EventReceiverArgs) -> list[k8s.networking.v1.NetworkPolicy]:
        """In: messages from the senders' namespaces. Out: Vault."""
        own = NamespacePolicies(name, self, ENGINE_NAMESPACE, [])
        vaults = NamespacePolicies(f"{name}-vault", self, VAULT_NAMESPACE, [])
        from_senders = {"from": [pods(namespace) for namespace in args.senders], "ports": ports(EVENTS_PORT)}
        to_vault = {"to": [pods(VAULT_NAMESPACE)], "ports": ports(VAULT_PORT)}
        from_receiver = {"from": [pods(ENGINE_NAMESPACE, _SELECTOR)], "ports": ports(VAULT_PORT)}
        ingress = [from_senders] if args.senders else []
        return [
            own.policy("allow-events", {"matchLabels": _SELECTOR}, ingress=ingress, egress=[to_vault]),
            vaults.policy("allow-events", {}, ingress=[from_receiver]),
        ]


def events_program(image: str, text: str) -> EngineProgram:
    """The receiver with its settings as JSON."""
    return EngineProgram(
        EVENTS_ACCOUNT,
        "events",
        image,
        file="settings",
        text=text,
        verb="events",
        args=vault_arguments(EVENTS_ROLE),
        readiness=probe("/healthz", 2, 3),
        resources={"requests": {"cpu": "10m", "memory": "48Mi"}, "limits": {"memory": "128Mi"}},
        mounts=[CA_MOUNT, TOKEN_MOUNT],
        volumes=[CA_VOLUME, TOKEN_VOLUME],
    )
