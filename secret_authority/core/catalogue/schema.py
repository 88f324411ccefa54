"""The catalogue: every secret of a cluster by name, class, owner, places and policy. It holds no values.

It is plain text in the user's Git repository, so that a reviewer can see who owns what. RFC-SECOPS-0001
§5 (bootstrap secrets), §6 (rotation policy) and the path rules of §2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from secret_authority.core.catalogue.events import Events
from secret_authority.core.catalogue.rotation_policy import RotationPolicy
from secret_authority.core.errors import InvalidInputError, Problem
from secret_authority.core.kubernetes_secrets import OPAQUE, TYPES, is_allowed_type, missing_keys
from secret_authority.core.platform_namespaces import is_reserved

API_VERSION = "secret-authority.dev/v1"
DATA_MOUNT = "platform-data"
CONFIG_MOUNT = "platform-config"

# DNS-1123: the names that Kubernetes takes.
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
SecretName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$", max_length=253),
]
# Neither "." nor what begins with "..".
DataKey = Annotated[str, StringConstraints(pattern=r"^([-_a-zA-Z0-9]|\.[-_a-zA-Z0-9])[-._a-zA-Z0-9]*$", max_length=253)]
# What a custom metadata of Vault's KV engine takes: values of at most 512 bytes, printable.
METADATA_BYTES = 512
# The end of a pattern above -> what a person may write; the first that fits.
_NAMES = {
    "(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$": "use lower-case letters, digits and -, single dots between, at most 253",
    "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$": "use lower-case letters, digits and -, at most 63, no - at the ends",
    "[-._a-zA-Z0-9]*$": "use letters, digits, -, _ and ., at most 253; not . alone, nor two dots at the beginning",
}


class SecretClass(StrEnum):
    """Where a secret is born, and so how it gets to Vault."""

    BOOTSTRAP = "bootstrap"  # born encrypted in Git, handed over once
    INTERNAL = "internal"  # born in the cluster, pushed create-only, materialised back
    EXTERNAL = "external"  # issued elsewhere, entered once
    CONFIG = "config"  # not secret; its path is kept apart from data


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BootstrapTarget(_Model):
    """The Kubernetes Secret that Flux materialises from the encrypted manifest in Git."""

    namespace: Name
    secret: SecretName
    keys: tuple[DataKey, ...] = Field(min_length=1)


class VaultPath(_Model):
    """A path below platform-data (`consumer`) or platform-config (`instance`)."""

    datasource: Name
    consumer: Name | None = None
    instance: Name | None = None

    @model_validator(mode="after")
    def _one_leaf(self) -> VaultPath:
        if (self.consumer is None) == (self.instance is None):
            raise ValueError("give consumer (a secret) or instance (configuration), one of them")
        return self

    @property
    def mount(self) -> str:
        return DATA_MOUNT if self.consumer else CONFIG_MOUNT

    @property
    def path(self) -> str:
        """The path inside the mount, `{datasource}/{consumer}` or `{datasource}/{instance}`."""
        return f"{self.datasource}/{self.consumer or self.instance}"

    def __str__(self) -> str:
        return f"{self.mount}/{self.path}"


class Consumer(_Model):
    """A Kubernetes Secret that External Secrets keeps as a cache for one workload."""

    namespace: Name
    secret: SecretName
    # Key of the Kubernetes Secret -> key of the Vault secret.
    keys: Mapping[DataKey, DataKey] = Field(min_length=1)
    # How pods get a new value: they are restarted, they read the mounted file again, or neither (the default).
    reload: Literal["restart", "file", "none"] | None = None
    # The type of the Secret, such as kubernetes.io/tls. Default: see `type_of`.
    type: str | None = None

    @model_validator(mode="after")
    def _type_fits(self) -> Consumer:
        if self.type is None:
            return self
        if not is_allowed_type(self.type):
            raise ValueError(f"type is not one of {', '.join(TYPES)}, nor one of an application (example.com/kind)")
        if missing := missing_keys(self.type, self.keys):
            raise ValueError(f"type {self.type} needs the keys {', '.join(missing)}")
        return self

    def type_of(self, bootstrap: str = OPAQUE) -> str:
        """The type of the Secret: the one named, else that of the bootstrap Secret if the keys are those it needs."""
        if self.type:
            return self.type
        return OPAQUE if missing_keys(bootstrap, self.keys) else bootstrap


class RotatorSettings(BaseModel):
    """Which rotator makes new values, and its own settings; each rotator checks those itself."""

    model_config = ConfigDict(extra="allow", frozen=True)

    kind: Name

    @property
    def settings(self) -> dict[str, Any]:
        return {"kind": self.kind, **(self.model_extra or {})}


class CatalogueSecret(_Model):
    """One secret. Its name is its identity in the ledger and in every message."""

    name: Name
    secret_class: SecretClass = Field(alias="class")
    owner: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    bootstrap: BootstrapTarget | None = None
    vault: VaultPath
    consumers: tuple[Consumer, ...] = ()
    # Keys whose values are bytes and no text: Vault holds them in base64, consumers get the bytes.
    binary: tuple[DataKey, ...] = ()
    rotation: RotationPolicy | None = None
    rotator: RotatorSettings | None = None

    @property
    def consumed_keys(self) -> list[str]:
        """The keys in Vault that consumers read: what is generated for an internal secret, and entered for others."""
        return sorted({key for consumer in self.consumers for key in consumer.keys.values()})

    @model_validator(mode="after")
    def _class_fits(self) -> CatalogueSecret:
        born_in_git = self.secret_class is SecretClass.BOOTSTRAP
        if born_in_git and self.bootstrap is None:
            raise ValueError("class bootstrap needs a bootstrap target (namespace, secret, keys)")
        if not born_in_git and self.bootstrap is not None:
            raise ValueError(f"class {self.secret_class} has no bootstrap target: only class bootstrap is in Git")
        self._check_keys()
        if not self.owner.isprintable() or len(self.owner.encode()) > METADATA_BYTES:
            raise ValueError(
                f"owner is not printable text of at most {METADATA_BYTES} bytes, as Vault's metadata needs"
            )
        is_config = self.secret_class is SecretClass.CONFIG
        if is_config != (self.vault.mount == CONFIG_MOUNT):
            wanted = "instance (platform-config)" if is_config else "consumer (platform-data)"
            raise ValueError(f"class {self.secret_class} needs a vault path with {wanted}")
        if not is_config and self.rotation is None:
            raise ValueError("a secret needs a rotation policy; say type: static if it is never rotated")
        if is_config and self.rotator is not None:
            raise ValueError("class config has no rotator: it is not secret")
        return self

    def _check_keys(self) -> None:
        """Binary keys that cannot exist, and names that do not fit into Vault's metadata."""
        if self.secret_class is SecretClass.EXTERNAL:
            known, which = set(self.consumed_keys), "name keys that its consumers read"
        else:
            known = set(self.bootstrap.keys if self.bootstrap else ())
            which = "name keys of the bootstrap target, or of consumers of class external"
        if unknown := sorted(set(self.binary) - known):
            raise ValueError(f"binary names {', '.join(unknown)}: {which}")
        if len(" ".join(self.binary)) > METADATA_BYTES:
            raise ValueError(f"the names of the binary keys together are longer than {METADATA_BYTES} bytes")


