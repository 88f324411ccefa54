"""Finds what looks like a token of Vault, plain or in base64, and says whether Vault takes it."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator

from secret_authority.clients.vault import Vault, VaultRefusedError
from tests.support.canary import inner_base64
from tests.support.leak_places import Texts

# Service tokens, root tokens among them (Vault 1.10 and later). Vault's own have 24 characters or more behind the dot.
_BEGIN = b"hvs."
_TOKEN = re.compile(rb"hvs\.[A-Za-z0-9_-]{24,}")
# At each offset in a group of three: how it begins, and what completes that to whole groups.
_ENCODED = tuple(
    (inner, base64.b64encode(b"\0" * offset + _BEGIN).partition(inner)[0])
    for offset in range(3)
    for inner in (inner_base64(_BEGIN, offset),)
)
_BASE64 = re.compile(rb"[A-Za-z0-9+/]*")


def tokens(text: bytes) -> Iterator[str]:
    """Every token-like text. One in base64 is decoded; a cut one is given as far as it goes."""
    if _BEGIN in text:
        yield from (found.decode() for found in _TOKEN.findall(text))
    for begin, before in _ENCODED:
        at = text.find(begin)
        while at >= 0:
            run = _BASE64.match(text, at)
            assert run is not None
            group = before + run.group()
            decoded = base64.b64decode(group[: len(group) // 4 * 4] + _last(group))
            yield from (found.decode() for found in _TOKEN.findall(decoded))
            at = text.find(begin, run.end())


def _last(group: bytes) -> bytes:
    """The incomplete group at the end, filled up. One character alone holds no whole byte."""
    rest = group[len(group) // 4 * 4 :]
    return rest + b"=" * (4 - len(rest)) if len(rest) > 1 else b""


class TokenSearch:
    """Lets texts pass and notes the tokens in them, as token -> {(place, where)}."""

    def __init__(self) -> None:
        self.found: dict[str, set[tuple[str, str]]] = {}

    def passing(self, place: str, texts: Texts) -> Texts:
        for where, text in texts:
            for token in tokens(text):
                self.found.setdefault(token, set()).add((place, where))
            yield where, text


def works(vault: Vault, token: str) -> bool:
    """Whether Vault takes the token."""
    try:
        vault.with_token(token).read("auth/token/lookup-self")
    except VaultRefusedError as error:
        assert error.status == 403, error
        return False
    return True
