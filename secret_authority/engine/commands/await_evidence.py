"""`handover-evidence` and `consumption-evidence`: wait for an engine's evidence, and fail with what is missing."""

from __future__ import annotations

import argparse
from functools import partial

from secret_authority.contract.names import (
    CONSUMPTION_EVIDENCE,
    CONSUMPTION_STATUS,
    HANDOVER_EVIDENCE,
    HANDOVER_STATUS,
)
from secret_authority.engine.common.await_evidence import add_arguments, wait_for_evidence
from secret_authority.engine.common.termination import fail


def register_handover(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser(HANDOVER_EVIDENCE, help="wait until every bootstrap secret is handed over")
    add_arguments(verb, "be handed over")
    verb.set_defaults(run=partial(_run, HANDOVER_STATUS, "bootstrap secrets are handed over to Vault"))


def register_consumption(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser(CONSUMPTION_EVIDENCE, help="wait until every consumer Secret is current")
    add_arguments(verb, "have arrived")
    verb.set_defaults(run=partial(_run, CONSUMPTION_STATUS, "secrets have arrived at their consumers"))


def _run(status: str, done: str, options: argparse.Namespace) -> int:
    seen = wait_for_evidence(options, status)
    if seen.missing:
        return fail(seen.missing)
    print(f"{len(seen.wanted - set(seen.waiting))} of {len(seen.wanted)} {done}")
    for line in seen.waiting.values():
        print(line)
    return 0
