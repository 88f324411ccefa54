"""Keyed digests of secret values, and the text form in which Vault's KV engine stores binary values.

A digest is an HMAC-SHA256 under a key that each cluster stores in its Vault. It says whether two values are equal and
reveals nothing about them without that key, so metadata may hold it (RFC-SECOPS-0001 §5). Each secret at each place has
a key of its own, derived from the cluster's: equal values of two secrets do not show equal digests.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

KEY_BYTES = 32
# The rule of a digest is its prefix. Records of older releases have the first one: one key for all secrets.
_ONE_KEY = "hmac-sha256:"
_KEY_EACH = "hmac-sha256-v2:"


class Comparison(StrEnum):
    """What is known of two values. Unknown is neither equal nor different."""

    EQUAL = "equal"
    DIFFERS = "differs"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class ValueDigest:
    """The digest of one value under every rule that a record may have. `current` is the one to write."""

    current: str
    one_key: str

    def compare(self, recorded: str) -> Comparison:
        """Compare with a digest on record. UNKNOWN when its rule is not known, such as that of a newer release."""
        for prefix, mine in ((_KEY_EACH, self.current), (_ONE_KEY, self.one_key)):
            if recorded.startswith(prefix):
                return Comparison.EQUAL if hmac.compare_digest(mine, recorded) else Comparison.DIFFERS
        return Comparison.UNKNOWN


def compare(one: ValueDigest | None, other: ValueDigest | None) -> Comparison:
    """Compare two values. UNKNOWN when either of them is not known."""
    return Comparison.UNKNOWN if one is None or other is None else one.compare(other.current)


def value_digest(key: bytes, secret: str, place: str, values: Mapping[str, bytes]) -> ValueDigest:
    """The digest of the values of `secret` at `place` (`mount/path` in Vault). Raises ValueError for a short key."""
    mac = hmac.new(key, b"secret-authority.dev/digest", hashlib.sha256)
    for part in (secret, place):
        mac.update(_framed(part.encode()))
    return ValueDigest(_KEY_EACH + _mac(mac.digest(), values), keyed_digest(key, values))


def keyed_digest(key: bytes, values: Mapping[str, bytes]) -> str:
    """The digest of all `values` together, whatever their order. Raises ValueError for a short key."""
    if len(key) < KEY_BYTES:
        raise ValueError(f"a digest key has at least {KEY_BYTES} bytes")
    return _ONE_KEY + _mac(key, values)


def _mac(key: bytes, values: Mapping[str, bytes]) -> str:
    mac = hmac.new(key, digestmod=hashlib.sha256)
    for name in sorted(values):
        for part in (name.encode(), values[name]):
            mac.update(_framed(part))
    return mac.hexdigest()


def _framed(part: bytes) -> bytes:
    """The part with its length before it, so that no two lists of parts make one stream of bytes."""
    return len(part).to_bytes(8, "big") + part


def encode_values(values: Mapping[str, bytes], binary: Collection[str] = ()) -> tuple[dict[str, str], tuple[str, ...]]:
    """Values as JSON strings, and the names of those that were written in base64: the keys in `binary`.

    Every other value is UTF-8 text and is written as it is, so that people and External Secrets read it directly.
    The catalogue decides, never the value: what is decoded on delivery is known before any value is (ADR 15).
    Raises ValueError naming a key that is not text and is not in `binary`.
    """
    texts: dict[str, str] = {}
    encoded = tuple(sorted(set(binary) & set(values)))
    for name in sorted(values):
        if name in encoded:
            texts[name] = base64.b64encode(values[name]).decode("ascii")
            continue
        try:
            texts[name] = values[name].decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"key {name} is not UTF-8 text; name it in `binary` of the catalogue") from None
    return texts, encoded


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
