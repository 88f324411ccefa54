"""What `drill` sees of a cluster, its repository and its store. Nothing is changed anywhere but on this machine."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from cli.arguments import connection, layout
from cli.cluster_answers import facts_of, facts_of_repository, ledger_facts
from cli.passphrase import root_identity
from cli.saved_snapshots import bundles, program, snapshot_session
from secret_authority.access.cluster_state import ClusterState, read_cluster_state
from secret_authority.access.kubeconfig import ClusterConnection
from secret_authority.access.snapshot_store import open_store
from secret_authority.access.vault_tunnel import VaultSessionError
from secret_authority.clients.age import Identity
from secret_authority.clients.kubernetes import ApiRefusedError, named
from secret_authority.clients.object_store import ObjectStore, StoreRefusedError
from secret_authority.clients.snapshot_bundle import Bundle, BundleError, read_bundle
from secret_authority.clients.vault import VaultRefusedError
from secret_authority.contract.names import (
    CONSUMPTION_STATUS,
    ENGINE_NAMESPACE,
    HANDOVER_STATUS,
    ROTATION_STATUS,
    UNSEAL_SHARES,
    VAULT_NAMESPACE,
)
from secret_authority.core.catalogue.schema import SecretClass
from secret_authority.core.conditions import Condition, read_conditions
from secret_authority.core.errors import InvalidInputError, Unavailable
from secret_authority.core.ledger.consistency import contradictions
from secret_authority.core.ledger.ledger import ledger
from secret_authority.core.snapshots.manifest import changed_since
from secret_authority.core.snapshots.naming import BundleName
from secret_authority.core.survival import Answer, Holder, Part, Parts, Restored, Seen
from secret_authority.engine.consumption.controller import DELIVERED, TRUSTED
from secret_authority.engine.rotation.controller import RUNNING, WORKING
from secret_authority.engine.runtime_authority.controller import CERTIFICATES, CONFIGURED, IN_SERVICE
from secret_authority.engine.runtime_authority.seal_store import read_shares
from secret_authority.engine.runtime_authority.unseal_shares import SealedShares, SharesError, open_shares
from secret_authority.engine.snapshots.metadata import read_metadata
from secret_authority.engine.snapshots.throwaway import ThrowawayError
from secret_authority.engine.snapshots.verify import NotVerifiedError, verify
from secret_authority.repository.intent.intent import Intent, read_intent
from secret_authority.repository.snapshot_settings import read_snapshot_settings, settings_file
from secret_authority.repository.trust.cluster_identity import open_cluster
from secret_authority.repository.trust.root_of_trust import RootOfTrust
from secret_authority.repository.trust.share_export import compare_export, export_file

PARTS = Parts(
    authority=Part(HANDOVER_STATUS, (IN_SERVICE, CONFIGURED, CERTIFICATES)),
    unsealing=Part(HANDOVER_STATUS, (IN_SERVICE,)),
    consumption=Part(CONSUMPTION_STATUS, (TRUSTED, DELIVERED)),
    delivery=Part(CONSUMPTION_STATUS, (DELIVERED,)),
    rotation=Part(ROTATION_STATUS, (RUNNING, WORKING)),
)


def look(options: argparse.Namespace) -> Seen:
    """Everything that the questions are about. Raises `InvalidInputError` for a repository that `check` refuses."""
    intent = read_intent(options.repository, layout(options))
    root = root_identity(options)
    way = connection(options)
    state = read_cluster_state(way)
    believed = _believed(state, way, intent)
    shares, opened = _shares(way, root, state)
    store, found, answers = _store(options)
    usable = believed.holds is True
    facts = ledger_facts(intent, state) if usable else None
    return Seen(
        now=datetime.now(UTC),
        phase=facts.phase if facts else None,
        contradictions=believed,
        recipients=_recipients(intent.trust, options.cluster, state),
        identity=_identity(options, root),
        shares=opened,
        exported=_exported(options, shares, opened),
        store=answers,
        restored=_restored(options, way, root, shares, opened, store, found, answers),
        rotated=any(entry.rotator is not None for entry in intent.catalogue),
        holders=[
            Holder(entry.secret, entry.authority, entry.known)
            for entry in (ledger(intent.catalogue, facts) if facts else ())
            if entry.secret_class is not SecretClass.CONFIG
        ],
        conditions=_conditions(way) if usable else {},
        snapshots=[one.taken_at for one in found],
    )


def _believed(state: ClusterState, way: ClusterConnection, intent: Intent) -> Answer:
    if not state.reachable:
        return Answer(None, f"the cluster of {way.kubeconfig} does not answer")
    wrong = contradictions(facts_of(state), facts_of_repository(intent))
    return Answer(False, wrong[0]) if wrong else Answer(True, "identity, phases and audit trail fit together")


def _recipients(trust: RootOfTrust, cluster: str, state: ClusterState) -> Answer:
    if not state.reachable:
        return Answer(None, "the cluster does not answer")
    if state.trust is None:
        return Answer(False, "no root holder has admitted any: `secret-authority pulumi up` with the root identity")
    if {*state.trust.root, state.trust.recipient} != trust.wanted(cluster):
        return Answer(
            False, "Git names others than a root holder has admitted; see docs/runbooks/retire-a-recipient.md"
        )
    return Answer(True, f"{len(state.trust.root)} root holders and the cluster")


def _identity(options: argparse.Namespace, root: Identity) -> Answer:
    try:
        open_cluster(options.repository, options.cluster, root)
    except InvalidInputError as error:
        return Answer(False, str(error.problems[0]))
    return Answer(True, "with the identity that was given; other holders can try theirs")


def _shares(way: ClusterConnection, root: Identity, state: ClusterState) -> tuple[SealedShares | None, Answer]:
    """The unseal shares that the cluster has stored, and whether the root identity opens them."""
    if not state.reachable:
        return None, Answer(None, "the cluster does not answer")
    try:
        found = read_shares(way.api().get(named("secrets", VAULT_NAMESPACE, UNSEAL_SHARES)) or {})
        opened = open_shares(found, root.secret)
    except (SharesError, ValueError) as error:
        return None, Answer(False, str(error))
    except (Unavailable, ApiRefusedError) as error:
        return None, Answer(None, str(error))
    return found, Answer(True, f"{len(opened)} of the {len(found.ciphertexts)} stored shares are enough")


def _exported(options: argparse.Namespace, shares: SealedShares | None, opened: Answer) -> Answer:
    if shares is None:
        return Answer(None, f"not compared: {opened.why}")
    try:
        missing = compare_export(options.repository, options.cluster, shares.ciphertexts, shares.threshold)
    except InvalidInputError as error:
        missing = str(error.problems[0])
    return Answer(False, missing) if missing else Answer(True, export_file(options.cluster))


def _store(options: argparse.Namespace) -> tuple[ObjectStore | None, list[BundleName], Answer]:
    """The store, the complete bundles in it, and whether it answers with credentials that a person has at hand."""
    if read_snapshot_settings(options.repository, layout(options)) is None:
        return None, [], Answer(False, f"nothing is saved: {settings_file(layout(options))} does not exist")
    store = open_store(options.repository, layout(options), options.credentials, "--credentials")
    try:
        found, _, _ = bundles(store, options.cluster)
    except (Unavailable, StoreRefusedError) as error:
        return store, [], Answer(None, str(error))
    return store, found, Answer(bool(found), f"{len(found)} complete snapshots")


def _restored(
    options: argparse.Namespace,
    way: ClusterConnection,
    root: Identity,
    shares: SealedShares | None,
    opened: Answer,
    store: ObjectStore | None,
    found: list[BundleName],
    answers: Answer,
) -> Restored:
    """The newest bundle, in a throwaway server, opened with the shares that the cluster has stored."""
    if store is None or not found:
        return Restored(answers)
    newest = found[-1]
    if shares is None:
        return Restored(Answer(opened.holds, f"not restored: {opened.why}"), newest.taken_at)
    try:
        bundle = read_bundle(store, newest, [root.secret])
        done = verify(bundle, options.cluster, shares, root.secret, program(options.vault))
    except (BundleError, NotVerifiedError) as error:
        return Restored(Answer(False, f"{newest.folder}: {error}"), newest.taken_at)
    except (ThrowawayError, Unavailable, StoreRefusedError) as error:
        return Restored(Answer(None, f"{newest.folder}: {error}"), newest.taken_at)
    whole = Answer(True, f"{newest.folder}: {done.paths} paths in {done.seconds:.0f} s")
    return _compared(way, bundle, whole)


def _compared(way: ClusterConnection, bundle: Bundle, whole: Answer) -> Restored:
    """What Vault has now that the snapshot has not. No value is read."""
    taken_at = bundle.manifest.taken_at
    try:
        with snapshot_session(way) as vault:
            changed = changed_since(bundle.manifest, read_metadata(vault))
    except (VaultSessionError, Unavailable, VaultRefusedError, ApiRefusedError) as error:
        return Restored(whole, taken_at, None, str(error))
    return Restored(whole, taken_at, changed)


def _conditions(way: ClusterConnection) -> dict[str, dict[str, Condition]]:
    """What the engines have published. What cannot be read is no condition, and so unknown."""
    found: dict[str, dict[str, Condition]] = {}
    for name in sorted({part.published for part in vars(PARTS).values()}):
        try:
            published = way.api().get(named("configmaps", ENGINE_NAMESPACE, name))
            if published is not None:
                found[name] = read_conditions((published.get("data") or {}).get("conditions", ""))
        except (Unavailable, ApiRefusedError, ValueError):
            found[name] = {}
    return found
