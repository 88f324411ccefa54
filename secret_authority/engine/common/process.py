"""What the processes of all controllers have in common: log, name of the run, login to Vault, end."""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import signal
from typing import Protocol

from secret_authority.clients.vault import Vault, kubernetes_login
from secret_authority.engine.common.hardening import forbid_dumps


class Controller(Protocol):
    def stop(self) -> None: ...

    def run(self) -> int: ...


def add_vault_arguments(verb: argparse.ArgumentParser) -> None:
    """The arguments of a controller that logs in to Vault with a role of its own; `vault_of` reads them."""
    verb.add_argument("--namespace", required=True, help="namespace of the status and the lease")
    verb.add_argument("--vault", required=True, help="address of Vault")
    verb.add_argument("--ca", required=True, help="file with the CA certificates of Vault")
    verb.add_argument("--role", required=True, help="role to log in to Vault as")
    verb.add_argument("--token", required=True, help="file with the service account token for Vault")


def add_port(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--port", type=int, default=8080, help="port of health, readiness and metrics")


def vault_of(options: argparse.Namespace, role: str = "") -> Vault:
    """Vault, logged in to as `role`, by default the controller's own."""
    return Vault(options.vault, options.ca, kubernetes_login(role or options.role, options.token))


def begin(name: str) -> str:
    """Set up the log, forbid core dumps, and name this run.

    The name is part of the audit trail: the pod says where, the rest makes each start a run of its own. `name` stands
    for the pod where there is none.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    forbid_dumps()
    return f"{os.environ.get('HOSTNAME', name)}-{secrets.token_hex(3)}"


def run_until_ended(controller: Controller) -> int:
    """Run until SIGTERM or the loss of the lease. Returns the exit code."""
    signal.signal(signal.SIGTERM, lambda *_: controller.stop())
    return controller.run()
