"""Folders that say by their name that nobody applies what is in them: archives, templates, tests, examples."""

from __future__ import annotations

import os
import re

# What is in these folders, and nothing applies it, is not in use.
ARCHIVES = frozenset(
    {"archive", "archived", "attic", "deprecated", "obsolete", "old", "unused", "disabled", "trash", "trashbox"}
    | {"graveyard", "retired", "deferred"}
)
# What is in these is copied and completed before something applies it.
TEMPLATES = frozenset({"template", "templates", "tmpl", "skeleton", "boilerplate"})
# Where nothing says what is applied, these folders hold what is not.
NOT_APPLIED = frozenset(
    {"test", "tests", "testdata", "fixtures", "e2e", "docs", "doc", "examples", "example", "samples", "hack", "design"}
    | {"vendor", "third_party", "node_modules"}
)
# integrationtests, e2e-tests, test-data
_TESTS = re.compile(
    r"(unit|integration|acceptance|functional|e2e|smoke|load)[-_]?tests?|tests?[-_]?(data|cases?|suites?)"
)
# secret.example.yaml, secrets-template.yaml: a person makes the file that counts of it.
_EXAMPLE = re.compile(r"[-_.](example|sample|template|tmpl|dist)\.\w+$", re.IGNORECASE)


def is_archived(file: str) -> bool:
    """Whether a file is in a folder for what is no longer used."""
    return bool(ARCHIVES & {part.lstrip("._").lower() for part in file.split("/")[:-1]})


def is_template(file: str) -> bool:
    """Whether a file is in a folder of what is copied first."""
    return bool(TEMPLATES & _folders(file))


def is_not_applied(file: str) -> bool:
    """Whether a file is in a folder for tests, examples or documents, or says by its name that it is to be copied."""
    folders = _folders(file)
    if NOT_APPLIED & folders or any(_TESTS.fullmatch(folder) for folder in folders):
        return True
    return _EXAMPLE.search(os.path.basename(file)) is not None  # noqa: PTH119


def is_shown(file: str) -> bool:
    """Whether a file is in a folder for what nobody applies: tests, examples, documents, archives."""
    return is_not_applied(file) or is_archived(file)


def _folders(file: str) -> set[str]:
    """The names of the folders above a file, without the dot of a hidden one."""
    return {part.lstrip(".") for part in file.split("/")[:-1]}
