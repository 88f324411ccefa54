"""`consumption`: bring values from Vault to their consumers, until ended."""

from __future__ import annotations

import argparse
from pathlib import Path

from secret_authority.clients.kubernetes import Api
from secret_authority.contract.consumption_settings import ConsumptionSettings
from secret_authority.engine.common.http import serve
from secret_authority.engine.common.process import add_port, add_vault_arguments, begin, run_until_ended, vault_of
from secret_authority.engine.common.status import Status
from secret_authority.engine.consumption.controller import DELIVERED, ConsumptionController


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("consumption", help="bring values from Vault to their consumers")
    verb.add_argument("--task", type=Path, required=True, help="JSON file with the catalogue and configuration")
    add_vault_arguments(verb)
    verb.add_argument("--versions-role", required=True, help="role to read version numbers as")
    add_port(verb)
    verb.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    run_name, status = begin("consumption"), Status()
    serve(status, options.port, DELIVERED)
    vault, versions = vault_of(options), vault_of(options, options.versions_role)
    task = ConsumptionSettings.from_json(options.task.read_text())
    ca_file = Path(options.ca)
    return run_until_ended(
        ConsumptionController(
            task, Api.in_cluster(), vault, options.namespace, run_name, status, ca_file, versions=versions
        )
    )
