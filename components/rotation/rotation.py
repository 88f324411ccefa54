"""Rotation: an engine of its own that gives secrets new values. It exists when an entry of the catalogue has a rotator,
or is issued elsewhere and may expire.

In the cluster it runs `python -m secret_authority.engine rotation`. Its identity in Vault may write new versions of the
secrets that have a rotator and of no other; see `contract.vault_policies.rotation_policy`. RFC-SECOPS-0001 §6.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pulumi
import pulumi_kubernetes as k8s
import pulumi_vault as vault

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
from components.kit.rbac import engine_account, grant
from components.rotation.events import EventReceiver, EventReceiverArgs
from components.runtime_authority.vault_objects import VaultConnection, VaultObjects
from components.settings.stack import Settings
from secret_authority.contract.names import (
    ENGINE_NAMESPACE,
    REQUESTS_ACCOUNT,
    REQUESTS_ROLE,
    ROTATION_ACCOUNT,
    ROTATION_LOOKS_ROLE,
    ROTATION_MOUNT,
    ROTATION_ROLE,
    ROTATION_STATUS,
    VAULT_NAMESPACE,
    VAULT_PORT,
)
from secret_authority.contract.rotation_settings import RotationSettings
from secret_authority.contract.vault_policies import requests_policy, rotation_looks_policy, rotation_policy
from secret_authority.core.catalogue.schema import Catalogue, is_dated
from secret_authority.core.errors import InvalidInputError

# A document changes up to ten times in a rotation; the versions of two are there until they are destroyed.
_VERSIONS = 20
_POSTGRESQL_PORT, _HTTPS_PORT = 5432, 443
_SELECTOR = {"matchLabels": {"app": ROTATION_ACCOUNT}}


def needs_rotation(catalogue: Catalogue) -> bool:
    """Whether the engine has anything to rotate, or the end of a value to watch."""
    return any(is_dated(secret) for secret in catalogue)


def check_rotators(catalogue: Catalogue, file: str) -> None:
    """Raises `InvalidInputError` with every mistake in the rotators of a catalogue, before the first change."""
    if not any(secret.rotator for secret in catalogue):
        return
    # Rotators bring clients of their own; a stack without any does not load them.
    from secret_authority.engine.rotation.rotators import registry

    problems = registry.check(catalogue, file)
    if problems:
        raise InvalidInputError(problems)


@dataclass(frozen=True)
class RotationArgs:
    """`connection` is the runtime authority's to Vault."""

    settings: Settings
    cluster: str
    catalogue: Catalogue
    connection: VaultConnection

    @property
    def namespaces(self) -> list[str]:
        """Where the consumers of rotated secrets are."""
        return sorted({c.namespace for secret in self.catalogue if secret.rotator for c in secret.consumers})

    @property
    def targets(self) -> list[tuple[str, int]]:
        """Host and port of every target that has one."""
        settings = [secret.rotator.settings for secret in self.catalogue if secret.rotator]
        urls = [urlsplit(str(one["url"])) for one in settings if "url" in one]
        return sorted(
            {
                *((str(one["host"]), int(one.get("port", _POSTGRESQL_PORT))) for one in settings if "host" in one),
                *((str(url.hostname), url.port or _HTTPS_PORT) for url in urls),
            }
        )


