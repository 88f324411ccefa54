"""The header of an age file, which anyone can read: how many stanzas, of which kind, and whether they can be real.

age-encryption.org/v1, "Header" and "X25519 recipient stanza"; armor: "ASCII armor". Only somebody who opens
the file can check the MAC of its header, so what is well formed here need not be genuine.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

_ARMOR_BEGIN, _ARMOR_END = b"-----BEGIN AGE ENCRYPTED FILE-----", b"-----END AGE ENCRYPTED FILE-----"
_INTRO = b"age-encryption.org/v1"
# 32 bytes in base64 without padding, as a key share, a wrapped file key and the MAC of the header are written.
_WORD = re.compile(r"[A-Za-z0-9+/]{43}")
_BODY = re.compile(r"[A-Za-z0-9+/]{0,64}")
# The payload of a SOPS data key: a nonce of 16 bytes, and one chunk with the 32 bytes of the key and its tag of 16.
_DATA_KEY_PAYLOAD = 16 + 32 + 16


@dataclass(frozen=True)
class Stanza:
    kind: str
    arguments: tuple[str, ...]
    body: str


@dataclass(frozen=True)
class Header:
    stanzas: tuple[Stanza, ...]
    # Length of what follows the header, in bytes.
    payload: int


def is_sealed(content: bytes) -> bool:
    """Whether a file says of itself that it is an age file."""
    return content.lstrip().startswith((_ARMOR_BEGIN, _INTRO))


def parse_header(content: bytes) -> Header | None:
    """Read the header of an age file, armored or not. None for what is not one."""
    start = content.strip()
    if start.startswith(_ARMOR_BEGIN):
        if not start.endswith(_ARMOR_END):
            return None
        try:
            text = b"".join(start[len(_ARMOR_BEGIN) : -len(_ARMOR_END)].split())
            content = base64.b64decode(text, validate=True)
        except binascii.Error:
            return None
    lines, rest = [], content
    while True:
        line, end, rest = rest.partition(b"\n")
        if not end:
            return None
        try:
            lines.append(line.decode("ascii"))
        except UnicodeDecodeError:
            return None
        if line.startswith(b"---"):
            break
    mac = lines.pop().removeprefix("--- ")
    if not lines or lines.pop(0) != _INTRO.decode() or not _WORD.fullmatch(mac):
        return None
    stanzas = _stanzas(lines)
    return None if stanzas is None else Header(stanzas, len(rest))


def holds_data_key(text: str) -> bool:
    """Whether this can be a SOPS data key, sealed to one X25519 recipient."""
    header = parse_header(text.encode(errors="replace"))
    return (
        header is not None
        and sum(stanza.kind == "X25519" for stanza in header.stanzas) == 1
        and header.payload == _DATA_KEY_PAYLOAD
    )


def _stanzas(lines: list[str]) -> tuple[Stanza, ...] | None:
    found: list[Stanza] = []
    number = 0
    while number < len(lines):
        words = lines[number].split(" ")
        if len(words) < 2 or words[0] != "->" or not all(words):
            return None
        body: list[str] = []
        while True:
            number += 1
            if number == len(lines) or not _BODY.fullmatch(lines[number]):
                return None
            body.append(lines[number])
            if len(lines[number]) < 64:
                break
        number += 1
        stanza = Stanza(words[1], tuple(words[2:]), "".join(body))
        if stanza.kind == "X25519" and not _is_real(stanza):
            return None
        found.append(stanza)
    return tuple(found) if found else None


def _is_real(stanza: Stanza) -> bool:
    return len(stanza.arguments) == 1 and all(_WORD.fullmatch(text) for text in (*stanza.arguments, stanza.body))
