"""What sops has decrypted once in this process. A start of sops takes longer than most tests do.

The same program gives the same clear text, or the same refusal, for the same bytes and identities. Tests of sops itself
are in tests/integration and tests/e2e, where nothing is remembered.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from secret_authority.clients.sops import SopsError, sops_program
from secret_authority.core.errors import Problem


def remembered(decrypt: Callable[..., Any]) -> Callable[..., Any]:
    """`decrypt_text` or `decrypt_content`, asked once for each set of arguments."""
    known: dict[tuple[Any, ...], Any] = {}

    def answer(content: bytes, kind: str, shown: str, identities: list[str], ignore_mac: bool = False) -> Any:
        key = (sops_program(), content, kind, shown, tuple(identities), ignore_mac)
        if key not in known:
            try:
                known[key] = decrypt(content, kind, shown, identities, *([True] if ignore_mac else []))
            except SopsError as error:
                known[key] = error.problem
        found = copy.deepcopy(known[key])
        if isinstance(found, Problem):
            raise SopsError(found.file, found.message, found.fix)
        return found

    return answer
