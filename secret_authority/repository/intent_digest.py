"""A digest of what Git says of a cluster's secrets, so that two sides know they speak of the same intent.

It covers the catalogue and the encrypted files byte by byte: ciphertext and names only, nothing in the clear.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from secret_authority.repository.yaml_documents import yaml_files


def intent_digest(root: Path, catalogue: str, bootstrap: Sequence[str]) -> str:
    """SHA-256 (hex) over the catalogue and every YAML file of the bootstrap folders, with their paths."""
    digest = hashlib.sha256()
    files = [root / catalogue, *(path for folder in bootstrap for path in yaml_files(root / folder))]
    for path in files:
        content = path.read_bytes() if path.is_file() else b""
        digest.update(f"{path.relative_to(root)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()
