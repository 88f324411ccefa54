"""Secrets that a secretGenerator of a bootstrap folder makes of encrypted files.

Flux decrypts the files before kustomize builds (kustomize-controller 1.9 `DecryptSources`). Only what has one outcome,
whatever the values, is read: whole files in formats that sops writes in one way, under a name without a hash.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secret_authority.clients.sops import SopsError, SopsHeader
from secret_authority.core.errors import InvalidInputError, Problem, raise_if_any
from secret_authority.core.kubernetes_secrets import MAX_SECRET_BYTES, OPAQUE, is_data_key
from secret_authority.repository.bootstrap.flux_folder import Generator, Source
from secret_authority.repository.bootstrap.whole_files import (
    DOTENV,
    READ,
    format_of,
    open_whole_file,
    read_whole_file,
)

_FIELDS = frozenset({"name", "namespace", "files", "envs", "type", "options", "behavior"})
_OPTIONS = frozenset({"disableNameSuffixHash", "labels", "annotations"})


@dataclass(frozen=True)
class Input:
    """An encrypted file that a generator reads. `key` is empty for an env file, which has keys of its own."""

    file: str
    kind: str
    key: str
    header: SopsHeader


@dataclass(frozen=True)
class Generated:
    """What a generator makes: a Secret without its values, and the files that hold them."""

    value: Mapping[str, Any]
    keys: frozenset[str]
    inputs: tuple[Input, ...]


def read_generator(generator: Generator) -> Generated:
    """Raises `InvalidInputError` for what Flux would not apply, or under another name, or with something in clear."""
    problems = list(_shape(generator))
    inputs: list[Input] = []
    keys: list[str] = []
    size = 0
    for source in generator.sources:
        try:
            found, its_keys, clear = _read(source, generator.file)
        except InvalidInputError as error:
            problems += error.problems
            continue
        inputs.append(found)
        keys += its_keys
        size += clear
    for key in sorted({key for key in keys if keys.count(key) > 1}):
        problems.append(Problem(generator.file, generator.where, f"has the key {key} twice", "rename one of them"))
    if size > MAX_SECRET_BYTES:
        problems.append(_too_long(generator.file, generator.where))
    if not generator.sources and not problems:
        problems.append(Problem(generator.file, generator.where, "reads no file", "name encrypted files or envs"))
    raise_if_any(problems)
    options = generator.options
    metadata = {"name": generator.name, "namespace": generator.namespace}
    marks = {name: options[name] for name in ("labels", "annotations") if options.get(name)}
    value = {"apiVersion": "v1", "kind": "Secret", "metadata": {**metadata, **marks}}
    value["type"] = generator.entry.get("type") or OPAQUE
    return Generated({**value, "data": dict.fromkeys(keys, "")}, frozenset(keys), tuple(inputs))


def _too_long(file: str, where: str) -> Problem:
    fix = "split the secret into several entries, or deliver the file in another way"
    what = f"has values of more than {MAX_SECRET_BYTES} bytes together, which is what Kubernetes takes in a Secret"
    return Problem(file, where, what, fix)


def _shape(generator: Generator) -> Iterator[Problem]:
    file, where, entry, options = generator.file, generator.where, generator.entry, generator.options
    if entry.get("literals"):
        fix = "write them into an env file, encrypt it with sops, list it under envs, and give them new values"
        yield Problem(file, f"{where}.literals", "are in the clear", fix)
    for name in sorted(str(name) for name, value in entry.items() if value and name not in _FIELDS | {"literals"}):
        yield Problem(file, f"{where}.{name}", "is not read here", "use files and envs")
    if entry.get("behavior") not in (None, "", "create", "unspecified"):
        fix = "remove it: each Secret of a bootstrap folder is made once"
        yield Problem(file, f"{where}.behavior", "changes a Secret that something else makes", fix)
    for name in sorted(str(name) for name, value in options.items() if value and name not in _OPTIONS):
        yield Problem(file, f"{where}.options.{name}", "is not read here", "remove it")
    if options.get("disableNameSuffixHash") is not True:
        what = "is not true, so the name of the Secret would change with its values"
        yield Problem(file, f"{where}.options.disableNameSuffixHash", what, "set it to true")


def _read(source: Source, file: str) -> tuple[Input, list[str], int]:
    """The input, its keys, and how many bytes it holds as far as that can be told."""
    kind = format_of(source.key or source.name)
    if not source.key:
        if kind not in (DOTENV, "binary"):
            fix = "write KEY=value lines, encrypt them as dotenv, and name the file .env"
            raise InvalidInputError([Problem(file, source.where, f"{source.name} is no env file for Flux", fix)])
        kind = DOTENV
    elif kind not in READ:
        fix = "put it into stringData of an encrypted Secret, or give it another key and encrypt it as binary"
        what = f"{source.name} is {kind}, which sops writes in more than one way when it decrypts"
        raise InvalidInputError([Problem(file, source.where, what, fix)])
    key = source.key.rpartition("/")[2] if source.key == source.name else source.key
    if key and not is_data_key(key):
        raise InvalidInputError([Problem(file, source.where, "has a key that a Secret may not have", "rename it")])
    found = read_whole_file(source.path, source.shown, kind)
    keys = [key] if key else list(found.keys)
    return Input(source.shown, kind, key, found.header), keys, found.clear or 0


def open_generated(
    root: Path, file: str, inputs: Sequence[Input], identities: Sequence[str]
) -> dict[str, bytes] | tuple[Problem, ...]:
    """The values of a generated Secret, each file's MAC checked, or why there are none."""
    values: dict[str, bytes] = {}
    problems: list[Problem] = []
    for one in inputs:
        try:
            found = open_whole_file(root / one.file, one.file, one.kind, one.key, identities)
        except SopsError as error:
            problems.append(error.problem)
            continue
        if isinstance(found, tuple):
            problems += found
        else:
            values |= found
    if sum(map(len, values.values())) > MAX_SECRET_BYTES:
        problems.append(_too_long(file, "secretGenerator"))
    return tuple(problems) or values


def generated_digest(root: Path, inputs: Sequence[Input]) -> str:
    """A digest of the ciphertexts. Adding or removing a recipient leaves it as it is. Raises `InvalidInputError`."""
    found = [(one.key, read_whole_file(root / one.file, one.file, one.kind).ciphertext) for one in inputs]
    return "sha256:" + hashlib.sha256(json.dumps(sorted(found)).encode()).hexdigest()
