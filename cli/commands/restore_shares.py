"""`cluster restore-shares`: the cluster has lost Vault's unseal shares; Git has a copy, as ciphertext.

Nothing is opened here and nothing is replaced: shares that are there stay.
"""

from __future__ import annotations

import argparse
import sys

from cli.shares_cluster import shares_cluster
from secret_authority.access.person import kubernetes_user
from secret_authority.clients.kubernetes import ApiRefusedError, collection
from secret_authority.contract.names import UNSEAL_SHARES, VAULT_NAMESPACE
from secret_authority.core.errors import InvalidInputError, LostRace, Problem, Unavailable
from secret_authority.engine.runtime_authority.seal_store import shares_secret
from secret_authority.engine.runtime_authority.unseal_shares import SealedShares
from secret_authority.repository.trust.root_of_trust import read_trust
from secret_authority.repository.trust.share_export import export_file, read_export

CHANGE = "put back from Git by `cluster restore-shares`"


def run(options: argparse.Namespace) -> int:
    wanted = read_trust(options.repository).cluster(options.name).recipient
    file = export_file(options.name)
    exported = read_export(options.repository, options.name)
    if exported is None:
        fix = f"check out a revision that has it; `secret-authority cluster export-shares {options.name}` writes it"
        raise InvalidInputError([Problem(file, "", "does not exist", fix)])
    there = shares_cluster(options, wanted, "nothing was changed")
    shares = SealedShares(*exported)
    secret = shares_secret(UNSEAL_SHARES, shares, kubernetes_user(there), CHANGE)
    try:
        there.api().create(collection("secrets", VAULT_NAMESPACE), secret)
    except LostRace:
        print(f"Secret {VAULT_NAMESPACE}/{UNSEAL_SHARES} is there; nothing was changed", file=sys.stderr)
        return 1
    except (Unavailable, ApiRefusedError) as error:
        print(f"not finished: {error}. Run this command again", file=sys.stderr)
        return 1
    number = len(shares.ciphertexts)
    print(f"{number} shares of {file} are in the cluster; the engine says within a minute whether they open")
    return 0
