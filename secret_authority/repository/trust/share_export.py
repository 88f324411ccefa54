"""Vault's unseal shares in Git: age ciphertext to the cluster's identity and every root holder.

The cluster holds the only other copy, in the Secret that unseals its own Vault. `clusters/NAME/unseal-shares.txt` is
not YAML, so that Flux, which applies folders of YAML, passes it over.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from secret_authority.core.errors import InvalidInputError, Problem

_SHARE = re.compile(r"-----BEGIN AGE ENCRYPTED FILE-----\n.+?-----END AGE ENCRYPTED FILE-----\n?", re.DOTALL)
_THRESHOLD = re.compile(r"^# threshold: (\d+)$", re.MULTILINE)


def export_file(cluster: str) -> str:
    """The file of a cluster's exported shares, relative to the repository."""
    return f"clusters/{cluster}/unseal-shares.txt"


def exported_text(cluster: str, ciphertexts: Sequence[str], threshold: int) -> str:
    """The text of the file."""
    head = (
        f"# Vault's unseal shares of cluster {cluster}, written by `secret-authority cluster export-shares`.\n"
        f"# Ciphertext to the cluster and the root holders; see docs/runbooks/unseal.md.\n# threshold: {threshold}\n"
    )
    return head + "".join(f"{text.rstrip()}\n" for text in ciphertexts)


def read_export(repository: Path, cluster: str) -> tuple[tuple[str, ...], int] | None:
    """The exported ciphertexts and their threshold; None without a file. Raises `InvalidInputError`."""
    file = export_file(cluster)
    try:
        text = (repository / file).read_text()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError):
        text = ""
    threshold, shares = _THRESHOLD.search(text), tuple(_SHARE.findall(text))
    if threshold is None or not 1 <= int(threshold.group(1)) <= len(shares):
        fix = f"run `secret-authority cluster export-shares {cluster}` again"
        raise InvalidInputError([Problem(file, "", "does not hold the shares of one Vault", fix)])
    return shares, int(threshold.group(1))


def compare_export(repository: Path, cluster: str, ciphertexts: Sequence[str], threshold: int) -> str | None:
    """What Git lacks of the stored shares, None when it has them. Raises `InvalidInputError`."""
    exported = read_export(repository, cluster)
    fix = f"Run `secret-authority cluster export-shares {cluster}` and commit the file"
    lost = "without them the values in Vault are lost with this cluster"
    if exported is None:
        return f"{export_file(cluster)} is missing: Git has no copy of Vault's unseal shares, and {lost}. {fix}"
    if exported != (tuple(f"{text.rstrip()}\n" for text in ciphertexts), threshold):
        other = "holds other unseal shares than the cluster: of an earlier seal, or of another Vault"
        return f"{export_file(cluster)} {other}. {fix}"
    return None