class Catalogue(_Model):
    """All secrets of one cluster, and the namespaces in which bootstrap secrets may stand."""

    api_version: Literal["secret-authority.dev/v1"] = Field(alias="apiVersion")
    kind: Literal["SecretCatalogue"]
    bootstrap_namespaces: tuple[Name, ...] = Field(alias="bootstrapNamespaces", min_length=1)
    secrets: tuple[CatalogueSecret, ...]
    events: Events | None = None

    def __iter__(self) -> Iterator[CatalogueSecret]:  # type: ignore[override]
        return iter(self.secrets)

    def of_class(self, wanted: SecretClass) -> tuple[CatalogueSecret, ...]:
        return tuple(secret for secret in self.secrets if secret.secret_class is wanted)


def is_watched(secret: CatalogueSecret) -> bool:
    """Whether only its expiry is watched: it is issued elsewhere, nothing here can renew it, and it may expire."""
    may_expire = secret.rotation is not None and secret.rotation.type != "static"
    return secret.secret_class is SecretClass.EXTERNAL and secret.rotator is None and may_expire


def is_dated(secret: CatalogueSecret) -> bool:
    """Whether the engine of rotation knows when the next value is due."""
    return secret.rotator is not None or is_watched(secret)


class InvalidShapeError(InvalidInputError):
    """Entries, or the file, do not have the fields of a catalogue. Entries were not compared with one another."""


