"""A digest of what Git says of a cluster's secrets, so that two sides know they speak of the same intent.

It covers the catalogue and the encrypted files byte by byte: ciphertext and names only, nothing in the clear.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from secret_authority.repository.bootstrap.flux_folder import SOPS_CONFIG
from secret_authority.repository.files.yaml_documents import has_link, yaml_files


def intent_digest(root: Path, catalogue: str, bootstrap: Sequence[str]) -> str:
    """SHA-256 (hex) over the catalogue and every YAML file of the bootstrap folders, with their paths.

    A kustomization without an ending counts too: it gives names. sops' own configuration does not: Flux leaves it out.
    """
    digest = hashlib.sha256()
    files = [root / catalogue]
    for folder in (root / folder for folder in bootstrap):
        names = (path for path in folder.rglob("Kustomization") if path.is_file() and not has_link(folder, path))
        files += sorted({*(path for path in yaml_files(folder) if path.name != SOPS_CONFIG), *names})
    for path in files:
        content = path.read_bytes() if path.is_file() else b""
        digest.update(f"{path.relative_to(root)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()
