"""Names of bundles in a store: `CLUSTER/YYYY/MM/TIME-INDEX-TAG/PART`.

A name tells when and of which cluster, and no secret. TAG is random, so that two writers never mean the same bundle;
a bundle counts once `complete` is there, which is written last.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

SNAPSHOT = "snapshot.age"
SEAL = "seal.age"
MANIFEST = "manifest.json.age"
SUMS = "manifest.sha256"
COMPLETE = "complete"
# In the order in which they are written.
PARTS = (SNAPSHOT, SEAL, MANIFEST, SUMS, COMPLETE)
# Written beside a complete bundle that was restored in the cluster; who can write to the store can write it too.
VERIFIED = "verified"
# What is encrypted; SUMS has the SHA-256 of each.
SEALED_PARTS = (SNAPSHOT, SEAL, MANIFEST)

TAG_BYTES = 4
_TIME = "%Y%m%dT%H%M%SZ"
_CLUSTER = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_FOLDER = re.compile(rf"({_CLUSTER})/(\d{{4}})/(\d{{2}})/(\d{{8}}T\d{{6}}Z)-(\d{{1,20}})-([0-9a-f]{{{2 * TAG_BYTES}}})")


@dataclass(frozen=True, order=True)
class BundleName:
    """`taken_at` is UTC, by Vault's clock, to the second; `index` is the Raft index. Sorts by time within a cluster."""

    cluster: str
    taken_at: datetime
    index: int
    tag: str

    def __post_init__(self) -> None:
        """Raises ValueError for what cannot be a part of a path."""
        if self.taken_at.utcoffset() is None:
            raise ValueError("the time of a bundle needs its zone")
        object.__setattr__(self, "taken_at", self.taken_at.astimezone(UTC).replace(microsecond=0))
        if self.index < 0 or _FOLDER.fullmatch(self.folder) is None:
            raise ValueError(f"{self.folder!r} is not the name of a bundle")

    @property
    def folder(self) -> str:
        at = self.taken_at
        # Not strftime: it writes years before 1000 without zeros.
        time = f"{at.year:04}{at.month:02}{at.day:02}T{at.hour:02}{at.minute:02}{at.second:02}Z"
        return f"{self.cluster}/{at.year:04}/{at.month:02}/{time}-{self.index}-{self.tag}"

    def part(self, part: str) -> str:
        """The key of one part. Raises ValueError for anything else than `PARTS` and `VERIFIED`."""
        if part not in (*PARTS, VERIFIED):
            raise ValueError(f"{part!r} is not a part of a bundle")
        return f"{self.folder}/{part}"

    @classmethod
    def parse(cls, folder: str) -> BundleName:
        """Read `folder`. Raises ValueError."""
        found = _FOLDER.fullmatch(folder)
        if found is None:
            raise ValueError(f"{folder!r} is not the name of a bundle")
        cluster, _, _, time, index, tag = found.groups()
        name = cls(cluster, datetime.strptime(time, _TIME).replace(tzinfo=UTC), int(index), tag)
        if name.folder != folder:
            raise ValueError(f"{folder!r} is not the name of a bundle")
        return name


def prefix(cluster: str) -> str:
    """What every key of a cluster begins with. Raises ValueError for what is no cluster's name."""
    if re.fullmatch(_CLUSTER, cluster) is None:
        raise ValueError(f"{cluster!r} is not the name of a cluster")
    return f"{cluster}/"


def complete_bundles(cluster: str, keys: list[str]) -> list[BundleName]:
    """The bundles of a cluster that are complete, oldest first. Keys that are no part of a bundle are passed over."""
    found: list[BundleName] = []
    for key in keys:
        folder, _, part = key.rpartition("/")
        if part != COMPLETE:
            continue
        try:
            name = BundleName.parse(folder)
        except ValueError:
            continue
        if name.cluster == cluster:
            found.append(name)
    return sorted(found)
