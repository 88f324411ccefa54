"""`python -m engine consumption-evidence`: wait for the evidence of layer 5, and fail with what is missing."""

from __future__ import annotations

import argparse
import json
import time
from datetime import UTC, datetime
from pathlib import Path

from authority.transfer import Unavailable
from engine.consumption_loop import STATUS_CONFIG
from engine.handover_evidence_verb import missing
from engine.kubernetes_api import Api, named
from engine.termination import fail


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("consumption-evidence", help="wait until every consumer Secret is current")
    verb.add_argument("--namespace", required=True, help="namespace of the status")
    verb.add_argument("--secrets", type=Path, required=True, help="file with the names that must have arrived")
    verb.add_argument("--seconds", type=int, default=300, help="how long to wait")
    verb.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    api, begun = Api.in_cluster(), datetime.now(UTC)
    wanted = set(options.secrets.read_text().split())
    end = time.monotonic() + options.seconds
    reason = ""
    while time.monotonic() < end:
        try:
            found = (api.get(named("configmaps", options.namespace, STATUS_CONFIG)) or {}).get("data") or {}
            waiting: dict[str, str] = json.loads(found.get("waiting", "{}"))
            reason = missing(found, wanted - set(waiting), begun) or ""
        except Unavailable as error:
            reason = str(error)
        if not reason:
            print(f"{len(wanted - set(waiting))} of {len(wanted)} secrets have arrived at their consumers")
            print("\n".join(waiting.values()))
            return 0
        time.sleep(1)  # between two looks at a condition that has a deadline
    return fail(reason)
