"""`cluster export-shares`: the one copy of Vault's unseal shares is in the cluster that they unseal; Git gets another.

The shares are age ciphertext to the cluster's identity and every root holder, who can open the cluster's identity
anyway. Nothing is opened here.
"""

from __future__ import annotations

import argparse
import sys

from cli.shares_cluster import shares_cluster
from secret_authority.clients.kubernetes import ApiRefusedError, named
from secret_authority.contract.names import UNSEAL_SHARES, VAULT_NAMESPACE
from secret_authority.core.errors import Unavailable
from secret_authority.engine.runtime_authority.seal_store import read_shares
from secret_authority.engine.runtime_authority.unseal_shares import SharesError
from secret_authority.repository.files.replace import replace_all
from secret_authority.repository.trust.root_of_trust import read_trust
from secret_authority.repository.trust.share_export import compare_export, export_file, exported_text


def run(options: argparse.Namespace) -> int:
    trust = read_trust(options.repository)
    wanted = trust.cluster(options.name).recipient
    file = export_file(options.name)
    there = shares_cluster(options, wanted, "nothing was written")
    try:
        shares = read_shares(there.api().get(named("secrets", VAULT_NAMESPACE, UNSEAL_SHARES)) or {})
    except (SharesError, Unavailable, ApiRefusedError) as error:
        print(f"nothing was written: {error}", file=sys.stderr)
        return 1
    if options.check:
        missing = compare_export(options.repository, options.name, shares.ciphertexts, shares.threshold)
        print(missing or f"{file} holds the {len(shares.ciphertexts)} shares of the cluster's Vault")
        return 1 if missing else 0
    replace_all({options.repository / file: exported_text(options.name, shares.ciphertexts, shares.threshold)})
    print(f"{file}: {len(shares.ciphertexts)} shares, {shares.threshold} of them open Vault. Commit it.")
    return 0
