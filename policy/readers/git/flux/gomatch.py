"""Go's path.Match patterns, for the prefixes and suffixes that Flux's substitution removes."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable


def shortest_prefix(text: str, pattern: str) -> str:
    """The text without the shortest prefix that matches."""
    return _without_prefix(text, pattern, range(len(text) + 1))


def longest_prefix(text: str, pattern: str) -> str:
    """The text without the longest prefix that matches."""
    return _without_prefix(text, pattern, range(len(text), -1, -1))


def shortest_suffix(text: str, pattern: str) -> str:
    """The text without the shortest suffix that matches."""
    return _without_suffix(text, pattern, range(len(text), -1, -1))


def longest_suffix(text: str, pattern: str) -> str:
    """The text without the longest suffix that matches."""
    return _without_suffix(text, pattern, range(len(text) + 1))


def _without_prefix(text: str, pattern: str, ends: Iterable[int]) -> str:
    return next((text[end:] for end in ends if fnmatch.fnmatchcase(text[:end], pattern)), text)


def _without_suffix(text: str, pattern: str, starts: Iterable[int]) -> str:
    return next((text[:start] for start in starts if fnmatch.fnmatchcase(text[start:], pattern)), text)
