"""`authority`: keep Vault in service and hand the bootstrap secrets over, until ended."""

from __future__ import annotations

import argparse
from pathlib import Path

from secret_authority.clients.kubernetes import Api
from secret_authority.contract.engine_settings import EngineSettings
from secret_authority.engine.common.http import serve
from secret_authority.engine.common.process import add_port, begin, run_until_ended
from secret_authority.engine.common.status import Status
from secret_authority.engine.runtime_authority.controller import IN_SERVICE, RuntimeAuthorityController


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("authority", help="keep Vault in service and hand bootstrap secrets over")
    verb.add_argument("--settings", type=Path, required=True, help="JSON file with names and places")
    add_port(verb)
    verb.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    run_name, status = begin("engine"), Status()
    serve(status, options.port, IN_SERVICE)
    settings = EngineSettings.from_json(options.settings.read_text())
    return run_until_ended(RuntimeAuthorityController(settings, Api.in_cluster(), run_name, status))
