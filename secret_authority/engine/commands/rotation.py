"""`rotation`: give secrets new values when they are due or when somebody asks, until ended."""

from __future__ import annotations

import argparse
from pathlib import Path

from secret_authority.clients.kubernetes import Api
from secret_authority.contract.rotation_settings import RotationSettings
from secret_authority.engine.common.http import serve
from secret_authority.engine.common.process import add_port, add_vault_arguments, begin, run_until_ended, vault_of
from secret_authority.engine.common.status import Status
from secret_authority.engine.rotation.controller import WORKING, RotationController


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("rotation", help="rotate what is due or asked for")
    verb.add_argument("--settings", type=Path, required=True, help="JSON file with the catalogue")
    add_vault_arguments(verb)
    verb.add_argument("--looks-role", required=True, help="role to look at every secret as")
    add_port(verb)
    verb.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    run_name, status = begin("rotation"), Status()
    serve(status, options.port, WORKING)
    vault, looks = vault_of(options), vault_of(options, options.looks_role)
    settings = RotationSettings.from_json(options.settings.read_text())
    return run_until_ended(
        RotationController(settings, Api.in_cluster(), vault, options.namespace, run_name, status, looks=looks)
    )
