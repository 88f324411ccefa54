"""What the Pulumi program tells the engine of snapshots: names, places and recipients, nothing secret."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class SnapshotEngineSettings:
    """The program writes them with `to_json`, the engine reads them with `from_json`.

    `recipients`: to whom bundles are encrypted; they have to be those of the cluster's own record. `ca`: PEM
    certificates for the store, empty for the usual ones.
    """

    cluster: str
    recipients: tuple[str, ...]
    endpoint: str
    bucket: str
    region: str
    ca: str
    path_style: bool

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> SnapshotEngineSettings:
        """Raises KeyError for a missing field."""
        data = json.loads(text)
        return cls(
            cluster=data["cluster"],
            recipients=tuple(data["recipients"]),
            endpoint=data["endpoint"],
            bucket=data["bucket"],
            region=data["region"],
            ca=data["ca"],
            path_style=data["path_style"],
        )
