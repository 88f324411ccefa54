"""Pointers of Git LFS: what Git holds in place of a file, and all that Flux fetches of it (git-lfs, docs/spec.md)."""

from __future__ import annotations

LFS_POINTER = "is a pointer of Git LFS, whose file Flux does not fetch"
LFS_FIX = "take the file out of .gitattributes, and commit the encrypted file itself"


def is_lfs_pointer(text: str) -> bool:
    return text.removeprefix("---\n").startswith("version https://git-lfs.github.com/spec/")
