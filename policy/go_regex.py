"""Go's regular expressions, as SOPS and kustomize read them: RE2, which is what Go implements."""

from __future__ import annotations

from functools import lru_cache

import re2

_OPTIONS = re2.Options()
_OPTIONS.log_errors = False


@lru_cache(maxsize=4096)
def search(pattern: str, text: str) -> bool | None:
    """Whether the pattern is found in the text; None when it is not an expression of RE2."""
    try:
        return re2.compile(pattern, _OPTIONS).search(text) is not None
    except re2.error:
        return None


def fullmatch(pattern: str, text: str) -> bool | None:
    """Whether the pattern is all of the text; None when it is not an expression of RE2."""
    return search(f"^(?:{pattern})$", text)


def replace_all(pattern: str, replacement: str, text: str) -> str | None:
    """The text with every match replaced; None when the pattern or the replacement is not one of RE2."""
    try:
        return str(re2.compile(pattern, _OPTIONS).sub(replacement, text))
    except re2.error:
        return None
