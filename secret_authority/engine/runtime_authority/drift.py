"""Configuration in Vault that neither the engine nor pulumi-vault made. It is reported, never removed."""

from __future__ import annotations

from secret_authority.clients.vault import Vault
from secret_authority.contract.names import (
    AUDITOR_ACCOUNT,
    AUTHORITY_MOUNT,
    CONFIGURATOR_ACCOUNT,
    CONSUMER_PREFIX,
    ENGINE_ACCOUNT,
    ROTATION_MOUNT,
)
from secret_authority.core.catalogue.schema import CONFIG_MOUNT, DATA_MOUNT

_BUILT_IN_MOUNTS = {"cubbyhole/", "identity/", "sys/"}
_MOUNTS = frozenset(
    {*_BUILT_IN_MOUNTS, f"{AUTHORITY_MOUNT}/", f"{DATA_MOUNT}/", f"{CONFIG_MOUNT}/", f"{ROTATION_MOUNT}/"}
)
_AUTH = frozenset({"token/", "kubernetes/"})
_OWN = frozenset({ENGINE_ACCOUNT, CONFIGURATOR_ACCOUNT, AUDITOR_ACCOUNT})
_BUILT_IN = frozenset({"default", "root"})


def find_drift(vault: Vault) -> list[str]:
    """What is in Vault beside the managed configuration, in words.

    Names of consumers are passed over: which of them pulumi-vault made is in its state alone.
    """
    mounts = set((vault.read("sys/mounts") or {}).get("data", {}))
    methods = set((vault.read("sys/auth") or {}).get("data", {}))
    names = set(vault.list("sys/policies/acl"))
    roles = set(vault.list("auth/kubernetes/role"))
    return [
        *(f"mount {name}" for name in sorted(mounts - _MOUNTS)),
        *(f"auth method {name}" for name in sorted(methods - _AUTH)),
        *(f"policy {name}" for name in sorted(names - _OWN - _BUILT_IN) if not _of_consumer(name)),
        *(f"auth role {name}" for name in sorted(roles - _OWN) if not _of_consumer(name)),
    ]


def _of_consumer(name: str) -> bool:
    return name.startswith(CONSUMER_PREFIX)
