"""What a stack says of Vault: how many, where it keeps its data, how its unseal shares are split."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import Any

import pulumi

from secret_authority.core.errors import InvalidInputError, Problem, raise_if_any

_QUANTITY = re.compile(r"^[1-9][0-9]*(Mi|Gi|Ti)$")
IMAGE = "docker.io/hashicorp/vault:1.21.1"


@dataclass(frozen=True)
class VaultSettings:
    """The `vault` object of the stack, see docs/runtime-authority.md. `check` says what does not fit."""

    replicas: int = 1
    storage_class: str | None = None
    data_size: str = "1Gi"
    audit_size: str = "1Gi"
    shares: int = 5
    threshold: int = 3
    image: str = IMAGE
    # Whether pods must run on different nodes, or only should.
    spread: str = "preferred"
    # The port on the operator's own machine through which pulumi-vault reaches Vault during a run.
    local_port: int = 0
    # Whether Pulumi refuses to delete Vault's namespace and pods, with every value and the unseal shares.
    protect: bool = True

    def check(self, file: str) -> list[Problem]:
        """Every field that does not fit. `file` is named in messages."""
        found: list[Problem] = []

        def wrong(field: str, message: str, fix: str) -> None:
            found.append(Problem(file, f"vault.{field}", message, fix))

        if self.replicas not in (1, 3, 5):
            wrong("replicas", f"{self.replicas} gives no Raft quorum worth having", "use 1, 3 or 5")
        for field, size in (("dataSize", self.data_size), ("auditSize", self.audit_size)):
            if not _QUANTITY.match(size):
                wrong(field, f"{size!r} is not a size", "write it like 512Mi or 10Gi")
        if not 1 <= self.threshold <= self.shares <= 255:
            wrong(
                "threshold",
                f"{self.threshold} of {self.shares} shares cannot be",
                "use 1 <= threshold <= shares <= 255",
            )
        elif self.shares > 1 and self.threshold == 1:
            wrong("threshold", "Vault refuses a threshold of 1 with several shares", "use a threshold of 2 or more")
        if self.spread not in ("preferred", "required"):
            wrong("spread", f"{self.spread!r} is unknown", "use preferred or required")
        if self.protect not in (True, False):
            wrong("protect", f"{self.protect!r} is neither true nor false", "write true or false")
        if not 1024 <= self.local_port <= 65535:
            wrong("localPort", f"{self.local_port} is not an unprivileged port", "use 1024 to 65535")
        return found


FIELDS = {
    "replicas": "replicas",
    "storageClass": "storage_class",
    "dataSize": "data_size",
    "auditSize": "audit_size",
    "shares": "shares",
    "threshold": "threshold",
    "image": "image",
    "spread": "spread",
    "localPort": "local_port",
    "protect": "protect",
}


def read_vault_settings(config: pulumi.Config, cluster: str) -> VaultSettings:
    """Read the `vault` object of the stack. Raises `InvalidInputError` with every field that does not fit."""
    file = f"Pulumi.{pulumi.get_stack()}.yaml"
    given = config.get_object("vault") or {}
    unknown = sorted(set(given) - set(FIELDS))
    raise_if_any(Problem(file, f"vault.{name}", "is unknown", f"use {', '.join(FIELDS)}") for name in unknown)
    # A port of its own for each cluster, the same in every run, so that the provider's address never changes.
    chosen: dict[str, Any] = {"local_port": 20000 + zlib.crc32(cluster.encode()) % 10000}
    chosen |= {FIELDS[name]: value for name, value in given.items()}
    try:
        settings = VaultSettings(**chosen)
        problems = settings.check(file)
    except TypeError as error:
        raise InvalidInputError(
            [Problem(file, "vault", f"a field has the wrong type: {error}", "see docs/runtime-authority.md")]
        ) from None
    raise_if_any(problems)
    return settings
