"""Stores of objects outside of the cluster: what a writer and a reader may do, and, apart from it, deletion.

An object is written once and never changed. Keys are relative paths of plain names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

_KEY = re.compile(r"[A-Za-z0-9][-A-Za-z0-9._]*(?:/[A-Za-z0-9][-A-Za-z0-9._]*)*")


class StoreRefusedError(Exception):
    """The store answered and said no. The message holds no credential and nothing of an answer."""


class ObjectExistsError(StoreRefusedError):
    """An object of this key is there already; it was not changed."""


class ObjectMissingError(StoreRefusedError):
    """There is no object of this key."""


@dataclass(frozen=True)
class StoredObject:
    """An object as a listing names it; `size` in bytes."""

    key: str
    size: int


class ObjectStore(Protocol):
    """Every call raises `Unavailable` when the store cannot answer now, and `StoreRefusedError` when it says no."""

    def put_new(self, key: str, content: bytes) -> None:
        """Write an object durably. Raises `ObjectExistsError` when there is one: nothing is ever replaced."""

    def get(self, key: str) -> bytes:
        """Raises `ObjectMissingError`."""

    def list(self, prefix: str) -> list[StoredObject]:
        """Every object below a prefix that ends with `/`, by key."""


class ObjectDeleter(Protocol):
    """The right to delete: of a third identity, never of the writer."""

    def delete(self, key: str) -> None:
        """Delete an object; one that is gone already is no error."""


def check_key(key: str) -> str:
    """The key. Raises ValueError for one that could mean another place."""
    if _KEY.fullmatch(key) is None:
        raise ValueError(f"{key!r} is not a key of an object")
    return key


def check_prefix(prefix: str) -> str:
    """The prefix. Raises ValueError for one that does not end with `/`, or could mean another place."""
    if not prefix.endswith("/"):
        raise ValueError(f"{prefix!r} does not end with a slash")
    check_key(prefix[:-1])
    return prefix
