"""Which entries of Git's catalogue the Pulumi program has checked: the engine hands over those and no others.

The program reads a checkout, the engine reads what Flux has fetched. The program passes on a digest of each entry that
it has checked; an entry that differs in Git waits until the program has seen it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from secret_authority.core.catalogue.schema import Catalogue, CatalogueSecret, SecretClass


def entry_digest(entry: CatalogueSecret) -> str:
    """SHA-256 (hex) of everything in an entry that decides a handover. Consumers have no part in it."""
    # Without defaults, so that a field that a later release adds does not change the digest of older entries.
    content = entry.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"consumers"})
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def admitted_entries(catalogue: Catalogue) -> dict[str, str]:
    """The digest of each entry of class bootstrap, by name."""
    return {entry.name: entry_digest(entry) for entry in catalogue.of_class(SecretClass.BOOTSTRAP)}


def is_admitted(entry: CatalogueSecret, admitted: Mapping[str, str]) -> bool:
    """Whether the program has checked this very entry."""
    return admitted.get(entry.name) == entry_digest(entry)
