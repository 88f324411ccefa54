"""The encrypted Secrets of a repository: what can be read of them without a key.

There is one reading, for `check`, the evidence, the handover and the policy pack: that of Flux, see `flux_folder`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secret_authority.clients.sops import (
    SopsHeader,
    cipher_type,
    clear_length,
    parse_header,
)
from secret_authority.contract.names import CLASS_LABEL, DOMAIN
from secret_authority.core.catalogue.schema import SecretClass
from secret_authority.core.errors import InvalidInputError, Problem, raise_if_any
from secret_authority.core.kubernetes_secrets import (
    MAX_SECRET_BYTES,
    OPAQUE,
    is_allowed_type,
    is_data_key,
    is_label_value,
    is_qualified_name,
    missing_keys,
)
from secret_authority.repository.bootstrap.flux_folder import Generator, Manifest, read_folder
from secret_authority.repository.bootstrap.generated_secrets import Input, generated_digest, read_generator
from secret_authority.repository.files.yaml_documents import read_documents

_FIELDS = frozenset({"apiVersion", "kind", "metadata", "type", "data", "stringData", "immutable", "sops"})
_METADATA = frozenset({"name", "namespace", "labels", "annotations", "creationTimestamp"})
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
# Annotations by which Flux or kustomize does not apply an object, or not as it is written.
_STEERING = (
    "kustomize.toolkit.fluxcd.io/reconcile",
    "kustomize.toolkit.fluxcd.io/decrypt",
    "kustomize.toolkit.fluxcd.io/ssa",
    "config.kubernetes.io/",
    "internal.config.kubernetes.io/",
    "kustomize.config.k8s.io/",
)
# kubectl keeps the manifest here as it was applied, with the values.
_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_OWN = f"{DOMAIN}/"
_IN_MANIFEST = "write metadata.name and metadata.namespace in the file, then run sops on it again"
_IN_KUSTOMIZATION = "write the name in the generator, and the namespace there or in the kustomization"
# Characters that YAML does not allow, and U+0085, which ends a line there. Flux writes a decrypted manifest as YAML and
# reads it again, so it refuses the former and changes the latter to a space.
NOT_IN_YAML = re.compile("[\x7f-\x9f\ufffe\uffff]")
_ENCRYPT_AGAIN = "encrypt with encrypted_regex ^(data|stringData)$, and give the key a new value"


@dataclass(frozen=True)
class EncryptedSecret:
    """A Secret manifest that sops encrypted: what can be read of it without a key.

    `index` counts the documents of its file; namespace and name are those under which Flux applies it.
    """

    file: str
    namespace: str
    name: str
    keys: frozenset[str]
    header: SopsHeader
    index: int = 0
    type: str = OPAQUE
    # The encrypted files of a generated Secret; `file` is its kustomization then.
    inputs: tuple[Input, ...] = ()

    @property
    def parts(self) -> tuple[tuple[str, SopsHeader], ...]:
        """Each encrypted file that it comes from, with its header."""
        return tuple((one.file, one.header) for one in self.inputs) or ((self.file, self.header),)

    @property
    def place(self) -> tuple[str, str]:
        return self.namespace, self.name


@dataclass(frozen=True)
class EncryptedSecrets:
    """What the bootstrap folders hold. While there are problems, a Secret that is not found may still be there."""

    found: tuple[EncryptedSecret, ...]
    problems: tuple[Problem, ...] = ()


def read_encrypted(root: Path, folders: Iterable[str], fetched: bool = False) -> EncryptedSecrets:
    """Every encrypted Secret of the folders, and every reason why Flux would not apply what is there as it is.

    `fetched`: see `flux_folder.read_folder`. Two manifests of one Secret are both found; they are two claims.
    """
    secrets: list[EncryptedSecret] = []
    problems: list[Problem] = []
    for folder in folders:
        reading = read_folder(root, folder, fetched)
        problems += reading.problems
        for manifest in reading.manifests:
            try:
                secrets.append(_read(manifest))
            except InvalidInputError as error:
                problems += error.problems
        for generator in reading.generators:
            try:
                secrets.append(_read_generated(generator))
            except InvalidInputError as error:
                problems += error.problems
    return EncryptedSecrets(tuple(secrets), tuple(problems))


def _read(manifest: Manifest) -> EncryptedSecret:
    """Raises `InvalidInputError` for what must not be there, or would not be applied as it is written."""
    value, shown = manifest.value, manifest.file
    kind = value.get("kind")
    if kind != "Secret" or value.get("apiVersion") != "v1":
        raise InvalidInputError([_not_a_secret(value, shown)])
    if "sops" not in value:
        fix = f"run `sops encrypt --in-place {shown}`, then give the secret a new value: Git keeps the old"
        raise InvalidInputError([Problem(shown, "data", "is a Secret in the clear", fix)])
    header = parse_header(value, shown)
    problems = [*_shape(value, shown), *_values(value, shown)]
    if isinstance(value.get("metadata"), Mapping):
        problems += _names(manifest.name, manifest.namespace, shown, _IN_MANIFEST)
    if problems:
        raise InvalidInputError(problems)
    keys = frozenset(secret_data(value))
    secret_type = str(value.get("type") or OPAQUE)
    return EncryptedSecret(
        shown, str(manifest.namespace), str(manifest.name), keys, header, manifest.index, secret_type
    )


def _read_generated(generator: Generator) -> EncryptedSecret:
    """Raises `InvalidInputError`, see `read_generator`."""
    made = read_generator(generator)
    shown = generator.file
    raise_if_any([*_shape(made.value, shown), *_names(generator.name, generator.namespace, shown, _IN_KUSTOMIZATION)])
    return EncryptedSecret(
        shown,
        str(generator.namespace),
        str(generator.name),
        made.keys,
        made.inputs[0].header,
        type=str(made.value["type"]),
        inputs=made.inputs,
    )


def _not_a_secret(value: Mapping[str, Any], shown: str) -> Problem:
    kind = value.get("kind")
    if isinstance(kind, str) and kind.endswith("List"):
        fix = "write each Secret as a document of its own, separated by ---, and encrypt the file again"
        return Problem(shown, "kind", f"is a {kind}, in which Flux does not decrypt", fix)
    if cipher_type(kind) or cipher_type(value.get("apiVersion")):
        fix = "encrypt the file again with encrypted_regex ^(data|stringData)$"
        return Problem(shown, "kind", "is encrypted, so nobody can see what Flux would apply", fix)
    what = f"is {kind} {value.get('apiVersion')}" if isinstance(kind, str) else "names no kind"
    fix = "move it to another folder: Flux may write nothing but Secrets (v1) here"
    return Problem(shown, "kind", f"{what}, and not a Secret of v1", fix)


def _shape(value: Mapping[str, Any], shown: str) -> Iterator[Problem]:
    for name in sorted(str(name) for name in value if name not in _FIELDS):
        yield Problem(shown, name, "is not a field of a Secret, so the API server refuses it", "remove it")
    metadata = value.get("metadata")
    if not isinstance(metadata, Mapping):
        yield Problem(shown, "metadata", "names no Secret and namespace", _IN_MANIFEST)
        return
    for name in sorted(str(name) for name in metadata if name not in _METADATA):
        yield Problem(shown, f"metadata.{name}", "belongs to an object of a cluster", "remove it")
    for group in ("labels", "annotations"):
        entries = metadata.get(group) or {}
        if not isinstance(entries, Mapping):
            yield Problem(shown, f"metadata.{group}", "is not a mapping", "write one key and its text on each line")
            continue
        for key, text in entries.items():
            where = f"metadata.{group}.{key}"
            if not isinstance(key, str) or not isinstance(text, str):
                yield Problem(shown, where, "is not a text", "put it in quotes")
            elif not is_qualified_name(key.lower() if group == "annotations" else key):
                yield Problem(shown, where, "is not a key that Kubernetes takes", "correct it")
            elif group == "labels" and not is_label_value(text):
                yield Problem(shown, where, "is not a value that a label may have", "correct it")
            elif NOT_IN_YAML.search(text):
                yield Problem(shown, where, "has a character that Flux refuses or changes", "remove it")
            elif key == _APPLIED:
                fix = "remove it, encrypt the file again, and give the secret a new value: Git keeps the old"
                yield Problem(shown, where, "holds the values in the clear", fix)
            elif key.startswith(_STEERING):
                yield Problem(shown, where, "makes Flux apply something else than what is written here", "remove it")
            elif key.startswith(_OWN) and (key, text) != (CLASS_LABEL, SecretClass.BOOTSTRAP):
                yield Problem(shown, where, "is set by secret-authority alone", "remove it")
    if "immutable" in value and not isinstance(value["immutable"], bool):
        yield Problem(shown, "immutable", "is not true or false", "correct it, without quotes")
    secret_type = value.get("type", OPAQUE)
    if not isinstance(secret_type, str) or not is_allowed_type(secret_type):
        fix = "use Opaque, kubernetes.io/tls, kubernetes.io/dockerconfigjson, basic-auth or ssh-auth"
        yield Problem(shown, "type", "is not a type of a Secret that holds values only", fix)
    elif missing := missing_keys(secret_type, secret_data(value)):
        yield Problem(shown, "type", f"{secret_type} needs {', '.join(missing)}", "add it, or use type Opaque")


def _names(name: object, namespace: object, shown: str, fix: str) -> Iterator[Problem]:
    for part, found, pattern, limit in (("name", name, _SUBDOMAIN, 253), ("namespace", namespace, _LABEL, 63)):
        if not isinstance(found, str) or not found:
            yield Problem(shown, f"metadata.{part}", "names no Secret and namespace", fix)
        elif not pattern.fullmatch(found) or len(found) > limit:
            what = "is encrypted" if cipher_type(found) else "is not a name that Kubernetes takes"
            yield Problem(shown, f"metadata.{part}", what, fix)


def _values(value: Mapping[str, Any], shown: str) -> Iterator[Problem]:
    """What can be said of the values without a key: the ciphertext tells their types and lengths."""
    total = 0
    for group in ("data", "stringData"):
        entries = value.get(group) or {}
        if not isinstance(entries, Mapping):
            yield Problem(shown, group, "is not a mapping", "write one key and its text on each line, encrypt again")
            continue
        for key, text in entries.items():
            where = f"{group}.{key}"
            if not isinstance(key, str) or not is_data_key(key):
                yield Problem(shown, where, "is not a key that a Secret may have", "put it in quotes, or rename it")
                continue
            if group == "data" and key in (value.get("stringData") or {}):
                yield Problem(shown, where, "is in data and in stringData", "remove one of them")
            kind = cipher_type(text)
            if kind is None:
                yield Problem(shown, f"data.{key}", "is in the clear in an encrypted file", _ENCRYPT_AGAIN)
            elif kind != "str":
                fix = "put the value in quotes before sops encrypts it, then give the secret a new value"
                yield Problem(shown, where, f"is not a text: it was encrypted as {kind}", fix)
            elif text:
                total += clear_length(text) * 3 // 4 if group == "data" else clear_length(text)
    if not any(value.get(group) for group in ("data", "stringData")):
        fix = "add a value and encrypt the file again, or remove the file"
        yield Problem(shown, "data", "has no value, so no entry of the catalogue can name it", fix)
    if total > MAX_SECRET_BYTES + 3:
        fix = "split the secret into several entries, or deliver the file in another way"
        what = f"has values of more than {MAX_SECRET_BYTES} bytes together, which is what Kubernetes takes in a Secret"
        yield Problem(shown, "data", what, fix)


def secret_data(document: Mapping[str, Any]) -> dict[str, Any]:
    """`data` and `stringData` of a manifest together; the second wins, as in the API server."""
    parts = (document.get(name) for name in ("data", "stringData"))
    return {key: value for part in parts if isinstance(part, Mapping) for key, value in part.items()}


def ciphertext_digest(root: Path, secret: EncryptedSecret) -> str:
    """SHA-256 of the encrypted values. Adding or removing a recipient leaves them as they are."""
    if secret.inputs:
        return generated_digest(root, secret.inputs)
    documents = read_documents(root / secret.file, secret.file)
    document = documents[secret.index] if secret.index < len(documents) else None
    if not isinstance(document, Mapping):
        what = f"has no Secret {secret.namespace}/{secret.name}"
        raise InvalidInputError([Problem(secret.file, "", what, "restore the file from Git")])
    values = {field: document.get(field) for field in ("data", "stringData")}
    return "sha256:" + hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def ciphertext_mark(root: Path, secret: EncryptedSecret) -> str:
    """The beginning of `ciphertext_digest`: enough to tell two files apart in a status that holds thousands of them."""
    return ciphertext_digest(root, secret)[: len("sha256:") + 20]