def parse_catalogue(document: object, file: str) -> Catalogue:
    """Read a catalogue from a parsed YAML document. `file` is named in messages.

    Raises `InvalidInputError` with every problem found: shape, names that stand twice, a consumer Secret
    twice in one entry, a bootstrap Secret in two entries, bootstrap targets outside the allowed namespaces,
    namespaces of the platform. Other entries that meet are found by `secret_authority.core.claims.conflicts`.
    """
    if not isinstance(document, Mapping):
        raise InvalidInputError([Problem(file, "", "is not a mapping", f"start it with apiVersion: {API_VERSION}")])
    try:
        catalogue = Catalogue.model_validate(document)
    except ValidationError as error:
        raise InvalidShapeError(_problem(file, document, detail) for detail in error.errors()) from None
    problems = [
        *_names_twice(catalogue, file),
        *_consumers_twice(catalogue, file),
        *_bootstrap_secrets_shared(catalogue, file),
        *_outside_namespaces(catalogue, file),
        *_reserved_namespaces(catalogue, file),
        *_event_senders(catalogue, file),
    ]
    if problems:
        raise InvalidInputError(problems)
    return catalogue


def _problem(file: str, document: Mapping[str, Any], detail: Any) -> Problem:
    path: tuple[str | int, ...] = detail["loc"]
    field = _field(document, path)
    match detail["type"]:
        case "missing":
            return Problem(file, field, "is missing", "add it")
        case "extra_forbidden":
            return Problem(file, field, "is not a field of the catalogue", "remove it or correct its name")
        case "value_error":
            return Problem(file, field, str(detail["ctx"]["error"]), "correct the entry, see docs/catalogue.md")
        case "string_pattern_mismatch":
            pattern = str(detail["ctx"]["pattern"])
            fix = next((text for end, text in _NAMES.items() if pattern.endswith(end)), "")
            return Problem(file, field, "is not a valid name", fix or "see docs/catalogue.md")
        case "string_type":
            return Problem(file, field, "is not a text", "put it in quotes")
        case "tuple_type" | "list_type":
            return Problem(file, field, "is not a list", "write it as a list, such as [a, b]")
        case "model_type" | "model_attributes_type" | "dict_type" | "mapping_type":
            return Problem(file, field, "is not a mapping", "write it as a mapping, such as {a: b}")
        case "too_short" | "string_too_short":
            return Problem(file, field, "is empty", "name at least one")
        case "string_too_long":
            limit = detail["ctx"]["max_length"]
            return Problem(file, field, f"is longer than {limit} characters", "shorten it")
        case "bool_type" | "bool_parsing":
            return Problem(file, field, "is not true or false", "write true or false")
        case "literal_error" | "enum":
            return Problem(file, field, "has an unknown value", f"use {detail['ctx']['expected']}")
    # pydantic's own sentence; it does not repeat the input.
    return Problem(file, field, detail["msg"].lower(), "see docs/catalogue.md")


def _field(document: Mapping[str, Any], path: tuple[str | int, ...]) -> str:
    """`secrets[orders-db].vault.consumer`: a secret by its name when it has one, else by its place."""
    parts: list[str] = []
    for index, step in enumerate(path):
        if not isinstance(step, int):
            parts.append(f".{step}" if parts else step)
            continue
        name: object = step
        if index == 1 and path[0] == "secrets":
            entry = document["secrets"][step]
            if isinstance(entry, Mapping) and isinstance(entry.get("name"), str):
                name = entry["name"]
        parts.append(f"[{name}]")
    return "".join(parts)


