"""The cryptographic root of trust. It creates nothing in a cluster.

It checks what is offline: that Git fits the root of trust, and that the identity at hand is the right one.
RFC-SECOPS-0001 §3.2, phase 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from components.settings.stack import ROOT_IDENTITY_VARIABLE, Settings
from secret_authority.access.cluster_state import ClusterState
from secret_authority.clients.age import Identity, open_sealed, read_identity
from secret_authority.contract.names import layer_type
from secret_authority.core.errors import InvalidInputError, Problem
from secret_authority.core.phases import Phase
from secret_authority.repository.intent import Intent, check_readable
from secret_authority.repository.trust import FILE as TRUST_FILE


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
        # Plain attribute: it must not become an output, outputs are written to the state.
        self.identity = open_identity(args)
        super().__init__(layer_type("RootOfTrust"), name, {}, opts)
        intent = args.intent
        self.recipient = pulumi.Output.from_input(intent.trust.cluster(intent.layout.cluster).recipient)
        self.holders = pulumi.Output.from_input([root.holder for root in intent.trust.root])
        self.evidence = pulumi.Output.from_input(f"{len(intent.encrypted)} encrypted files for {TRUST_FILE}")
        if not self.identity:
            pulumi.log.info("no root identity given: recipients and headers are checked, MACs are not", self)
        else:
            pulumi.log.info(f"{len(intent.encrypted)} files decrypted, MAC checked", self)
        self.register_outputs({"recipient": self.recipient, "holders": self.holders, "evidence": self.evidence})


def open_identity(args: RootOfTrustArgs) -> Identity | None:
    """The cluster identity when a root identity is given, else None if the cluster has the right one."""
    intent, settings = args.intent, args.settings
    wanted = intent.trust.cluster(intent.layout.cluster).recipient
    if settings.root_identity is not None:
        root = read_identity(settings.root_identity)
        identity = open_sealed(intent.root / intent.identity_file, intent.identity_file, root)
        check_readable(intent, identity)
        return identity
    if settings.phase >= Phase.GITOPS and args.cluster.reachable and args.cluster.recipient != wanted:
        planted = args.cluster.recipient
        found = f"holds the identity of {planted}, not of {wanted}" if planted else "has no decryption identity yet"
        fix = f"run once with {ROOT_IDENTITY_VARIABLE} set to the root holder's identity file"
        raise InvalidInputError([Problem(f"cluster {intent.layout.cluster}", "", found, fix)])
    return None
