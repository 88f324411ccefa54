"""Evidence that a layer works. The next layer is built on evidence, never on time (RFC §3.2).

Evidence holds names, counts and outcomes; no value and no digest of a value.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from secret_authority.core.phases import Phase


class Outcome(StrEnum):
    """What was found for one secret."""

    MATCHES = "matches"
    HANDED_OVER = "was handed over to Vault; its bootstrap Secret is consumed"
    NOT_ON_RECORD = "the Secret is marked consumed, but the audit trail has no handover of it"
    NO_FILE = "no encrypted file in Git"
    NO_SECRET = "no Secret in the cluster"
    KEYS_DIFFER = "the Secret has other keys than the catalogue says"
    VALUE_DIFFERS = "the Secret does not hold what Git's ciphertext decrypts to"
    UNREADABLE = "the cluster identity cannot decrypt the file, or its MAC does not fit"
    NOT_APPLIED = "its file in Git is not one that Flux applies as it is"
    UNLABELLED = "the Secret does not carry the bootstrap labels"
    NOT_HANDED_OVER = "Vault has no authority over it yet"
    NOT_CONSUMED = "a consumer Secret does not hold Vault's newest version"


_GOOD = frozenset({Outcome.MATCHES, Outcome.HANDED_OVER})


@dataclass(frozen=True, order=True)
class EvidenceResult:
    """The outcome for one secret, with the file or object that a person should look at."""

    secret: str
    outcome: Outcome
    where: str

    def __str__(self) -> str:
        return f"{self.secret}: {self.outcome} ({self.where})"


@dataclass(frozen=True)
class Evidence:
    """What a layer showed, at which revision of Git, and when (UTC)."""

    phase: Phase
    revision: str
    at: datetime
    findings: tuple[EvidenceResult, ...]

    @property
    def failed(self) -> tuple[EvidenceResult, ...]:
        return tuple(finding for finding in self.findings if finding.outcome not in _GOOD)

    def lacking(self, secrets: Iterable[str]) -> list[str]:
        """What failed, and which of these names were not looked at, one line each; empty when all is well."""
        missing = sorted(set(secrets) - {finding.secret for finding in self.findings})
        return [*map(str, self.failed), *(f"{name}: not looked at" for name in missing)]

    @property
    def holds(self) -> bool:
        return not self.failed

    def to_json(self) -> str:
        return json.dumps(
            {
                "phase": self.phase.value,
                "revision": self.revision,
                "at": self.at.isoformat(),
                "findings": [[f.secret, f.outcome.value, f.where] for f in self.findings],
            },
            sort_keys=True,
        )

    @classmethod
    def from_json(cls, text: str) -> Evidence:
        """Read what `to_json` wrote. Raises ValueError or KeyError on anything else."""
        data: dict[str, Any] = json.loads(text)
        return cls(
            Phase(data["phase"]),
            data["revision"],
            datetime.fromisoformat(data["at"]),
            tuple(EvidenceResult(secret, Outcome(outcome), where) for secret, outcome, where in data["findings"]),
        )
