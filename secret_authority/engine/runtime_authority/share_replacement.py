"""Puts newly sealed shares in the place of the stored ones, so that a run that ends at any moment loses none.

The Secret is immutable, so it has to go before a new one takes its name. Until that one is there, a second Secret
holds the shares. Whatever a run leaves, the next run continues from there. One run at a time.
"""

from __future__ import annotations

from collections.abc import Callable

from secret_authority.clients.kubernetes import Api, collection, named
from secret_authority.contract.names import UNSEAL_SHARES
from secret_authority.engine.runtime_authority.seal_store import read_shares, shares_secret
from secret_authority.engine.runtime_authority.unseal_shares import SealedShares, SharesError

NEXT = f"{UNSEAL_SHARES}-next"
CHANGE = "sealed to other recipients by `cluster reseal-shares`"


def replace_shares(
    api: Api, namespace: str, reseal: Callable[[SealedShares], SealedShares], person: str = "", change: str = CHANGE
) -> int:
    """Replace the stored shares by what `reseal` makes of them, for `person`; returns their number.

    `change` says in the audit trail why.

    Raises `SharesError` when none are stored or `reseal` does, `Unavailable`, `ApiRefusedError`, and `LostRace`
    when somebody else changes the same Secrets.
    """
    secrets = collection("secrets", namespace)
    first, second = named("secrets", namespace, UNSEAL_SHARES), named("secrets", namespace, NEXT)
    stored, left = api.get(first), api.get(second)
    source = stored or left
    if source is None:
        raise SharesError(f"namespace {namespace} stores no unseal shares: Vault is not initialised (phase 3)")
    shares = reseal(read_shares(source))
    if stored is not None:
        if left is not None:
            # Of a run that ended early, perhaps for other recipients. The first holds all that counts.
            api.delete(second, left["metadata"]["uid"])
        api.create(secrets, shares_secret(NEXT, shares, person, change))
        api.delete(first, stored["metadata"]["uid"])
    api.create(secrets, shares_secret(UNSEAL_SHARES, shares, person, change))
    api.delete(second)
    return len(shares.ciphertexts)
