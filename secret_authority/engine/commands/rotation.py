"""`rotation`: give secrets new values when they are due or when somebody asks, until ended."""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import signal
from pathlib import Path

from secret_authority.clients.kubernetes import Api
from secret_authority.clients.vault import Vault, kubernetes_login
from secret_authority.contract.rotation_settings import RotationSettings
from secret_authority.engine.common.hardening import forbid_dumps
from secret_authority.engine.common.http import serve
from secret_authority.engine.common.status import Status
from secret_authority.engine.rotation.controller import WORKING, RotationController


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("rotation", help="rotate what is due or asked for")
    verb.add_argument("--settings", type=Path, required=True, help="JSON file with the catalogue")
    verb.add_argument("--namespace", required=True, help="namespace of the status and the lease")
    verb.add_argument("--vault", required=True, help="address of Vault")
    verb.add_argument("--ca", required=True, help="file with the CA certificates of Vault")
    verb.add_argument("--role", required=True, help="role to log in to Vault as")
    verb.add_argument("--token", required=True, help="file with the service account token for Vault")
    verb.add_argument("--port", type=int, default=8080, help="port of health, readiness and metrics")
    verb.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    forbid_dumps()
    run_name = f"{os.environ.get('HOSTNAME', 'rotation')}-{secrets.token_hex(3)}"
    status = Status()
    serve(status, options.port, WORKING)
    vault = Vault(options.vault, options.ca, kubernetes_login(options.role, options.token))
    settings = RotationSettings.from_json(options.settings.read_text())
    engine = RotationController(settings, Api.in_cluster(), vault, options.namespace, run_name, status)
    signal.signal(signal.SIGTERM, lambda *_: engine.stop())
    return engine.run()
