"""`cluster restore-shares`: the cluster has lost Vault's unseal shares; Git has a copy, as ciphertext.

Nothing is opened here and nothing is replaced: shares that are there stay.
"""

from __future__ import annotations

import argparse
import sys

from cli.arguments import connection
from cli.commands.reseal_shares import refuse_another_cluster
from secret_authority.access.cluster_state import read_cluster_state
from secret_authority.clients.kubernetes import ApiRefusedError, collection
from secret_authority.contract.names import UNSEAL_SHARES, VAULT_NAMESPACE
from secret_authority.core.errors import InvalidInputError, LostRace, Problem, Unavailable
from secret_authority.engine.runtime_authority.seal_store import shares_secret
from secret_authority.engine.runtime_authority.unseal_shares import SealedShares
from secret_authority.repository.share_export import export_file, read_export
from secret_authority.repository.trust import read_trust


def run(options: argparse.Namespace) -> int:
    wanted = read_trust(options.repository).cluster(options.name).recipient
    file = export_file(options.name)
    exported = read_export(options.repository, options.name)
    if exported is None:
        fix = f"check out a revision that has it; `secret-authority cluster export-shares {options.name}` writes it"
        raise InvalidInputError([Problem(file, "", "does not exist", fix)])
    there = connection(options)
    cluster = read_cluster_state(there)
    if not cluster.reachable:
        print(f"the cluster of {there.kubeconfig} does not answer; nothing was changed", file=sys.stderr)
        return 1
    refuse_another_cluster(cluster, wanted)
    ciphertexts, threshold = exported
    try:
        there.api().create(
            collection("secrets", VAULT_NAMESPACE), shares_secret(UNSEAL_SHARES, SealedShares(ciphertexts, threshold))
        )
    except LostRace:
        print(f"Secret {VAULT_NAMESPACE}/{UNSEAL_SHARES} is there; nothing was changed", file=sys.stderr)
        return 1
    except (Unavailable, ApiRefusedError) as error:
        print(f"not finished: {error}. Run this command again", file=sys.stderr)
        return 1
    print(f"{len(ciphertexts)} shares of {file} are in the cluster; the engine says within a minute whether they open")
    return 0
