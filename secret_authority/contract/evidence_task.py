"""What the Pulumi program tells the Job that gathers the evidence of bootstrap secrets."""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True)
class EvidenceTask:
    """What to look at: Flux's objects, the intent that the program saw, and where it is in Git."""

    source: str
    kustomizations: tuple[str, ...]
    catalogue: str
    bootstrap: tuple[str, ...]
    digest: str
    deadline_seconds: int

    def to_json(self) -> str:
        return json.dumps(
            {
                "source": self.source,
                "kustomizations": self.kustomizations,
                "catalogue": self.catalogue,
                "bootstrap": self.bootstrap,
                "digest": self.digest,
                "deadlineSeconds": self.deadline_seconds,
            },
            sort_keys=True,
        )

    @classmethod
    def from_json(cls, text: str) -> EvidenceTask:
        """Raises KeyError for a missing field."""
        data = json.loads(text)
        return cls(
            data["source"],
            tuple(data["kustomizations"]),
            data["catalogue"],
            tuple(data["bootstrap"]),
            data["digest"],
            data["deadlineSeconds"],
        )
