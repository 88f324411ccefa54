"""`snapshot now`, `list`, `verify`: save Vault outside of its cluster, and prove that what is saved can be restored."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cli.arguments import add_kubeconfig, add_layout, connection, layout
from cli.commands import COMMANDS
from cli.passphrase import add_root_identity, root_identity
from cli.saved_snapshots import bundles, chosen, program, snapshot_session
from secret_authority.contract.names import (
    ENGINE_NAMESPACE,
    SNAPSHOT_STATUS,
    UNSEAL_SHARES,
    VAULT_NAMESPACE,
)
from secret_authority.core.conditions import read_conditions
from secret_authority.core.errors import InvalidInputError, Problem, Unavailable
from secret_authority.core.snapshots.naming import COMPLETE, BundleName
from secret_authority.core.snapshots.retention import not_needed
from secret_authority.repository.trust.root_of_trust import RootOfTrust, read_trust
from secret_authority.repository.trust.share_export import export_file, read_export

if TYPE_CHECKING:
    from secret_authority.access.cluster_state import ClusterState

# Older than this, `list` says that the newest snapshot is stale and ends with 1.
STALE = timedelta(days=1, hours=1)


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    snapshot = verbs.add_parser("snapshot", help=COMMANDS["snapshot"].help)
    subjects = snapshot.add_subparsers(required=True, metavar="SUBJECT")
    now = subjects.add_parser("now", help="take a snapshot and write it to the store")
    add_kubeconfig(now)
    now.set_defaults(run=_now)
    status = subjects.add_parser("status", help="what the engine says of its snapshots; 1 when something is wrong")
    add_kubeconfig(status)
    status.set_defaults(run=_status)
    listed = subjects.add_parser("list", help="the complete snapshots in the store; 1 when the newest is stale")
    listed.add_argument("--format", choices=["table", "json"], default="table")
    listed.set_defaults(run=_list)
    verify = subjects.add_parser("verify", help="restore a snapshot into a throwaway server on this machine")
    verify.add_argument("--snapshot", metavar="NAME", help="as `list` names it (default: the newest)")
    verify.add_argument("--vault", default="vault", metavar="PROGRAM", help="of the same version (default: vault)")
    add_root_identity(verify, required=True, help_text="a root identity, which opens the snapshot")
    verify.add_argument("--prune", action="store_true", help="delete older snapshots that are not needed any more")
    verify.add_argument("--delete-credentials", type=Path, metavar="FILE", help="with --prune: of who may delete")
    verify.set_defaults(run=_verify)
    for verb in (now, listed, verify):
        add_layout(verb)
        verb.add_argument("--credentials", type=Path, metavar="FILE", help="of the store, where it asks for them")


def _now(options: argparse.Namespace) -> int:
    from secret_authority.access.cluster_state import read_cluster_state
    from secret_authority.access.snapshot_store import open_store
    from secret_authority.access.vault_tunnel import VaultSessionError
    from secret_authority.clients.kubernetes import ApiRefusedError, named
    from secret_authority.clients.object_store import StoreRefusedError
    from secret_authority.clients.snapshot_bundle import BundleError, write_bundle
    from secret_authority.clients.vault import VaultRefusedError
    from secret_authority.engine.runtime_authority.seal_store import read_shares
    from secret_authority.engine.runtime_authority.unseal_shares import SharesError
    from secret_authority.engine.snapshots.take import NotTakenError, take

    trust = read_trust(options.repository)
    trust.cluster(options.cluster)
    store = open_store(options.repository, layout(options), options.credentials, "--credentials")
    way = connection(options)
    state = read_cluster_state(way)
    if not state.reachable:
        print(f"the cluster of {way.kubeconfig} does not answer; nothing was written", file=sys.stderr)
        return 1
    recipients = admitted_recipients(trust, options.cluster, state)
    try:
        shares = read_shares(way.api().get(named("secrets", VAULT_NAMESPACE, UNSEAL_SHARES)) or {})
        with snapshot_session(way) as vault:
            bundle = take(vault, options.cluster, shares)
        name = write_bundle(store, bundle, recipients)
    except (VaultSessionError, NotTakenError, SharesError, BundleError) as error:
        print(f"no snapshot was written: {error}", file=sys.stderr)
        return 1
    except (Unavailable, VaultRefusedError, ApiRefusedError, StoreRefusedError) as error:
        print(f"no complete snapshot was written: {error}. Run this command again", file=sys.stderr)
        return 1
    print(f"{name.folder}: {len(bundle.manifest.secrets)} paths, {bundle.manifest.size} bytes")
    return 0


def admitted_recipients(trust: RootOfTrust, cluster: str, state: ClusterState) -> list[str]:
    """To whom the snapshot is encrypted, when Git and the cluster's own record agree. Raises `InvalidInputError`."""
    wanted = trust.wanted(cluster)
    on_record = state.trust
    if on_record is None or {*on_record.root, on_record.recipient} != wanted:
        reason = f"names other recipients than the record of the cluster that a root holder admitted for {cluster}"
        fix = "correct --repository or --context, or run `secret-authority pulumi up` with this revision first"
        raise InvalidInputError([Problem("root-of-trust.yaml", "", reason, fix)])
    return sorted(wanted)