def _names_twice(catalogue: Catalogue, file: str) -> Iterator[Problem]:
    seen: set[str] = set()
    for secret in catalogue:
        if secret.name in seen:
            yield Problem(file, f"secrets[{secret.name}]", "is defined twice", "give each secret one entry")
        seen.add(secret.name)


def _consumers_twice(catalogue: Catalogue, file: str) -> Iterator[Problem]:
    for secret in catalogue:
        seen: set[tuple[str, str]] = set()
        for number, consumer in enumerate(secret.consumers):
            place = consumer.namespace, consumer.secret
            if place in seen:
                yield Problem(
                    file,
                    f"secrets[{secret.name}].consumers[{number}]",
                    f"names Secret {'/'.join(place)} a second time",
                    "give each consumer Secret one item, with all of its keys",
                )
            seen.add(place)


def _bootstrap_secrets_shared(catalogue: Catalogue, file: str) -> Iterator[Problem]:
    """The handover of one entry empties the whole Secret, so it would destroy the other's value, whatever its keys."""
    first: dict[tuple[str, str], str] = {}
    for secret in catalogue.of_class(SecretClass.BOOTSTRAP):
        target = secret.bootstrap
        if target is None:
            continue
        other = first.setdefault((target.namespace, target.secret), secret.name)
        if other != secret.name:
            yield Problem(
                file,
                f"secrets[{secret.name}].bootstrap.secret",
                f"{target.namespace}/{target.secret} is the bootstrap Secret of {other} already",
                "list all of its keys in one entry, or give each entry a bootstrap Secret of its own",
            )


def _outside_namespaces(catalogue: Catalogue, file: str) -> Iterator[Problem]:
    for secret in catalogue.of_class(SecretClass.BOOTSTRAP):
        target = secret.bootstrap
        if target is not None and target.namespace not in catalogue.bootstrap_namespaces:
            yield Problem(
                file,
                f"secrets[{secret.name}].bootstrap.namespace",
                f"{target.namespace} is not one of bootstrapNamespaces",
                "move the secret, or add the namespace there after review",
            )


def _reserved_namespaces(catalogue: Catalogue, file: str) -> Iterator[Problem]:
    places = [(f"bootstrapNamespaces[{at}]", name) for at, name in enumerate(catalogue.bootstrap_namespaces)]
    places += [
        (f"secrets[{secret.name}].consumers[{at}].namespace", consumer.namespace)
        for secret in catalogue
        for at, consumer in enumerate(secret.consumers)
    ]
    for field, namespace in places:
        if is_reserved(namespace):
            yield Problem(
                file,
                field,
                f"{namespace} is reserved for the platform or for Kubernetes",
                "use a namespace of the workload, or one that holds bootstrap secrets only",
            )


def _event_senders(catalogue: Catalogue, file: str) -> Iterator[Problem]:
    entries = {secret.name: secret for secret in catalogue}
    seen: set[str] = set()
    for number, sender in enumerate(catalogue.events.senders if catalogue.events else ()):
        field = f"events.senders[{number}]"
        if sender.name in seen or sender.name == "k8s":
            yield Problem(file, f"{field}.name", f"{sender.name} is taken", "give each sender a name of its own")
        seen.add(sender.name)
        key = entries.get(sender.key)
        if key is None or key.vault.mount != DATA_MOUNT:
            fix = "name a secret of this catalogue that holds the key it signs with"
            yield Problem(file, f"{field}.key", f"{sender.key} is not a secret", fix)
        for name in sender.secrets:
            if name not in entries or entries[name].rotator is None:
                fix = "name secrets that have a rotator"
                yield Problem(file, f"{field}.secrets", f"{name} has no rotator", fix)
        if sender.cut_off and not sender.compromise:
            yield Problem(file, f"{field}.cutOff", "is for a compromise only", "add compromise: true")
