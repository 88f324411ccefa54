"""Snapshots of Vault: an identity that can do nothing else, and the engine that takes them as it.

They exist when Git has a snapshots.yaml. With a bucket as the store, the engine runs in the cluster as
`python -m secret_authority.engine snapshots`; a folder is written by `secret-authority snapshot now` alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pulumi
import pulumi_kubernetes as k8s

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
from components.runtime_authority.vault_objects import VaultConnection, VaultObjects
from components.settings.stack import Settings
from components.snapshots.store_credentials import READER, WRITER, credentials_record
from components.snapshots.verification import Verification
from secret_authority.clients.object_store.s3 import S3Credentials
from secret_authority.contract.names import (
    ENGINE_NAMESPACE,
    SNAPSHOT_ACCOUNT,
    SNAPSHOT_LEASE,
    SNAPSHOT_ROLE,
    SNAPSHOT_STATUS,
    SNAPSHOT_WRITER,
    TRUST_RECORD,
    UNSEAL_SHARES,
    VAULT_NAMESPACE,
    VAULT_PORT,
)
from secret_authority.contract.snapshot_settings import SnapshotEngineSettings
from secret_authority.contract.vault_policies import snapshot_policy
from secret_authority.repository.snapshot_settings import S3Settings, SnapshotSettings

UNSAVED = (
    "is missing: nothing that changes in Vault after phase 3 is saved outside of the cluster, and a lost cluster comes "
    "back with what Git holds. See docs/snapshots.md"
)
_WRITER_FOLDER = f"/{SNAPSHOT_WRITER}"
_SELECTOR = {"matchLabels": {"app": SNAPSHOT_ACCOUNT}}


@dataclass(frozen=True)
class SnapshotsArgs:
    """`connection` is the runtime authority's to Vault; `recipients` are those that a root holder admitted.

    `writer`, `reader`: credentials that this run plants, None for those that are there. `vault_image`: the server's.
    """

    settings: Settings
    snapshots: SnapshotSettings
    recipients: tuple[str, ...]
    writer: S3Credentials | None
    reader: S3Credentials | None
    vault_image: str
    connection: VaultConnection


class Snapshots(pulumi.ComponentResource):
    """The account, its policy and its role; with a bucket also the engine. `deployment` is None without one."""

    deployment: k8s.apps.v1.Deployment | None

    def __init__(self, name: str, args: SnapshotsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("secret-authority:snapshots:Snapshots", name, {}, opts)
        objects = VaultObjects(self, args.connection)
        objects.role(f"{name}-identity", SNAPSHOT_ROLE, snapshot_policy(), SNAPSHOT_ACCOUNT, ENGINE_NAMESPACE)
        account = engine_account(f"{name}-account", self, SNAPSHOT_ACCOUNT)
        s3 = args.snapshots.store.s3
        self.deployment = None if s3 is None else self._engine(name, args, s3, account)
        self.register_outputs({"role": SNAPSHOT_ROLE, "engine": self.deployment is not None})

    def _engine(
        self, name: str, args: SnapshotsArgs, s3: S3Settings, account: pulumi.Resource
    ) -> k8s.apps.v1.Deployment:
        here = pulumi.ResourceOptions(parent=self)
        record = credentials_record(f"{name}-writer", args.settings, WRITER, args.writer, here)
        reader = credentials_record(f"{name}-reader", args.settings, READER, args.reader, here)
        rules = {ENGINE_NAMESPACE: own_rules(), VAULT_NAMESPACE: vault_rules()}
        rights = [
            right
            for namespace, granted in rules.items()
            for right in grant(f"{name}-{namespace}", self, SNAPSHOT_ACCOUNT, namespace, granted)
        ]
        text = engine_settings(args, s3).to_json()
        network = self._network(name, s3)
        program = snapshot_program(args.settings.engine_image, text)
        engine = program.deploy(f"{name}-engine", self, [account, record, *rights, *network])
        config = f"{SNAPSHOT_ACCOUNT}-{program.file}"
        verification = Verification(args.settings, config, args.vault_image, store_port(s3))
        verification.create(f"{name}-verifier", self, [reader, engine])
        return engine

    def _network(self, name: str, s3: S3Settings) -> list[k8s.networking.v1.NetworkPolicy]:
        """Out: Vault, and the port of the store, whose name policies do not know. Into Vault: this engine."""
        own = NamespacePolicies(name, self, ENGINE_NAMESPACE, [])
        vaults = NamespacePolicies(f"{name}-vault", self, VAULT_NAMESPACE, [])
        to_vault = {"to": [pods(VAULT_NAMESPACE)], "ports": ports(VAULT_PORT)}
        to_store = {"ports": ports(store_port(s3))}
        from_engine = {"from": [pods(ENGINE_NAMESPACE, {"app": SNAPSHOT_ACCOUNT})], "ports": ports(VAULT_PORT)}
        return [
            own.policy("allow-snapshots", _SELECTOR, egress=[to_vault, to_store]),
            vaults.policy("allow-snapshots", {}, ingress=[from_engine]),
        ]


def store_port(s3: S3Settings) -> int:
    return urlsplit(s3.endpoint).port or 443


def engine_settings(args: SnapshotsArgs, s3: S3Settings) -> SnapshotEngineSettings:
    cluster = args.settings.layout.cluster
    return SnapshotEngineSettings(
        cluster, tuple(sorted(args.recipients)), s3.endpoint, s3.bucket, s3.region, s3.ca or "", s3.path_style
    )


def own_rules() -> list[dict[str, Any]]:
    """In the engine's namespace: its status and its lease, who the admitted recipients are, and how pods ended."""
    leases = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"]}
    configs = {"apiGroups": [""], "resources": ["configmaps"]}
    return [
        {**leases, "verbs": ["create"]},
        {**leases, "resourceNames": [SNAPSHOT_LEASE], "verbs": ["get", "update"]},
        {**configs, "verbs": ["create"]},
        {**configs, "resourceNames": [SNAPSHOT_STATUS], "verbs": ["get", "patch"]},
        {**configs, "resourceNames": [TRUST_RECORD], "verbs": ["get"]},
        # What verifications found is in the status of their pods.
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
    ]


def vault_rules() -> list[dict[str, Any]]:
    """In Vault's namespace: the unseal shares, which are age ciphertext."""
    return [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": [UNSEAL_SHARES], "verbs": ["get"]}]


def snapshot_program(image: str, text: str) -> EngineProgram:
    """The engine with its settings as JSON."""
    writer = {"name": SNAPSHOT_WRITER, "secret": {"secretName": SNAPSHOT_WRITER, "defaultMode": 0o440}}
    return EngineProgram(
        SNAPSHOT_ACCOUNT,
        "snapshots",
        image,
        file="settings",
        text=text,
        verb="snapshots",
        args=[f"--credentials={_WRITER_FOLDER}", *vault_arguments(SNAPSHOT_ROLE)],
        readiness=probe("/healthz", 2, 3),
        # A snapshot is in memory twice for a moment: as it is, and encrypted.
        resources={"requests": {"cpu": "20m", "memory": "96Mi"}, "limits": {"memory": "512Mi"}},
        mounts=[
            CA_MOUNT,
            {"name": SNAPSHOT_WRITER, "mountPath": _WRITER_FOLDER, "readOnly": True},
            TOKEN_MOUNT,
        ],
        volumes=[CA_VOLUME, writer, TOKEN_VOLUME],
    )
