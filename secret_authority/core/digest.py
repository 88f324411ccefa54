"""Keyed digests of secret values, and the text form in which Vault's KV engine keeps binary values.

A digest is an HMAC-SHA256 under a key that each cluster keeps in its Vault: it says whether two values are
the same and tells nothing about them without that key, so it may stand in metadata (RFC-SECOPS-0001 §5).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Mapping

KEY_BYTES = 32
_PREFIX = "hmac-sha256:"


def keyed_digest(key: bytes, values: Mapping[str, bytes]) -> str:
    """The digest of all `values` together, whatever their order. Raises ValueError for a short key."""
    if len(key) < KEY_BYTES:
        raise ValueError(f"a digest key has at least {KEY_BYTES} bytes")
    mac = hmac.new(key, digestmod=hashlib.sha256)
    for name in sorted(values):
        # Each part goes in with its length, so that no two sets of values make one stream of bytes.
        for part in (name.encode(), values[name]):
            mac.update(len(part).to_bytes(8, "big"))
            mac.update(part)
    return _PREFIX + mac.hexdigest()


def same_digest(a: str | None, b: str | None) -> bool:
    """Whether both are known and equal; compared in constant time."""
    return a is not None and b is not None and hmac.compare_digest(a, b)


def encode_values(values: Mapping[str, bytes]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Values as JSON strings, and the names of those that had to be written in base64.

    A value that is UTF-8 text stands as it is, so that people and External Secrets read it directly.
    """
    texts: dict[str, str] = {}
    encoded: list[str] = []
    for name in sorted(values):
        try:
            texts[name] = values[name].decode("utf-8")
        except UnicodeDecodeError:
            texts[name] = base64.b64encode(values[name]).decode("ascii")
            encoded.append(name)
    return texts, tuple(encoded)


def decode_values(texts: Mapping[str, object], encoded: Iterable[str]) -> dict[str, bytes]:
    """What `encode_values` was given. Raises ValueError naming a key that is no string or no base64."""
    in_base64 = set(encoded)
    values: dict[str, bytes] = {}
    for name, text in texts.items():
        if not isinstance(text, str):
            raise ValueError(f"key {name} is not a string")
        if name not in in_base64:
            values[name] = text.encode("utf-8")
            continue
        try:
            values[name] = base64.b64decode(text, validate=True)
        except binascii.Error:
            raise ValueError(f"key {name} is said to be base64 and is not") from None
    return values
