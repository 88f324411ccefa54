"""`snapshots`: save Vault outside of the cluster when something has changed, and daily, until ended."""

from __future__ import annotations

import argparse
from pathlib import Path

from secret_authority.clients.kubernetes import Api
from secret_authority.clients.object_store.s3 import S3Credentials, S3Store
from secret_authority.clients.vault import Vault, kubernetes_login
from secret_authority.contract.names import ACCESS_KEY_ID, SECRET_ACCESS_KEY
from secret_authority.contract.snapshot_settings import SnapshotEngineSettings
from secret_authority.core.errors import Unavailable
from secret_authority.engine.common.http import serve
from secret_authority.engine.common.process import add_port, add_vault_arguments, begin, run_until_ended
from secret_authority.engine.common.status import Status
from secret_authority.engine.snapshots.controller import OBSERVED, SnapshotController


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("snapshots", help="take snapshots of Vault and write them to a store")
    verb.add_argument("--settings", type=Path, required=True, help="JSON file with the store and the recipients")
    verb.add_argument("--credentials", type=Path, required=True, help="folder with the credentials of the store")
    add_vault_arguments(verb)
    add_port(verb)
    verb.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    run_name, status = begin("snapshots"), Status()
    serve(status, options.port, OBSERVED)
    settings = SnapshotEngineSettings.from_json(options.settings.read_text())

    def connect(address: str) -> Vault:
        return Vault(address, options.ca, kubernetes_login(options.role, options.token))

    def store() -> S3Store:
        return open_store(settings, options.credentials)

    controller = SnapshotController(
        settings, Api.in_cluster(), connect, options.vault, store, options.namespace, run_name, status
    )
    return run_until_ended(controller)


def open_store(settings: SnapshotEngineSettings, folder: Path) -> S3Store:
    """The store with the credentials that are mounted now. Raises `Unavailable` without them."""
    try:
        key, secret = ((folder / name).read_text().strip() for name in (ACCESS_KEY_ID, SECRET_ACCESS_KEY))
    except OSError as error:
        raise Unavailable(f"the credentials of the store cannot be read: {error.strerror}") from None
    credentials = S3Credentials(key, secret)
    ca = settings.ca or None
    return S3Store(settings.endpoint, settings.bucket, settings.region, credentials, ca, settings.path_style)
