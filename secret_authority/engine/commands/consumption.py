"""`consumption`: bring values from Vault to their consumers, until ended."""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import signal
from pathlib import Path

from secret_authority.clients.kubernetes import Api
from secret_authority.clients.vault import Vault, kubernetes_login
from secret_authority.contract.consumption_settings import ConsumptionSettings
from secret_authority.engine.common.hardening import forbid_dumps
from secret_authority.engine.common.http import serve
from secret_authority.engine.common.status import Status
from secret_authority.engine.consumption.controller import DELIVERED, ConsumptionController


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("consumption", help="bring values from Vault to their consumers")
    verb.add_argument("--task", type=Path, required=True, help="JSON file with the catalogue and configuration")
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
    run_name = f"{os.environ.get('HOSTNAME', 'consumption')}-{secrets.token_hex(3)}"
    status = Status()
    serve(status, options.port, DELIVERED)
    vault = Vault(options.vault, options.ca, kubernetes_login(options.role, options.token))
    task = ConsumptionSettings.from_json(options.task.read_text())
    ca_file = Path(options.ca)
    engine = ConsumptionController(task, Api.in_cluster(), vault, options.namespace, run_name, status, ca_file)
    signal.signal(signal.SIGTERM, lambda *_: engine.stop())
    return engine.run()
