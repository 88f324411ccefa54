"""Credentials of who writes to the store: given in a file for one run, written past Pulumi, never in a state."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pulumi
import pulumi_kubernetes as k8s

from components.kit.planted_record import planted_record
from components.kit.planting import own_secret_exists, plant_secret
from components.kit.rbac import metadata
from components.settings.stack import Settings
from secret_authority.access.snapshot_store import read_credentials
from secret_authority.clients.object_store.s3 import S3Credentials
from secret_authority.contract.names import ACCESS_KEY_ID, ENGINE_NAMESPACE, SECRET_ACCESS_KEY, SNAPSHOT_WRITER
from secret_authority.core.errors import InvalidInputError, Problem

VARIABLE = "SECRET_AUTHORITY_SNAPSHOT_CREDENTIALS"


def read_writer() -> S3Credentials | None:
    """The credentials in the file that the user names for this run, None without one. Raises `InvalidInputError`."""
    given = os.environ.get(VARIABLE)
    return read_credentials(Path(given)) if given else None


def writer_record(
    name: str, settings: Settings, credentials: S3Credentials | None, opts: pulumi.ResourceOptions
) -> k8s.core.v1.ConfigMap:
    """Says since when the credentials are in the cluster. Creating or changing it writes them first.

    In a run without a file it stays as it is; it cannot be created then, unless the Secret is there already.
    """
    plant, given = _planting(settings, credentials), credentials is not None
    record = metadata(SNAPSHOT_WRITER)
    return planted_record(name, record, SNAPSHOT_WRITER, "plant-snapshot-writer", plant, given, opts)


def _planting(settings: Settings, credentials: S3Credentials | None) -> Callable[[pulumi.ResourceHookArgs], None]:
    def plant(_: pulumi.ResourceHookArgs) -> None:
        if credentials is None:
            if not own_secret_exists(settings.connection, ENGINE_NAMESPACE, SNAPSHOT_WRITER):
                fix = f"run once with {VARIABLE} set to the file of the writer's credentials (docs/snapshots.md)"
                message = "has no credentials for the store of snapshots yet"
                raise InvalidInputError([Problem(f"cluster {settings.layout.cluster}", "", message, fix)])
            return
        values = {ACCESS_KEY_ID: credentials.access_key_id, SECRET_ACCESS_KEY: credentials.secret_access_key}
        plant_secret(settings.connection, ENGINE_NAMESPACE, SNAPSHOT_WRITER, values)

    return plant
