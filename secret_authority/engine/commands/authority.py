"""`authority`: keep Vault in service and hand the bootstrap secrets over, until ended."""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import signal
from pathlib import Path

from secret_authority.clients.kubernetes import Api
from secret_authority.contract.engine_settings import EngineSettings
from secret_authority.engine.common.hardening import forbid_dumps
from secret_authority.engine.common.http import serve
from secret_authority.engine.common.status import Status
from secret_authority.engine.runtime_authority.controller import IN_SERVICE, RuntimeAuthorityController


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("authority", help="keep Vault in service and hand bootstrap secrets over")
    verb.add_argument("--settings", type=Path, required=True, help="JSON file with names and places")
    verb.add_argument("--port", type=int, default=8080, help="port of health, readiness and metrics")
    verb.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    forbid_dumps()
    # The run's name stands in the audit trail: the pod says where, the rest makes each start its own run.
    run_name = f"{os.environ.get('HOSTNAME', 'engine')}-{secrets.token_hex(3)}"
    status = Status()
    serve(status, options.port, IN_SERVICE)
    engine = RuntimeAuthorityController(
        EngineSettings.from_json(options.settings.read_text()), Api.in_cluster(), run_name, status
    )
    signal.signal(signal.SIGTERM, lambda *_: engine.stop())
    return engine.run()
