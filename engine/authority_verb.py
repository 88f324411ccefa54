"""`python -m engine authority`: keep Vault in service and hand the bootstrap secrets over, until ended."""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import signal
from pathlib import Path

from engine.authority_loop import IN_SERVICE, Engine, LoopSettings
from engine.kubernetes_api import Api
from engine.status import Status, serve


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("authority", help="keep Vault in service and hand bootstrap secrets over")
    verb.add_argument("--settings", type=Path, required=True, help="JSON file with names and places")
    verb.add_argument("--port", type=int, default=8080, help="port of health, readiness and metrics")
    verb.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    # The run's name stands in the audit trail: the pod says where, the rest makes each start its own run.
    run_name = f"{os.environ.get('HOSTNAME', 'engine')}-{secrets.token_hex(3)}"
    status = Status()
    serve(status, options.port, IN_SERVICE)
    engine = Engine(LoopSettings.read(options.settings), Api.in_cluster(), run_name, status)
    signal.signal(signal.SIGTERM, lambda *_: engine.stop())
    return engine.run()
