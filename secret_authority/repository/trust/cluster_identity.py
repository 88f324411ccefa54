"""Opens a cluster's identity, which Git has sealed to the root holders."""

from __future__ import annotations

from pathlib import Path

from secret_authority.clients.age import Identity, open_sealed
from secret_authority.repository.trust.root_of_trust import read_trust


def open_cluster(repository: Path, name: str, root: Identity) -> Identity:
    """Open a cluster's identity with a root identity. Raises `InvalidInputError`.

    For a holder who was added since it was sealed, the fix is to seal it again, by a holder who can open it.
    """
    trust = read_trust(repository)
    sealed = trust.cluster(name).identity
    if root.recipient not in trust.holders():
        return open_sealed(repository / sealed, sealed, root)
    fix = f"a holder to whom it is sealed runs `secret-authority cluster reseal {name} --root-identity FILE`"
    return open_sealed(repository / sealed, sealed, root, fix)
