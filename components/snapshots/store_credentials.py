"""Credentials of who writes to and reads the store: each in a file for one run, past Pulumi, never in a state."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pulumi
import pulumi_kubernetes as k8s

from components.kit.planted_record import planted_record
from components.kit.planting import own_secret_exists, plant_secret
from components.kit.rbac import metadata
from components.settings.stack import Settings
from secret_authority.access.snapshot_store import read_credentials
from secret_authority.clients.object_store.s3 import S3Credentials
from secret_authority.contract.names import (
    ACCESS_KEY_ID,
    ENGINE_NAMESPACE,
    SECRET_ACCESS_KEY,
    SNAPSHOT_READER,
    SNAPSHOT_WRITER,
)
from secret_authority.core.errors import InvalidInputError, Problem


@dataclass(frozen=True)
class StoreIdentity:
    """`variable` names the file for a run, `secret` the Secret in the cluster, `hook` what writes it."""

    role: str
    variable: str
    secret: str
    hook: str


WRITER = StoreIdentity("writer", "SECRET_AUTHORITY_SNAPSHOT_CREDENTIALS", SNAPSHOT_WRITER, "plant-snapshot-writer")
READER = StoreIdentity("reader", "SECRET_AUTHORITY_SNAPSHOT_READER", SNAPSHOT_READER, "plant-snapshot-reader")


def read_given(identity: StoreIdentity) -> S3Credentials | None:
    """The credentials in the file that the user names for this run, None without one. Raises `InvalidInputError`."""
    given = os.environ.get(identity.variable)
    return read_credentials(Path(given)) if given else None


def credentials_record(
    name: str,
    settings: Settings,
    identity: StoreIdentity,
    credentials: S3Credentials | None,
    opts: pulumi.ResourceOptions,
) -> k8s.core.v1.ConfigMap:
    """Says since when the credentials are in the cluster. Creating or changing it writes them first.

    In a run without a file it stays as it is; it cannot be created then, unless the Secret is there already.
    """
    plant, given = _planting(settings, identity, credentials), credentials is not None
    return planted_record(name, metadata(identity.secret), identity.secret, identity.hook, plant, given, opts)


def _planting(
    settings: Settings, identity: StoreIdentity, credentials: S3Credentials | None
) -> Callable[[pulumi.ResourceHookArgs], None]:
    def plant(_: pulumi.ResourceHookArgs) -> None:
        if credentials is None:
            if not own_secret_exists(settings.connection, ENGINE_NAMESPACE, identity.secret):
                file = f"the file of the {identity.role}'s credentials (docs/snapshots.md)"
                fix = f"run once with {identity.variable} set to {file}"
                message = f"has no {identity.role}'s credentials for the store of snapshots yet"
                raise InvalidInputError([Problem(f"cluster {settings.layout.cluster}", "", message, fix)])
            return
        values = {ACCESS_KEY_ID: credentials.access_key_id, SECRET_ACCESS_KEY: credentials.secret_access_key}
        plant_secret(settings.connection, ENGINE_NAMESPACE, identity.secret, values)

    return plant
