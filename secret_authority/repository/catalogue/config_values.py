"""Configuration values of class config: plain YAML files in the user's repository, one for each entry.

`secret-authority/CLUSTER/config/ENTRY.yaml` is a mapping of keys to texts. These values are not secret and Git decides
them. An entry without a file is entered by hand. RFC-SECOPS-0001 §2 (configuration on a path of its own).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from secret_authority.core.catalogue.schema import Catalogue, CatalogueSecret, SecretClass
from secret_authority.core.errors import InvalidInputError, Problem, raise_if_any
from secret_authority.repository.files.yaml_documents import (
    has_link,
    read_documents,
    read_text,
    refuse_changed_line_ends,
    yaml_files,
)


def read_config_values(root: Path, folder: str, catalogue: Catalogue) -> dict[str, dict[str, str]]:
    """The values by entry. Raises `InvalidInputError` with every problem found."""
    if not (root / folder).is_dir():
        return {}
    entries = {secret.name: secret for secret in catalogue}
    values: dict[str, dict[str, str]] = {}
    # Flux leaves links out of what it fetches, and a link may lead to a file that nobody meant to publish.
    fix = "put the file itself here"
    links = [path for path in [root / folder, *sorted((root / folder).rglob("*"))] if has_link(root, path)]
    problems = [Problem(str(path.relative_to(root)), "", "is a symbolic link", fix) for path in links]
    for path in yaml_files(root / folder):
        shown = str(path.relative_to(root))
        entry = entries.get(path.stem)
        if entry is None or entry.secret_class is not SecretClass.CONFIG:
            what = "is not in the catalogue" if entry is None else f"has class {entry.secret_class} there"
            fix = "name the file after an entry of class config; secret values never stand here in the clear"
            problems.append(Problem(shown, "", f"{path.stem} {what}", fix))
            continue
        try:
            refuse_changed_line_ends(read_text(path, shown), shown)
            found = read_documents(path, shown)
        except InvalidInputError as error:
            problems += error.problems
            continue
        document = found[0] if len(found) == 1 else None
        if not isinstance(document, dict):
            problems.append(Problem(shown, "", "is not one mapping", "write one key and its text on each line"))
            continue
        problems += _check(shown, document, entry)
        values[entry.name] = {str(key): str(value) for key, value in document.items()}
    raise_if_any(problems)
    return values


def _check(file: str, document: dict[object, object], entry: CatalogueSecret) -> Iterator[Problem]:
    for key, value in document.items():
        if not isinstance(key, str) or not isinstance(value, str):
            yield Problem(file, str(key), "is not a text", "put the value in quotes")
    needed = {key for consumer in entry.consumers for key in consumer.keys.values()}
    for key in sorted(needed - set(map(str, document))):
        yield Problem(file, key, "is missing", f"add it, or remove it from the consumers of {entry.name}")
