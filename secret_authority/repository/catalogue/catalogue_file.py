"""The catalogue as a file of the repository."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from secret_authority.core.catalogue.schema import Catalogue, InvalidShapeError, parse_catalogue
from secret_authority.core.errors import InvalidInputError, Problem
from secret_authority.repository.files.yaml_documents import has_link, read_documents

_ENTRY = re.compile(r"secrets\[([a-z0-9][-a-z0-9]*)\]")
Place = tuple[str, str]  # (namespace, name) of a Secret


def read_catalogue(root: Path, file: str) -> Catalogue:
    """Read and check the catalogue. Raises `InvalidInputError`."""
    return parse_catalogue(_document(root, file), file)


def read_good_entries(root: Path, file: str) -> tuple[Catalogue, dict[str, Problem]]:
    """The catalogue without the entries that are wrong by themselves, and the first problem of each of those, by name.

    A wrong one stops itself: the engine acts on no entry that the program has not checked, and the program leaves out
    what it has never built. Raises
    `InvalidInputError` for what is wrong with the file as a whole, for an entry that cannot be named, and for entries
    that are wrong together, such as two over one Secret: there authority is at stake.
    """
    document = _document(root, file)
    try:
        return parse_catalogue(document, file), {}
    except InvalidShapeError as error:
        wrong: dict[str, Problem] = {}
        for problem in error.problems:
            name = entry_of(problem)
            if name is None:
                raise
            wrong.setdefault(name, problem)
        entries = document["secrets"]
        good = [entry for entry in entries if not isinstance(entry, Mapping) or entry.get("name") not in wrong]
        if len(good) == len(entries):
            raise  # known by its place only: it has no name
    return parse_catalogue({**document, "secrets": good}, file), wrong


def entry_of(problem: Problem) -> str | None:
    """The name of the entry of the catalogue that a problem is about."""
    named = _ENTRY.match(problem.field)
    return named[1] if named else None


def named_bootstrap_secrets(root: Path, file: str) -> dict[str, Place]:
    """By entry the bootstrap Secret that it names, also of entries that are wrong otherwise."""
    found: dict[str, Place] = {}
    for entry in _document(root, file)["secrets"]:
        match entry:
            case {"name": str(name), "bootstrap": {"namespace": str(namespace), "secret": str(secret)}}:
                found[name] = (namespace, secret)
    return found


def _document(root: Path, file: str) -> Any:
    if has_link(root, root / file):
        fix = "put the file itself here: Flux leaves links out of what it fetches"
        raise InvalidInputError([Problem(file, "", "is reached through a symbolic link", fix)])
    documents = read_documents(root / file, file)
    if len(documents) != 1:
        fix = "write the catalogue as one document"
        raise InvalidInputError([Problem(file, "", f"has {len(documents)} documents", fix)])
    return documents[0]
