"""`cluster reseal-shares`: after a new cluster identity or another root holder, Vault's unseal shares follow.

The engine unseals with the cluster's identity (RFC-SECOPS-0001 §5), and the shares are encrypted to the identity of
the day Vault was initialised. Only a root holder can open them for another one.
"""

from __future__ import annotations

import argparse
import sys

from cli.arguments import connection
from secret_authority.access.cluster_state import read_cluster_state
from secret_authority.clients.age import read_identity
from secret_authority.clients.kubernetes import ApiRefusedError
from secret_authority.contract.names import VAULT_NAMESPACE
from secret_authority.core.errors import InvalidInputError, LostRace, Problem, Unavailable
from secret_authority.engine.runtime_authority.share_replacement import replace_shares
from secret_authority.engine.runtime_authority.unseal_shares import SharesError, reseal_shares
from secret_authority.repository.trust import read_trust


def run(options: argparse.Namespace) -> int:
    trust = read_trust(options.repository)
    wanted = trust.cluster(options.name).recipient
    recipients = sorted(trust.wanted(options.name))
    root = read_identity(options.root_identity)
    there = connection(options)
    cluster = read_cluster_state(there)
    if not cluster.reachable:
        print(f"the cluster of {there.kubeconfig} does not answer; nothing was changed", file=sys.stderr)
        return 1
    if cluster.recipient != wanted:
        # Shares for an identity that is not in the cluster could not be opened there.
        reason = f"the cluster holds the identity of {cluster.recipient or 'nobody'}, not of {wanted}"
        fix = "plant it first: `secret-authority pulumi up` with the root holder; or correct checkout or context"
        raise InvalidInputError([Problem("root-of-trust.yaml", "clusters", reason, fix)])
    try:
        number = replace_shares(
            there.api(), VAULT_NAMESPACE, lambda sealed: reseal_shares(sealed, root.secret, recipients)
        )
    except SharesError as error:
        print(f"nothing was changed: {error}", file=sys.stderr)
        return 1
    except (Unavailable, ApiRefusedError, LostRace) as error:
        print(f"not finished: {error}. No share is lost; run this command again", file=sys.stderr)
        return 1
    print(f"{number} unseal shares sealed to cluster {options.name} and {len(trust.root)} root holder(s)")
    return 0
