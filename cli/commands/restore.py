"""`restore`: Vault, or one secret's older value, comes back from a snapshot.

Everything that can be wrong is found first: the snapshot is restored into a throwaway server on this machine, what
would be lost is shown secret by secret, and the cluster's Vault has to be empty. docs/runbooks/restore.md
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cli.arguments import add_kubeconfig, add_layout, connection, layout
from cli.commands import COMMANDS
from cli.commands.enter import (
    Asked,
    NoEventError,
    follow_rotation,
    may_be_entered,
    refuse_another_entry,
    write_entry,
)
from cli.commands.reseal_shares import admitted
from cli.failures import vault_errors
from cli.passphrase import add_root_identity, root_identity
from cli.saved_snapshots import bundles, chosen, program
from cli.shares_cluster import refuse_another_cluster
from secret_authority.access.cluster_state import ClusterState, read_cluster_state
from secret_authority.access.kubeconfig import ClusterConnection
from secret_authority.access.person import kubernetes_user
from secret_authority.access.snapshot_store import open_store
from secret_authority.access.vault_session import ca_bundle_of
from secret_authority.access.vault_tunnel import ERRORS, VaultSessionError, free_port, open_tunnel
from secret_authority.clients.age import Identity
from secret_authority.clients.kubernetes import ApiRefusedError, named
from secret_authority.clients.object_store import ObjectStore, StoreRefusedError
from secret_authority.clients.snapshot_bundle import Bundle, BundleError, read_bundle, read_manifest
from secret_authority.clients.vault import Vault, VaultRefusedError
from secret_authority.contract.engine_settings import Identities
from secret_authority.contract.names import (
    AUDITOR_ACCOUNT,
    CONFIGURATOR_ACCOUNT,
    ENGINE_ACCOUNT,
    ENGINE_NAMESPACE,
    SERVER_NAME,
    VAULT,
    VAULT_NAMESPACE,
)
from secret_authority.core.catalogue.schema import CatalogueSecret
from secret_authority.core.errors import InvalidInputError, LostRace, Problem, Unavailable
from secret_authority.core.restore import report
from secret_authority.core.restore.runner import Result, restore
from secret_authority.core.restore.state_machine import Done, Refused, Step, Wait, next_move
from secret_authority.core.snapshots.manifest import Manifest
from secret_authority.core.snapshots.naming import BundleName
from secret_authority.engine.restore.cluster_backend import ClusterRestore, RestoreSettings
from secret_authority.engine.runtime_authority.initial_configuration import FirstConfiguration, RootAttemptError
from secret_authority.engine.runtime_authority.unseal_shares import SealedShares, SharesError
from secret_authority.engine.snapshots.throwaway import ThrowawayError
from secret_authority.engine.snapshots.verify import NotVerifiedError, opened
from secret_authority.repository.intent.intent import Intent, read_intent
from secret_authority.repository.trust.cluster_identity import open_cluster
from secret_authority.repository.trust.root_of_trust import read_trust
from secret_authority.repository.trust.share_export import export_file, read_export

FIRST_POD = f"{VAULT}-0"
_NOTHING = "nothing was changed"


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("restore", help=COMMANDS["restore"].help)
    add_layout(verb)
    add_kubeconfig(verb)
    verb.add_argument("--snapshot", metavar="NAME", help="as `snapshot list` names it (default: the newest)")
    verb.add_argument(
        "--only", metavar="SECRET", help="write this secret's older value as a new version; touch no other"
    )
    verb.add_argument("--credentials", type=Path, metavar="FILE", help="of the store, where it asks for them")
    verb.add_argument("--vault", default="vault", metavar="PROGRAM", help="of the same version (default: vault)")
    add_root_identity(verb, required=True, help_text="a root identity, which opens the snapshot")
    verb.add_argument("--plan", action="store_true", help="only show what a restore would do")
    verb.add_argument("--confirm", metavar="WORD", help="the word that is asked for otherwise: the cluster's name")
    verb.add_argument(
        "--wait", type=float, default=600, metavar="SECONDS", help="with --only: for a rotation's end (default: 600)"
    )
    verb.set_defaults(run=_run)


@dataclass(frozen=True)
class Saved:
    """A bundle that was chosen and checked, with the manifests of newer ones."""

    name: BundleName
    bundle: Bundle
    newer: tuple[Manifest, ...]


def _run(options: argparse.Namespace) -> int:
    if options.confirm is not None and not _confirmed(options):
        return 1
    try:
        return _restore_one(options) if options.only else _restore(options)
    except (BundleError, NotVerifiedError, SharesError) as error:
        print(f"the snapshot is refused: {error}. {_NOTHING.capitalize()}", file=sys.stderr)
    except RootAttemptError as error:
        fix = "wait for them; if nobody does, cancel the attempt (`vault operator generate-root -cancel`) and run again"
        print(f"{error}; {_NOTHING}. Fix: {fix}", file=sys.stderr)
    except (ThrowawayError, StoreRefusedError, VaultSessionError) as error:
        print(f"{error}; {_NOTHING}", file=sys.stderr)
    except (Unavailable, VaultRefusedError, ApiRefusedError, LostRace) as error:
        print(f"not finished: {error}. Run this command again", file=sys.stderr)
    return 1


def _restore(options: argparse.Namespace) -> int:
    intent = read_intent(options.repository, layout(options))
    root = root_identity(options)
    known = _known_shares(options)
    saved = _choose(options, root)
    way = connection(options)
    state = _cluster(way, options)
    with opened(saved.bundle, options.cluster, known, root.secret, program(options.vault)):
        print(f"{saved.name.folder}: restored into a throwaway server, and whole")
    _show(intent, saved, state)
    with _backend(way, options, intent, root, saved) as backend:
        move = next_move(saved.name.folder, backend.observe())
        if isinstance(move, Refused):
            print(f"{move} {_NOTHING.capitalize()}.", file=sys.stderr)
            return 1
        if isinstance(move, Done):
            print(f"{saved.name.folder} was restored at {move.record.opened} by {move.record.person}")
            return 0
        if options.plan:
            print(f"{_NOTHING}: --plan")
            return 0
        if not _confirmed(options):
            return 1
        return _tell(restore(saved.name.folder, backend, _progress()), options)


def _tell(result: Result, options: argparse.Namespace) -> int:
    match result.end:
        case Done(record):
            print(f"Vault holds snapshot {record.snapshot}. The event is in the audit trail, by {record.person}")
            print("Next: `pulumi up`, then `secret-authority ledger`. What the plan called lost is to be entered again")
            return 0
        case Refused():
            print(f"stopped: {result.end}", file=sys.stderr)
        case Wait(reason):
            print(f"not finished: {reason}. Run this command again; it continues where it was", file=sys.stderr)
    return 1


def _show(intent: Intent, saved: Saved, state: ClusterState) -> None:
    """What comes back and what does not."""
    taken = saved.bundle.manifest.taken_at
    age = (datetime.now(UTC) - taken).total_seconds() / 60
    # A trail without an event is that of a Vault that holds nothing: no witness.
    witnesses = report.Witnesses(state.events or None, saved.newer)
    found = report.of_snapshot(intent.catalogue, saved.bundle.manifest, witnesses)
    print(f"It was taken at {taken.isoformat(timespec='seconds')}, {age:.0f} minutes ago. A restore gives back:")
    print("\n".join(report.text(found)))


def _confirmed(options: argparse.Namespace) -> bool:
    """Whether a person has said the word."""
    word = options.confirm
    if word is None and sys.stdin.isatty():
        word = input(f"Type the name of the cluster to restore Vault from this snapshot ({options.cluster}): ")
    if word == options.cluster:
        return True
    print(f"not confirmed: give --confirm {options.cluster}; {_NOTHING}", file=sys.stderr)
    return False


def _progress() -> Callable[[Step], None]:
    last = time.monotonic()

    def told(step: Step) -> None:
        nonlocal last
        now = time.monotonic()
        print(f"  {step} ({now - last:.1f} s)", flush=True)
        last = now

    return told


# Point in time for one secret.


def _restore_one(options: argparse.Namespace) -> int:
    intent = read_intent(options.repository, layout(options))
    entry = may_be_entered(intent, options.only, replace=True)
    with vault_errors(entry.name):
        refuse_another_entry(connection(options), intent, entry)
    root = root_identity(options)
    known = _known_shares(options)
    saved = _choose(options, root)
    _cluster(connection(options), options)
    with opened(saved.bundle, options.cluster, known, root.secret, program(options.vault)) as vault:
        texts = older_value(vault, entry, saved.name.folder)
    print(f"{entry.name}: the value of {saved.name.folder}, keys {', '.join(sorted(texts))}")
    if options.plan:
        print(f"{_NOTHING}: --plan")
        return 0
    if not _confirmed(options):
        return 1
    try:
        why = f"its older value, from snapshot {saved.name.folder}"
        made = write_entry(connection(options), entry, texts, replace=True, why=why)
    except NoEventError as error:
        print(f"{entry.name}: version {error.version} is written, without its event: {error}", file=sys.stderr)
        return 1
    if isinstance(made, Asked):
        return follow_rotation(options, entry, made)
    print(f"{entry.name}: version {made} written to {entry.vault}; no other secret was touched")
    return 0


def older_value(vault: Vault, entry: CatalogueSecret, snapshot: str) -> dict[str, str]:
    """The newest value that the snapshot has of a secret. Raises `InvalidInputError` when it has none that fits."""
    place = entry.vault
    data = ((vault.read(f"{place.mount}/data/{place.path}") or {}).get("data") or {}).get("data")
    fix = "name another snapshot, or enter the value: `secret-authority enter`"
    if not data:
        raise InvalidInputError([Problem(snapshot, str(place), "is not in the snapshot, or was deleted", fix)])
    wrong = sorted(key for key, text in data.items() if not isinstance(text, str))
    missing = sorted(set(entry.consumed_keys) - set(data))
    if wrong or missing:
        what = f"lacks {', '.join(missing)}" if missing else f"holds {', '.join(wrong)}, which is not a text"
        raise InvalidInputError([Problem(snapshot, str(place), what, fix)])
    return dict(data)


# What both need.


def _known_shares(options: argparse.Namespace) -> SealedShares:
    """The shares as Git has them: they show that a snapshot is of this cluster. Raises `InvalidInputError`."""
    exported = read_export(options.repository, options.cluster)
    if exported is None:
        fix = f"check out the revision that has it; `secret-authority cluster export-shares {options.cluster}` wrote it"
        reason = "does not exist: nothing shows that a snapshot is of this cluster"
        raise InvalidInputError([Problem(export_file(options.cluster), "", reason, fix)])
    return SealedShares(*exported)


def _choose(options: argparse.Namespace, root: Identity) -> Saved:
    store = open_store(options.repository, layout(options), options.credentials, "--credentials")
    found, _, _ = bundles(store, options.cluster)
    name = chosen(options.snapshot, found)
    return Saved(name, read_bundle(store, name, [root.secret]), _newer(store, name, found, root))


def _newer(store: ObjectStore, name: BundleName, found: list[BundleName], root: Identity) -> tuple[Manifest, ...]:
    """The newest manifest after the chosen one, as a witness of what changed since. A bad one is none."""
    for one in reversed(found):
        if one <= name:
            break
        try:
            return (read_manifest(store, one, [root.secret]),)
        except BundleError as error:
            print(f"warning: {one.folder} is no witness of later changes: {error}", file=sys.stderr)
    return ()


def _cluster(way: ClusterConnection, options: argparse.Namespace) -> ClusterState:
    """The cluster, when it is the one that is meant. Raises `InvalidInputError`."""
    state = read_cluster_state(way)
    if not state.reachable:
        fix = "check --kubeconfig and --context; a lost cluster is built to phase 3 first (docs/runbooks/restore.md)"
        raise InvalidInputError([Problem(str(way.kubeconfig), "", "leads to no cluster that answers", fix)])
    refuse_another_cluster(state, read_trust(options.repository).cluster(options.cluster).recipient)
    return state


@contextlib.contextmanager
def _backend(
    way: ClusterConnection, options: argparse.Namespace, intent: Intent, root: Identity, saved: Saved
) -> Iterator[ClusterRestore]:
    """The restore against the first Vault pod."""
    identity = open_cluster(options.repository, options.cluster, root)
    api = way.api()
    settings = RestoreSettings(
        namespace=VAULT_NAMESPACE,
        person=kubernetes_user(way),
        identities=f"{root.secret}\n{identity.secret}",
        recipients=admitted(read_trust(options.repository), options.cluster, identity),
        first=first_configuration(),
        rotated=[entry.name for entry in intent.catalogue if entry.rotator is not None],
        restart=lambda: api.delete(named("pods", VAULT_NAMESPACE, FIRST_POD)),
    )
    with first_pod(way) as vault:
        backend = ClusterRestore(vault, api, saved.name.folder, saved.bundle, settings)
        try:
            yield backend
        finally:
            backend.end()


def first_configuration() -> FirstConfiguration:
    """What the engine of this release configures Vault with."""
    accounts = (ENGINE_ACCOUNT, CONFIGURATOR_ACCOUNT, AUDITOR_ACCOUNT)
    return FirstConfiguration(Identities(*((ENGINE_NAMESPACE, account) for account in accounts)))


@contextlib.contextmanager
def first_pod(way: ClusterConnection) -> Iterator[Vault]:
    """The first Vault pod through a tunnel, reached also while it is sealed. Raises `VaultSessionError`."""
    port = free_port()
    open_tunnel(way, port, FIRST_POD)
    with tempfile.TemporaryDirectory() as folder:
        ca = Path(folder) / "ca.crt"
        try:
            ca.write_text(ca_bundle_of(way))
        except ERRORS as error:
            raise VaultSessionError(f"the certificates of Vault cannot be read: {type(error).__name__}") from None
        yield Vault(f"https://127.0.0.1:{port}", str(ca), server_name=SERVER_NAME)
