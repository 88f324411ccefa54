"""The catalogue as a file of the repository."""

from __future__ import annotations

from pathlib import Path

from secret_authority.core.catalogue.schema import Catalogue, parse_catalogue
from secret_authority.core.errors import InvalidInputError, Problem
from secret_authority.repository.yaml_documents import has_link, read_documents


def read_catalogue(root: Path, file: str) -> Catalogue:
    """Read and check the catalogue. Raises `InvalidInputError`."""
    if has_link(root, root / file):
        fix = "put the file itself here: Flux leaves links out of what it fetches"
        raise InvalidInputError([Problem(file, "", "is reached through a symbolic link", fix)])
    documents = read_documents(root / file, file)
    if len(documents) != 1:
        fix = "write the catalogue as one document"
        raise InvalidInputError([Problem(file, "", f"has {len(documents)} documents", fix)])
    return parse_catalogue(documents[0], file)
