"""What a value must be to go the whole way: from Git or a person, through Vault, into a Secret.

Vault 1.21 takes a JSON string of at most 1 MiB, and its Raft storage an entry of at most 1 MiB, in which the KV engine
keeps all keys of a secret as one JSON object. Kubernetes takes 1 MiB of values in a Secret. What could never pass is
refused before the first change.
Upstream: hashicorp/vault `max_json_string_value_length`, Raft `max_entry_size`; vault-plugin-secrets-kv `json.Marshal`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from secret_authority.core.digest import encode_values
from secret_authority.core.kubernetes_secrets import MAX_SECRET_BYTES

VAULT_STRING_BYTES = 1 << 20
# An entry of Raft, less what the KV engine and the barrier put around the values.
VAULT_ENTRY_BYTES = (1 << 20) - (8 << 10)
_LARGER = {**dict.fromkeys(range(0x20), 6), **{ord(c): 2 for c in '"\\\n\r\t\b\f'}, **{ord(c): 6 for c in "<>&"}}


def impossible_values(values: Mapping[str, bytes], binary: Collection[str]) -> Iterator[tuple[str, str, str]]:
    """(key, what is wrong, fix) for values that can never be delivered; key "" for all of them together.

    `binary` are the keys that the catalogue says hold bytes.
    """
    for key, value in sorted(values.items()):
        if key not in binary and not is_text(value):
            yield key, "is not UTF-8 text", f"name {key} in `binary` of the entry, so that its bytes travel in base64"
    size = sum(map(len, values.values()))
    if size > MAX_SECRET_BYTES:
        yield "", f"has values of {size} bytes together; Kubernetes takes {MAX_SECRET_BYTES} in a Secret", _SPLIT
        return
    texts, _ = encode_values({key: value for key, value in values.items() if key in binary or is_text(value)}, binary)
    for key, text in sorted(texts.items()):
        if len(text.encode()) > VAULT_STRING_BYTES:
            encoded = ", in base64" if key in binary else ""
            what = f"has {len(values[key])} bytes; Vault takes a text of {VAULT_STRING_BYTES}{encoded}"
            yield key, what, _SPLIT
            return
    stored = _json_bytes(texts)
    if stored > VAULT_ENTRY_BYTES:
        yield "", f"takes {stored} bytes as JSON in Vault, which stores {VAULT_ENTRY_BYTES}", _SPLIT


_SPLIT = "split the secret into several entries, or deliver the file in another way"


def is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def largest_value(binary: bool) -> int:
    """The most bytes that one value can have, before it is opened: no smaller limit than the real ones."""
    return VAULT_ENTRY_BYTES * 3 // 4 if binary else VAULT_ENTRY_BYTES


def _json_bytes(texts: Mapping[str, str]) -> int:
    """How many bytes Go's json.Marshal writes: it escapes <, > and & as well, and U+2028 and U+2029."""
    total = 2
    for key, text in texts.items():
        total += len(key) + 6
        total += len(text.encode())
        total += sum((size - 1) * text.count(chr(code)) for code, size in _LARGER.items())
        total += 3 * (text.count("\u2028") + text.count("\u2029"))
    return total
