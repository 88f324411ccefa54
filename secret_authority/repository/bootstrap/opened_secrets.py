"""What the encrypted Secrets of a repository decrypt to, with their MACs checked, as Flux makes it of them."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from secret_authority.clients.sops import SopsError, decrypt_text
from secret_authority.core.catalogue.schema import CatalogueSecret
from secret_authority.core.errors import InvalidInputError, Problem, raise_if_any
from secret_authority.core.kubernetes_secrets import decode_base64, type_problems
from secret_authority.core.limits import impossible_values
from secret_authority.repository.bootstrap.encrypted_secrets import (
    NOT_IN_YAML,
    EncryptedSecret,
    EncryptedSecrets,
    read_encrypted,
)
from secret_authority.repository.bootstrap.generated_secrets import open_generated
from secret_authority.repository.files.yaml_documents import Document, read_sources

Opened = dict[str, bytes] | tuple[Problem, ...]


def secret_values(manifest: Mapping[str, Any], shown: str = "Secret") -> dict[str, bytes]:
    """The values of a decrypted Secret manifest, as the API server reads them.

    Raises `InvalidInputError` naming each key whose value it would refuse, never the value.
    """
    values: dict[str, bytes] = {}
    problems: list[Problem] = []
    for group in ("data", "stringData"):
        for key, text in (manifest.get(group) or {}).items():
            fix = "put the value in quotes before sops encrypts it, then give the secret a new value"
            if not isinstance(text, str):
                problems.append(Problem(shown, f"{group}.{key}", "is not a text", fix))
                continue
            if group == "stringData" and (odd := NOT_IN_YAML.search(text)):
                what = f"has the character U+{ord(odd[0]):04X}, which Flux refuses or changes in stringData"
                problems.append(Problem(shown, f"{group}.{key}", what, "write the value under data, in base64"))
                continue
            found = text.encode() if group == "stringData" else decode_base64(text)
            if found is None:
                fix = "write it in base64, or move it to stringData, then give the secret a new value"
                problems.append(Problem(shown, f"data.{key}", "is not base64, so the API server refuses it", fix))
                continue
            values[key] = found
    if problems:
        raise InvalidInputError(problems)
    return values


# Each is a process of sops with some 50 MiB, and a node may have many processors.
_MOST_AT_ONCE = 4


def open_secrets(
    root: Path, secrets: Collection[EncryptedSecret], identities: Sequence[str]
) -> dict[EncryptedSecret, Opened]:
    """What each Secret decrypts to, with its MAC checked, or why it cannot be used. Never raises for a file."""
    by_file: dict[str, list[EncryptedSecret]] = defaultdict(list)
    for secret in secrets:
        if not secret.inputs:
            by_file[secret.file].append(secret)
    generated = [secret for secret in secrets if secret.inputs]
    with ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, _MOST_AT_ONCE)) as pool:
        opened = pool.map(lambda item: _open_file(root, item[0], item[1], identities), by_file.items())
        made = pool.map(lambda secret: _open_generated(root, secret, identities), generated)
        return {
            **{secret: values for file in opened for secret, values in file.items()},
            **dict(zip(generated, made, strict=True)),
        }


def _open_generated(root: Path, secret: EncryptedSecret, identities: Sequence[str]) -> Opened:
    found = open_generated(root, secret.file, secret.inputs, identities)
    return found if isinstance(found, tuple) else _of_type(secret, found)


def _open_file(
    root: Path, file: str, secrets: Sequence[EncryptedSecret], identities: Sequence[str]
) -> dict[EncryptedSecret, Opened]:
    kind = "json" if file.endswith(".json") else "yaml"
    try:
        documents = read_sources(root / file, file)
    except InvalidInputError as error:
        return dict.fromkeys(secrets, error.problems)
    # Documents that were encrypted in one go have one `sops` block, and one MAC over all of them.
    blocks: dict[str, list[Document]] = defaultdict(list)
    for document in documents:
        blocks[_block(document)].append(document)
    opened: dict[EncryptedSecret, Opened] = {}
    checked: dict[str, dict[str, Any] | tuple[Problem, ...]] = {}
    for secret in secrets:
        document = documents[secret.index]
        block = _block(document)
        together = blocks[block]
        try:
            if block not in checked:
                text = _joined(together) if len(together) < len(documents) else (root / file).read_bytes()
                checked[block] = decrypt_text(text, kind, file, identities)
            found = checked[block]
            if not isinstance(found, tuple) and document is not together[0]:
                found = decrypt_text(document.text.encode(), kind, file, identities, ignore_mac=True)
        except SopsError as error:
            found = checked[block] = (error.problem,)
        opened[secret] = found if isinstance(found, tuple) else _clear(found, secret)
    return opened


def _block(document: Document) -> str:
    return repr(document.value.get("sops")) if isinstance(document.value, Mapping) else ""


def _joined(documents: Sequence[Document]) -> bytes:
    return b"---\n".join(re.sub(r"^---.*\n", "", document.text).encode() for document in documents)


def _clear(manifest: Mapping[str, Any], secret: EncryptedSecret) -> Opened:
    try:
        values = secret_values(manifest, secret.file)
    except InvalidInputError as error:
        return error.problems
    return _of_type(secret, values)


def _of_type(secret: EncryptedSecret, values: dict[str, bytes]) -> Opened:
    problems = tuple(
        Problem(secret.file, f"data.{key}", what, "correct the value, or use type Opaque")
        for key, what in type_problems(secret.type, values)
    )
    return problems or values


def undeliverable(secret: CatalogueSecret, values: Mapping[str, bytes], file: str) -> Iterator[Problem]:
    """Values of a catalogue entry that can never reach Vault or a consumer."""
    wanted = {key: value for key, value in values.items() if secret.bootstrap and key in secret.bootstrap.keys}
    for key, what, fix in impossible_values(wanted, secret.binary):
        # A word such as `root` under `data` happens to be base64.
        hint = "; if it was meant as text, write it under stringData" if "is not UTF-8" in what else ""
        yield Problem(file, f"data.{key}" if key else "data", what, fix + hint)


def values_of(
    secret: CatalogueSecret, encrypted: EncryptedSecrets, opened: Mapping[EncryptedSecret, Opened]
) -> tuple[dict[str, bytes] | None, Problem | None]:
    """What Git holds of a bootstrap secret, or why that is not known; (None, None) when Git has no file of it."""
    if secret.bootstrap is None:
        raise ValueError(f"{secret.name} is not of class bootstrap")
    place = secret.bootstrap.namespace, secret.bootstrap.secret
    files = [found for found in encrypted.found if found.place == place]
    if not files:
        # What could not be read may be its file: unknown is not absent.
        return None, next(iter(encrypted.problems), None)
    if len(files) > 1:
        listed = ", ".join(sorted({found.file for found in files}))
        return None, Problem(listed, "metadata", f"{'/'.join(place)} is written more than once", "leave one of them")
    values = opened[files[0]]
    if isinstance(values, tuple):
        return None, values[0]
    problem = next(undeliverable(secret, values, files[0].file), None)
    return (None, problem) if problem else (values, None)


def open_all(root: Path, folders: Iterable[str], identities: Sequence[str]) -> dict[tuple[str, str], dict[str, bytes]]:
    """The values of every encrypted Secret by namespace and name. Raises `InvalidInputError` for any that has none."""
    encrypted = read_encrypted(root, folders)
    problems = list(encrypted.problems)
    values: dict[tuple[str, str], dict[str, bytes]] = {}
    for secret, opened in open_secrets(root, encrypted.found, identities).items():
        if isinstance(opened, tuple):
            problems += opened
        else:
            values[secret.place] = opened
    raise_if_any(problems)
    return values
