"""Who may open what, as a root holder admitted it: proof that cannot be made with Git alone.

age encrypts to public recipients and signs nothing, so whoever can push to Git can name a recipient of their own in
root-of-trust.yaml. An admission is a MAC over the recipients of one cluster, under a key that follows from the
cluster's secret identity. Only root holders, who can open that identity, and the cluster itself can make or check one.
See docs/decisions/0013-admitted-recipients.md.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_PURPOSE = b"secret-authority.dev/admission/v1"
_MAC, _DIGEST = "hmac-sha256:", "sha256:"


@dataclass(frozen=True)
class Admission:
    """The recipients of a cluster, and the MAC by which a root holder admitted them.

    `identity`: digest of the sealed identity file that was made in the same act, so an admission also says that this
    file is sealed to these holders, which its header alone does not show.
    """

    cluster: str
    recipient: str
    root: tuple[str, ...]
    identity: str
    mac: str

    @classmethod
    def make(cls, secret: str, cluster: str, recipient: str, root: Iterable[str], sealed: bytes) -> Admission:
        """Admit `root` and the cluster's `recipient`. `secret` is the cluster's identity, `sealed` its file."""
        unsigned = cls(cluster, recipient, tuple(sorted(root)), file_digest(sealed), "")
        return cls(unsigned.cluster, unsigned.recipient, unsigned.root, unsigned.identity, unsigned._mac(secret))

    @property
    def recipients(self) -> tuple[str, ...]:
        """Everybody to whom something of this cluster may be encrypted, sorted."""
        return tuple(sorted({*self.root, self.recipient}))

    def holds(self, secret: str) -> bool:
        """Whether it was made with this cluster identity, for exactly these recipients and this file."""
        return hmac.compare_digest(self.mac, self._mac(secret))

    def as_dict(self) -> dict[str, object]:
        return {**vars(self), "root": list(self.root)}

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> Admission:
        """Raises KeyError for a missing field and TypeError for one of another type."""
        root = data["root"]
        if not isinstance(root, (list, tuple)):
            raise TypeError("root is not a list")
        cluster, recipient, identity, mac = (str(data[name]) for name in ("cluster", "recipient", "identity", "mac"))
        return cls(cluster, recipient, tuple(map(str, root)), identity, mac)

    def _mac(self, secret: str) -> str:
        key = hmac.digest(secret.strip().encode(), _PURPOSE, "sha256")
        message = json.dumps([self.cluster, self.recipient, sorted(self.root), self.identity])
        return _MAC + hmac.digest(key, message.encode(), "sha256").hex()


def file_digest(content: bytes) -> str:
    """The digest of a sealed identity file, as an admission names it."""
    return _DIGEST + hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class TrustRecord:
    """What a cluster has on record of its root of trust: the last admitted recipients, and everybody retired ever."""

    recipient: str
    root: frozenset[str]
    retired: frozenset[str] = frozenset()

    def as_data(self) -> dict[str, str]:
        """As the data of a ConfigMap."""
        lists = {"root": sorted(self.root), "retired": sorted(self.retired)}
        return {"recipient": self.recipient, **{name: "\n".join(entries) for name, entries in lists.items()}}

    @classmethod
    def from_data(cls, data: Mapping[str, str]) -> TrustRecord:
        """Read what `as_data` wrote; what is missing is empty, and so equals nothing that Git names."""
        root, retired = (frozenset(data.get(name, "").split()) for name in ("root", "retired"))
        return cls(data.get("recipient", ""), root, retired)
