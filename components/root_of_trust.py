"""The cryptographic root of trust. It creates nothing in a cluster.

It checks what is offline: that Git fits the root of trust, and that the identity at hand is the right one.
RFC-SECOPS-0001 §3.2, phase 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pulumi

from components.settings.stack import NEW_IDENTITY_VARIABLE, ROOT_IDENTITY_VARIABLE, Settings
from secret_authority.access.cluster_state import ClusterState
from secret_authority.clients.age import Identity, open_sealed, read_identity
from secret_authority.contract.names import TRUST_RECORD, layer_type
from secret_authority.core.errors import Problem, raise_if_any
from secret_authority.core.phases import Phase
from secret_authority.core.recipients import TrustRecord
from secret_authority.repository.intent.intent import Intent, check_readable
from secret_authority.repository.trust.root_of_trust import FILE as TRUST_FILE
from secret_authority.repository.trust.root_of_trust import RootOfTrust as Trust


@dataclass(frozen=True)
class RootOfTrustArgs:
    """`intent` is already checked without a key; `cluster` says which identity is planted."""

    settings: Settings
    intent: Intent
    cluster: ClusterState


class RootOfTrust(pulumi.ComponentResource):
    """Checks trust and holds the opened cluster identity in memory for this run.

    Raises `InvalidInputError` before any resource exists: wrong root identity, a file that does not open or
    whose MAC does not fit, a cluster that holds another identity, or no identity where one is needed.
    """

    recipient: pulumi.Output[str]
    holders: pulumi.Output[list[str]]
    evidence: pulumi.Output[str]

    def __init__(self, name: str, args: RootOfTrustArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        # Plain attributes: the identity must not become an output, outputs are written to the state.
        self.identity = open_identity(args)
        self.record = record_of(args)
        super().__init__(layer_type("RootOfTrust"), name, {}, opts)
        intent = args.intent
        self.recipient = pulumi.Output.from_input(intent.trust.cluster(intent.layout.cluster).recipient)
        self.holders = pulumi.Output.from_input([root.holder for root in intent.trust.root])
        self.evidence = pulumi.Output.from_input(f"{len(intent.encrypted)} encrypted files for {TRUST_FILE}")
        if not self.identity:
            pulumi.log.info("no root identity given: recipients and headers are checked, MACs are not", self)
        else:
            pulumi.log.info(f"{len(intent.encrypted)} files decrypted, MAC checked", self)
            named = ", ".join(f"{holder} {recipient}" for recipient, holder in intent.trust.holders().items())
            pulumi.log.info(f"root holders on record for this cluster after this run: {named}", self)
        self.register_outputs({"recipient": self.recipient, "holders": self.holders, "evidence": self.evidence})


def open_identity(args: RootOfTrustArgs) -> Identity | None:
    """The cluster identity when a root identity is given, else None if the cluster has the right one."""
    intent, settings = args.intent, args.settings
    raise_if_any(_check_digest(args))
    identity = None
    if settings.root_identity is not None:
        root = read_identity(settings.root_identity)
        sealed, shown = intent.root / intent.identity_file, intent.identity_file
        if settings.sealed_identity is not None:
            sealed, shown = settings.sealed_identity, str(settings.sealed_identity)
        identity = open_sealed(sealed, shown, root)
        check_readable(intent, identity, root)
    if settings.phase >= Phase.GITOPS and args.cluster.reachable:
        raise_if_any(_check_cluster(args, opened=identity is not None))
    return identity


def record_of(args: RootOfTrustArgs) -> TrustRecord:
    """What the cluster has on record after this run. Who was retired once stays so."""
    trust, before = args.intent.trust, args.cluster.trust
    retired = {entry.recipient for entry in trust.retired} | (before.retired if before else set())
    recipient = trust.cluster(args.intent.layout.cluster).recipient
    return TrustRecord(recipient, frozenset(trust.holders()), frozenset(retired))


def _check_digest(args: RootOfTrustArgs) -> Iterator[Problem]:
    """The recipients that the stack's configuration accepts, which is not in the repository that names them."""
    wanted, found = args.settings.trust_digest, args.intent.trust.digest(args.intent.layout.cluster)
    if wanted is not None and wanted != found:
        fix = f"compare the recipients with their holders; then set rootOfTrust of the stack to {found}"
        yield Problem(TRUST_FILE, "", f"names other recipients than the stack accepts ({wanted})", fix)


def _check_cluster(args: RootOfTrustArgs, *, opened: bool) -> Iterator[Problem]:
    """Git names the recipients that the cluster has on record, or a root holder is there to change the record."""
    trust, planted, before = args.intent.trust, args.cluster.recipient, args.cluster.trust
    cluster = f"cluster {args.intent.layout.cluster}"
    wanted = trust.cluster(args.intent.layout.cluster).recipient
    with_root = f"run once with {ROOT_IDENTITY_VARIABLE} set to the root holder's identity file"
    if before is not None:
        yield from _check_retired(trust, before, cluster)
    if planted is not None and planted != wanted and args.settings.new_identity != wanted:
        fix = (
            f"if you replaced the identity yourself, with `secret-authority cluster new`, {with_root} and "
            f"{NEW_IDENTITY_VARIABLE} set to {wanted}; else find in Git's history who did"
        )
        yield Problem(cluster, "", f"holds the identity of {planted}, not of {wanted}", fix)
    if opened:
        return
    if planted is None:
        yield Problem(cluster, "", "has no decryption identity yet", with_root)
    elif before is None:
        yield Problem(cluster, "", f"has no record (ConfigMap {TRUST_RECORD}) of admitted recipients", with_root)
    elif planted != wanted:
        yield Problem(cluster, "", "its identity is replaced only with the root holder", with_root)
    else:
        holders = trust.holders()
        for recipient in sorted(set(holders) - before.root):
            found = f"names {holders[recipient]} ({recipient}) in root, whom the cluster does not have on record"
            yield Problem(TRUST_FILE, "root", found, f"if this holder is meant, {with_root}")
        for recipient in sorted(before.root - set(holders)):
            found = f"does not name {recipient} in root any more, whom the cluster has on record"
            yield Problem(TRUST_FILE, "root", found, f"if this holder is retired, {with_root}")


def _check_retired(trust: Trust, before: TrustRecord, cluster: str) -> Iterator[Problem]:
    in_use = {*trust.holders(), *(entry.recipient for entry in trust.clusters)}
    fix = "restore the newer state of Git; whoever was retired and is back gets a new identity"
    for recipient in sorted(before.retired & in_use):
        found = f"names {recipient}, which {cluster} has on record as retired: Git was wound back"
        yield Problem(TRUST_FILE, "", found, fix)
    for recipient in sorted(before.retired - in_use - {entry.recipient for entry in trust.retired}):
        yield Problem(TRUST_FILE, "retired", f"does not name {recipient}, which {cluster} has on record", fix)