def _status(options: argparse.Namespace) -> int:
    from secret_authority.clients.kubernetes import named

    found = connection(options).api().get(named("configmaps", ENGINE_NAMESPACE, SNAPSHOT_STATUS))
    if found is None:
        fix = "write snapshots.yaml (docs/snapshots.md), then run `secret-authority pulumi up`"
        print(f"no engine takes snapshots: changes in Vault since phase 3 are not saved; {fix}", file=sys.stderr)
        return 1
    lines, good = status_lines(found.get("data") or {}, datetime.now(UTC))
    print("\n".join(lines))
    return 0 if good else 1


def status_lines(data: Mapping[str, str], now: datetime) -> tuple[list[str], bool]:
    """What is published, a line each, and whether all of it is known to be well."""
    saved = json.loads(data.get("saved") or "{}")
    lines = [f"last snapshot: {saved.get('at', 'none')}  {saved.get('name', '')}".rstrip(), _verified_line(data)]
    good = bool(saved)
    for name, condition in sorted(read_conditions(data.get("conditions", "")).items()):
        known = condition.known(now)
        word = {True: "yes", False: "NO", None: "unknown"}[known]
        lines.append(f"{name}: {word}  {condition.message}".rstrip())
        good = good and known is True
    return lines, good


def _verified_line(data: Mapping[str, str]) -> str:
    found = (json.loads(data.get("verifications") or "{}") or {}).get("verified")
    if not found:
        return "last verified: none"
    return f"last verified: {found['at']}  {json.loads(found['report'])['snapshot']}"


def _list(options: argparse.Namespace) -> int:
    from secret_authority.access.snapshot_store import open_store
    from secret_authority.clients.object_store import StoreRefusedError

    store = open_store(options.repository, layout(options), options.credentials, "--credentials")
    try:
        found, sizes, marked = bundles(store, options.cluster)
    except (Unavailable, StoreRefusedError) as error:
        print(f"the store cannot be listed: {error}", file=sys.stderr)
        return 1
    lines = [
        {
            "name": one.folder,
            "takenAt": one.taken_at.isoformat(),
            "index": one.index,
            "bytes": sizes[one.folder],
            "verified": one.folder in marked,
        }
        for one in found
    ]
    if options.format == "json":
        print(json.dumps(lines, indent=2))
    else:
        for line in lines:
            word = "verified" if line["verified"] else "-"
            print(f"{line['takenAt']}  {line['bytes']:>12}  {word:<8}  {line['name']}")
        if not lines:
            print("none")
    problem = stale(found, datetime.now(UTC))
    if problem:
        print(problem, file=sys.stderr)
    return 1 if problem else 0


def stale(found: list[BundleName], now: datetime) -> str:
    """Why what is saved is too old; empty when it is not."""
    if not found:
        return "no complete snapshot is in the store: what has changed in Vault since phase 3 is not saved"
    age = now - found[-1].taken_at
    if age <= STALE:
        return ""
    return f"the newest snapshot is {age.total_seconds() / 3600:.0f} hours old; run `secret-authority snapshot now`"


def _verify(options: argparse.Namespace) -> int:
    from secret_authority.access.snapshot_store import open_store
    from secret_authority.clients.object_store import StoreRefusedError
    from secret_authority.clients.snapshot_bundle import BundleError, read_bundle
    from secret_authority.engine.runtime_authority.unseal_shares import SealedShares
    from secret_authority.engine.snapshots.throwaway import ThrowawayError
    from secret_authority.engine.snapshots.verify import NotVerifiedError, verify

    if options.delete_credentials and not options.prune:
        raise InvalidInputError([Problem("the command", "--delete-credentials", "is for --prune only", "add --prune")])
    place = layout(options)
    store = open_store(options.repository, place, options.credentials, "--credentials")
    deleter = store
    if options.prune:
        deleter = open_store(options.repository, place, options.delete_credentials, "--delete-credentials")
    exported = read_export(options.repository, options.cluster)
    if exported is None:
        fix = f"run `secret-authority cluster export-shares {options.cluster}` and commit the file"
        reason = "does not exist: nothing shows that a snapshot is of this cluster"
        raise InvalidInputError([Problem(export_file(options.cluster), "", reason, fix)])
    identity = root_identity(options)
    try:
        found, _, _ = bundles(store, options.cluster)
        name = chosen(options.snapshot, found)
        bundle = read_bundle(store, name, [identity.secret])
        done = verify(bundle, options.cluster, SealedShares(*exported), identity.secret, program(options.vault))
        print(f"{name.folder}: verified, {done.paths} paths in {done.seconds:.1f} s")
        if options.prune:
            gone = not_needed(found, [name])
            for old in gone:
                # First what makes it count: a deletion that is interrupted leaves nothing that looks whole.
                keys = [one.key for one in store.list(f"{old.folder}/")]
                for key in sorted(keys, key=lambda key: key != old.part(COMPLETE)):
                    deleter.delete(key)
                print(f"{old.folder}: deleted")
    except (BundleError, NotVerifiedError) as error:
        print(f"NOT verified: {error}. Nothing was changed", file=sys.stderr)
        return 1
    except (ThrowawayError, Unavailable, StoreRefusedError) as error:
        print(f"not finished: {error}. Nothing is known of the snapshot; run this command again", file=sys.stderr)
        return 1
    return 0
