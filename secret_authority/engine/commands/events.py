"""`events`: receive events of senders outside, and file requests for the engine of rotation, until ended."""

from __future__ import annotations

import argparse
from pathlib import Path

from secret_authority.clients.kubernetes import Api
from secret_authority.contract.names import EVENTS_PORT
from secret_authority.contract.rotation_settings import RotationSettings
from secret_authority.core.rotation.events import MOST_BODY_BYTES
from secret_authority.engine.common.http import serve, serve_posts
from secret_authority.engine.common.process import add_port, add_vault_arguments, begin, run_until_ended, vault_of
from secret_authority.engine.common.status import Status
from secret_authority.engine.events.receiver import RECEIVING, Receiver, posts


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("events", help="receive events and file requests for rotations")
    verb.add_argument("--settings", type=Path, required=True, help="JSON file with the catalogue")
    verb.add_argument("--events-port", type=int, default=EVENTS_PORT, help="port of the messages")
    add_vault_arguments(verb)
    add_port(verb)
    verb.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    begin("events")
    status = Status()
    serve(status, options.port, RECEIVING)
    settings = RotationSettings.from_json(options.settings.read_text())
    receiver = Receiver(settings, Api.in_cluster(), vault_of(options), status)
    serve_posts(posts(receiver), options.events_port, MOST_BODY_BYTES)
    return run_until_ended(receiver)
