"""`prepare-verification` and `verify-snapshot`: the two containers of a verification in the cluster."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

from secret_authority.contract.snapshot_settings import SnapshotEngineSettings
from secret_authority.core.snapshots.verification import Report
from secret_authority.engine.commands.snapshots import open_store
from secret_authority.engine.common.process import begin
from secret_authority.engine.common.termination import fail, leave
from secret_authority.engine.snapshots.in_cluster import VerificationError, prepare, verify_prepared


def register_prepare(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("prepare-verification", help="configure a throwaway server for the newest snapshot")
    _add_arguments(verb)
    verb.set_defaults(run=_prepare)


def register_verify(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("verify-snapshot", help="restore the newest snapshot into the throwaway server")
    _add_arguments(verb)
    verb.add_argument("--seal", type=Path, required=True, help="file with the digest of the cluster's sealed shares")
    verb.set_defaults(run=_verify)


def _add_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--settings", type=Path, required=True, help="JSON file with the store")
    verb.add_argument("--credentials", type=Path, required=True, help="folder with the credentials of a reader")
    verb.add_argument("--identity", type=Path, required=True, help="file with the cluster's age identity")
    verb.add_argument("--folder", type=Path, required=True, help="memory that is shared with the server")


def _prepare(options: argparse.Namespace) -> int:
    settings = _begin(options)

    def step() -> Report:
        store = partial(open_store, settings, options.credentials)
        return Report(prepare(store, settings.cluster, options.identity, options.folder).folder)

    return _told(step)


def _verify(options: argparse.Namespace) -> int:
    settings = _begin(options)
    return _told(
        lambda: verify_prepared(
            partial(open_store, settings, options.credentials),
            settings.cluster,
            options.identity,
            options.seal,
            options.folder,
        )
    )


def _begin(options: argparse.Namespace) -> SnapshotEngineSettings:
    begin("verification")
    return SnapshotEngineSettings.from_json(options.settings.read_text())


def _told(step: Callable[[], Report]) -> int:
    """Do the step, and leave its report where the engine of snapshots reads it."""
    try:
        report = step()
    except VerificationError as error:
        return fail(error.report.to_json())
    leave(report.to_json())
    return 0
