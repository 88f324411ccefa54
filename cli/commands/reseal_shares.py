"""`cluster reseal-shares`: after a new cluster identity or another root holder, Vault's unseal shares follow.

The engine unseals with the cluster's identity (RFC-SECOPS-0001 §5), and the shares are encrypted to the identity of
the day Vault was initialised. Only a root holder can open them for another one.
"""

from __future__ import annotations

import argparse
import sys

from cli.passphrase import root_identity
from cli.shares_cluster import shares_cluster
from secret_authority.access.person import kubernetes_user
from secret_authority.clients.age import Identity, open_sealed
from secret_authority.clients.kubernetes import ApiRefusedError
from secret_authority.contract.names import VAULT_NAMESPACE
from secret_authority.core.errors import InvalidInputError, LostRace, Problem, Unavailable, raise_if_any
from secret_authority.engine.runtime_authority.share_replacement import replace_shares
from secret_authority.engine.runtime_authority.unseal_shares import SharesError, reseal_shares
from secret_authority.repository.trust.checks import check_genuine
from secret_authority.repository.trust.cluster_identity import open_cluster
from secret_authority.repository.trust.root_of_trust import RootOfTrust, read_trust


def run(options: argparse.Namespace) -> int:
    trust = read_trust(options.repository)
    wanted = trust.cluster(options.name).recipient
    root = root_identity(options)
    opened = [open_sealed(file, str(file), root) for file in options.sealed]
    identity = next((one for one in opened if one.recipient == wanted), None)
    recipients = admitted(trust, options.name, identity or open_cluster(options.repository, options.name, root))
    # Whichever of them the shares are sealed to: a root holder, or the cluster's identity of now or before.
    keys = "\n".join(one.secret for one in (root, *opened))
    there = shares_cluster(options, wanted, "nothing was changed")
    try:
        person = kubernetes_user(there)
        number = replace_shares(
            there.api(), VAULT_NAMESPACE, lambda sealed: reseal_shares(sealed, keys, recipients), person
        )
    except SharesError as error:
        print(f"nothing was changed: {error}", file=sys.stderr)
        return 1
    except (Unavailable, ApiRefusedError, LostRace) as error:
        print(f"not finished: {error}. No share is lost; run this command again", file=sys.stderr)
        return 1
    print(f"{number} unseal shares sealed to cluster {options.name} and {len(trust.root)} root holder(s)")
    return 0


def admitted(trust: RootOfTrust, name: str, identity: Identity) -> tuple[str, ...]:
    """The recipients, when a root holder admitted them. Raises `InvalidInputError`."""
    raise_if_any(check_genuine(trust, name, identity))
    admission = trust.cluster(name).admitted()
    if admission is None or set(admission.recipients) != trust.wanted(name):
        fix = f"run `secret-authority check --cluster {name}`, which says what is missing"
        reason = "are not those that a root holder admitted"
        raise InvalidInputError([Problem("root-of-trust.yaml", f"the recipients of {name}", reason, fix)])
    return admission.recipients
