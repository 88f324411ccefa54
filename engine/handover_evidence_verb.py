"""`python -m engine handover-evidence`: wait for the engine's evidence of layer 4, and fail with what is missing."""

from __future__ import annotations

import argparse

from engine.evidence_wait import add_arguments, wait_for_evidence
from engine.status import STATUS_CONFIG
from engine.termination import fail


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("handover-evidence", help="wait until every bootstrap secret is handed over")
    add_arguments(verb, "be handed over")
    verb.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    seen = wait_for_evidence(options, STATUS_CONFIG)
    if seen.missing:
        return fail(seen.missing)
    print(f"{len(seen.wanted)} bootstrap secrets are handed over to Vault")
    return 0
