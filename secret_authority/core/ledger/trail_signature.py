"""The signature of the published audit trail: only the engine can make one, every reader can check it.

Ed25519 (RFC 8032). The private key is 32 random bytes in the cluster's Vault, which the engine alone reads; the public
key is published with the trail, and `tombstones.yaml` in Git pins it.
"""

from __future__ import annotations

import base64
import binascii

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SEED_BYTES = 32
_PREFIX = "ed25519:"
# A signature of anything else under the same key is none of a trail.
_CONTEXT = b"secret-authority.dev/audit-trail\0"


class TrailSigner:
    """Signs trails. `public_key` is how readers know the signer."""

    def __init__(self, seed: bytes) -> None:
        """Raises ValueError for a seed that does not have `SEED_BYTES`."""
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_key = _PREFIX + base64.b64encode(self._key.public_key().public_bytes_raw()).decode()

    def sign(self, content: bytes) -> str:
        return base64.b64encode(self._key.sign(_CONTEXT + content)).decode()


def is_signed(content: bytes, signature: str, public_key: str) -> bool:
    """Whether the owner of `public_key` has signed `content`. False for a key or signature that is none."""
    if not public_key.startswith(_PREFIX):
        return False
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key.removeprefix(_PREFIX), validate=True))
        key.verify(base64.b64decode(signature, validate=True), _CONTEXT + content)
    except (InvalidSignature, ValueError, binascii.Error):
        return False
    return True