class Rotation(pulumi.ComponentResource):
    """The mount of documents and requests, its roles in Vault, the engine, its network policies."""

    deployment: k8s.apps.v1.Deployment

    def __init__(self, name: str, args: RotationArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("secret-authority:rotation:Rotation", name, {}, opts)
        objects = VaultObjects(self, args.connection)
        mount = self._mount(name, objects)
        roles = [
            objects.role(f"{name}-{short}", role, policy(args.catalogue), ROTATION_ACCOUNT, ENGINE_NAMESPACE, *mount)
            for short, role, policy in (
                ("engine", ROTATION_ROLE, rotation_policy),
                ("looks", ROTATION_LOOKS_ROLE, rotation_looks_policy),
            )
        ]
        objects.role(f"{name}-requests", REQUESTS_ROLE, requests_policy(), REQUESTS_ACCOUNT, ENGINE_NAMESPACE, *mount)
        account = engine_account(f"{name}-account", self, ROTATION_ACCOUNT)
        engine_account(f"{name}-requests-account", self, REQUESTS_ACCOUNT)
        rules = {**{namespace: consumer_rules() for namespace in args.namespaces}, ENGINE_NAMESPACE: own_rules()}
        rights = [
            right
            for namespace, granted in rules.items()
            for right in grant(f"{name}-{namespace}", self, ROTATION_ACCOUNT, namespace, granted)
        ]
        text = RotationSettings(args.cluster, args.catalogue).to_json()
        program = rotation_program(args.settings.engine_image, text)
        network = self._network(name, args)
        self.deployment = program.deploy(f"{name}-engine", self, [account, *rights, *mount, *roles, *network])
        if args.catalogue.events is not None:
            receiver = EventReceiverArgs(args.settings, args.cluster, args.catalogue, args.connection, mount)
            EventReceiver(f"{name}-events", receiver, pulumi.ResourceOptions(parent=self))
        self.register_outputs({"namespaces": args.namespaces})

    @staticmethod
    def _mount(name: str, objects: VaultObjects) -> list[pulumi.Resource]:
        made = vault.Mount(
            f"{name}-{ROTATION_MOUNT}",
            path=ROTATION_MOUNT,
            type="kv",
            options={"version": "2"},
            opts=objects.opts(
                retain=True, existing=ROTATION_MOUNT if ROTATION_MOUNT in objects.connection.mounts else None
            ),
        )
        settings = vault.kv.SecretBackendV2(
            f"{name}-{ROTATION_MOUNT}",
            mount=made.path,
            cas_required=True,
            max_versions=_VERSIONS,
            opts=objects.opts(made, retain=True),
        )
        return [made, settings]

    def _network(self, name: str, args: RotationArgs) -> list[k8s.networking.v1.NetworkPolicy]:
        """Out: Vault and the targets. Into Vault: this engine, beside those that its own policy names."""
        own = NamespacePolicies(name, self, ENGINE_NAMESPACE, [])
        vaults = NamespacePolicies(f"{name}-vault", self, VAULT_NAMESPACE, [])
        to_vault = {"to": [pods(VAULT_NAMESPACE)], "ports": ports(VAULT_PORT)}
        from_engine = {
            "from": [pods(ENGINE_NAMESPACE, {"app": ROTATION_ACCOUNT})],
            "ports": ports(VAULT_PORT),
        }
        targets = [target_egress(host, port) for host, port in args.targets]
        return [
            own.policy("allow-rotation", _SELECTOR, egress=[to_vault, *targets]),
            vaults.policy("allow-rotation", {}, ingress=[from_engine]),
        ]


def target_egress(host: str, port: int) -> dict[str, Any]:
    """To a Service of the cluster (`name.namespace.svc`): pods of its namespace. Elsewhere policies know no names."""
    parts = host.split(".")
    inside = len(parts) >= 3 and parts[2] == "svc"
    return {**({"to": [pods(parts[1])]} if inside else {}), "ports": ports(port)}


def consumer_rules() -> list[dict[str, Any]]:
    """In a consumer namespace: see which version ExternalSecrets and pods have. No Secret, no change."""
    return [
        {"apiGroups": [GROUP], "resources": ["externalsecrets"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
    ]


def own_rules() -> list[dict[str, Any]]:
    """In the engine's namespace: its status and its lease."""
    leases = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"]}
    configs = {"apiGroups": [""], "resources": ["configmaps"]}
    return [
        {**leases, "verbs": ["create"]},
        {**leases, "resourceNames": [ROTATION_ACCOUNT], "verbs": ["get", "update"]},
        {**configs, "verbs": ["create"]},
        {**configs, "resourceNames": [ROTATION_STATUS], "verbs": ["get", "patch"]},
    ]


def rotation_program(image: str, text: str) -> EngineProgram:
    """The engine with its settings as JSON."""
    return EngineProgram(
        ROTATION_ACCOUNT,
        "rotation",
        image,
        file="settings",
        text=text,
        verb="rotation",
        args=[*vault_arguments(ROTATION_ROLE), f"--looks-role={ROTATION_LOOKS_ROLE}"],
        readiness=probe("/healthz", 2, 3),
        resources={"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        mounts=[CA_MOUNT, TOKEN_MOUNT],
        volumes=[CA_VOLUME, TOKEN_VOLUME],
    )
