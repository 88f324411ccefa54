"""The record of a restore, outside of Vault: written before the first change, so that a killed run is taken up.

It holds names and times, no value. While it is open, the engine moves no authority.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class RestoreRecord:
    """`snapshot`: the folder of the bundle. `begun` and `opened` are ISO 8601 in UTC.

    `revoked`: every token and lease of the snapshot has been revoked. `configured`: this release's policies and logins
    are in force. `closed`: what was scaled down meanwhile, `namespace/name` of a Deployment with its replicas.
    """

    snapshot: str
    person: str
    begun: str
    revoked: bool = False
    configured: bool = False
    closed: Mapping[str, int] = field(default_factory=dict)
    opened: str = ""

    @property
    def open(self) -> bool:
        """Whether the restore is still going on."""
        return not self.opened

    def as_data(self) -> dict[str, str]:
        """As the data of a ConfigMap."""
        return {
            "snapshot": self.snapshot,
            "person": self.person,
            "begun": self.begun,
            "revoked": "yes" if self.revoked else "",
            "configured": "yes" if self.configured else "",
            "closed": json.dumps(dict(self.closed), sort_keys=True),
            "opened": self.opened,
        }

    @classmethod
    def from_data(cls, data: Mapping[str, str]) -> RestoreRecord:
        """Read what `as_data` wrote. Raises ValueError for anything else: an unknown record is an open one."""
        texts = {name: data.get(name) for name in ("snapshot", "person", "begun", "opened", "revoked", "configured")}
        wrong = sorted(name for name, text in texts.items() if not isinstance(text, str))
        if wrong or not texts["snapshot"]:
            raise ValueError(f"the record of a restore lacks {', '.join(wrong) or 'its snapshot'}")
        closed = json.loads(data.get("closed") or "{}")
        if not isinstance(closed, dict) or not all(isinstance(number, int) for number in closed.values()):
            raise ValueError("the record of a restore does not say what was scaled down")
        return cls(
            str(texts["snapshot"]),
            str(texts["person"]),
            str(texts["begun"]),
            texts["revoked"] == "yes",
            texts["configured"] == "yes",
            {str(name): number for name, number in closed.items()},
            str(texts["opened"]),
        )
