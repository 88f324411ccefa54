"""`python -m engine consumption-evidence`: wait for the evidence of layer 5, and fail with what is missing."""

from __future__ import annotations

import argparse

from engine.consumption_loop import STATUS_CONFIG
from engine.evidence_wait import add_arguments, wait_for_evidence
from engine.termination import fail


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("consumption-evidence", help="wait until every consumer Secret is current")
    add_arguments(verb, "have arrived")
    verb.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    seen = wait_for_evidence(options, STATUS_CONFIG)
    if seen.missing:
        return fail(seen.missing)
    print(f"{len(seen.wanted - set(seen.waiting))} of {len(seen.wanted)} secrets have arrived at their consumers")
    print("\n".join(seen.waiting.values()))
    return 0
