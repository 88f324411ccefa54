"""The encrypted Secrets of a repository: what can be read of them without a key, and what they decrypt to."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secret_authority.clients.sops import SopsHeader
from secret_authority.repository.yaml_documents import read_documents, yaml_files


def encrypted_files(folder: Path, bootstrap: tuple[str, ...]) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    for path in (path for part in bootstrap for path in yaml_files(folder / part)):
        shown = str(path.relative_to(folder))
        for document in read_documents(path, shown):
            if isinstance(document, Mapping) and document.get("kind") == "Secret" and "sops" in document:
                metadata = document["metadata"]
                found[metadata["namespace"], metadata["name"]] = shown
    return found


def secret_values(manifest: Mapping[str, Any]) -> dict[str, bytes]:
    """The values of a decrypted Secret manifest; stringData wins over data, as in the API server."""
    values = {key: base64.b64decode(value) for key, value in (manifest.get("data") or {}).items()}
    values |= {key: str(value).encode() for key, value in (manifest.get("stringData") or {}).items()}
    return values


@dataclass(frozen=True)
class EncryptedSecret:
    """A Secret manifest that sops encrypted: what can be read of it without a key."""

    file: str
    namespace: str
    name: str
    keys: frozenset[str]
    header: SopsHeader


def secret_data(document: Mapping[str, Any]) -> dict[str, Any]:
    return {**(document.get("data") or {}), **(document.get("stringData") or {})}
