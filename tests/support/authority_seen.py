"""Who holds authority over a bootstrap secret, as somebody sees it who looks at Vault from outside."""

from __future__ import annotations

from secret_authority.core.handover.state_machine import InVault
from secret_authority.core.phases import Authority


def authority_seen(vault: InVault) -> Authority:
    """Vault from the instant its record stands, before that Git.

    A record that is not whole still speaks for Vault: only a handover begins one, and Git's value may have
    been consumed. The handover is then reported as broken, and Git stays without authority.
    """
    return Authority.VAULT if vault.record is not None or vault.broken is not None else Authority.GIT
