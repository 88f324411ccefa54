"""`python -m engine handover-evidence`: wait for the engine's evidence of layer 4, and fail with what is missing."""

from __future__ import annotations

import argparse
import json
import time
from datetime import UTC, datetime
from pathlib import Path

from authority.evidence import Evidence
from authority.transfer import Unavailable
from engine.kubernetes_api import Api, named
from engine.status import STATUS_CONFIG
from engine.termination import fail


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("handover-evidence", help="wait until every bootstrap secret is handed over")
    verb.add_argument("--namespace", required=True, help="namespace of the engine's status")
    verb.add_argument("--secrets", type=Path, required=True, help="file with the names that must be handed over")
    verb.add_argument("--seconds", type=int, default=300, help="how long to wait")
    verb.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    api, begun = Api.in_cluster(), datetime.now(UTC)
    wanted = set(options.secrets.read_text().split())
    end = time.monotonic() + options.seconds
    reason = "the engine has published nothing yet"
    while time.monotonic() < end:
        try:
            found = (api.get(named("configmaps", options.namespace, STATUS_CONFIG)) or {}).get("data") or {}
            reason = missing(found, wanted, begun) or ""
        except Unavailable as error:
            reason = str(error)
        if not reason:
            print(f"{len(wanted)} bootstrap secrets are handed over to Vault")
            return 0
        time.sleep(1)  # between two looks at a condition that has a deadline
    return fail(reason)


def missing(status: dict[str, str], wanted: set[str], not_before: datetime) -> str | None:
    """What is missing in the engine's status; None when fresh evidence covers every wanted secret."""
    conditions = json.loads(status.get("conditions", "{}"))
    failed = [f"{name}: {c['message']}" for name, c in conditions.items() if not c["status"]]
    if "evidence" not in status:
        return "\n".join(failed) or "the engine has published no evidence yet"
    evidence = Evidence.from_json(status["evidence"])
    if evidence.at < not_before:
        return "\n".join(failed) or f"the evidence is of {evidence.at.isoformat()}, before this look began"
    lines = [str(finding) for finding in evidence.failed]
    lines += [f"{name}: not looked at" for name in sorted(wanted - {finding.secret for finding in evidence.findings})]
    return "\n".join(lines) or None
