"""root-of-trust.yaml: who may open what. It holds public recipients only.

RFC-SECOPS-0001 §3.2 (phase 0) and §7 (unseal material belongs to the root). Recipients: age-encryption.org/v1.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from secret_authority.clients.age import is_recipient
from secret_authority.core.catalogue.schema import Name
from secret_authority.core.errors import InvalidInputError, Problem
from secret_authority.core.recipients import Admission
from secret_authority.repository.files.yaml_documents import read_documents

FILE = "root-of-trust.yaml"


def _recipient(text: str) -> str:
    if not is_recipient(text):
        raise ValueError("is not an age recipient (age1...)")
    return text


def _inside(text: str) -> str:
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError("is not a path inside the repository")
    return text


def _one_line(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("is not a name on one line")
    return text


Recipient = Annotated[str, AfterValidator(_recipient)]
Holder = Annotated[str, StringConstraints(max_length=100), AfterValidator(_one_line)]
# A key with nothing below it, as in a new file, is null in YAML.
_NullIsEmpty = BeforeValidator(lambda value: () if value is None else value)


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RootRecipient(_Model):
    """One holder of root trust, with a recipient of their own."""

    holder: Holder
    recipient: Recipient


class AdmissionEntry(_Model):
    """What a root holder admitted for a cluster; see `core.recipients`."""

    root: tuple[Recipient, ...]
    identity: str
    mac: str


class ClusterRecipient(_Model):
    """A cluster's recipient. Git holds its identity, encrypted to all root recipients."""

    name: Name
    recipient: Recipient
    identity: Annotated[str, AfterValidator(_inside)]
    admission: AdmissionEntry | None = None

    def admitted(self) -> Admission | None:
        """The admission for this cluster and its present recipient."""
        entry = self.admission
        if entry is None:
            return None
        return Admission(self.name, self.recipient, entry.root, entry.identity, entry.mac)


class RetiredRecipient(_Model):
    """A recipient that must not be able to open any file."""

    recipient: Recipient
    retired: date
    reason: str


class RootOfTrust(_Model):
    """The recipients of a repository."""

    api_version: Literal["secret-authority.dev/v1"] = Field(alias="apiVersion")
    kind: Literal["RootOfTrust"]
    root: tuple[RootRecipient, ...] = Field(min_length=1)
    clusters: Annotated[tuple[ClusterRecipient, ...], _NullIsEmpty] = ()
    retired: Annotated[tuple[RetiredRecipient, ...], _NullIsEmpty] = ()

    def cluster(self, name: str) -> ClusterRecipient:
        """The cluster's entry. Raises `InvalidInputError` when it has none."""
        for cluster in self.clusters:
            if cluster.name == name:
                return cluster
        fix = f"run `secret-authority cluster new {name}` in the repository, or correct cluster in the stack"
        raise InvalidInputError([Problem(FILE, "clusters", f"has no cluster {name}", fix)])

    def wanted(self, cluster: str) -> frozenset[str]:
        """The recipients to which every SOPS file of a cluster has to be encrypted, no more and no less."""
        return frozenset({*self.holders(), self.cluster(cluster).recipient})

    def holders(self) -> dict[str, str]:
        """Root recipient -> who holds it."""
        return {root.recipient: root.holder for root in self.root}

    def digest(self, cluster: str) -> str:
        """A digest of a cluster's recipients, to keep outside of the repository."""
        content = json.dumps([cluster, self.cluster(cluster).recipient, sorted(self.holders())])
        return "sha256:" + hashlib.sha256(content.encode()).hexdigest()


def read_trust(repository: Path) -> RootOfTrust:
    """Read and check root-of-trust.yaml. Raises `InvalidInputError`."""
    if repository.is_dir() and not (repository / FILE).exists():
        fix = "run `secret-authority root new --out FILE --holder NAME --repository PATH`, or correct --repository"
        raise InvalidInputError([Problem(FILE, "", f"does not exist in {repository.resolve()}", fix)])
    documents = read_documents(repository / FILE, FILE)
    if len(documents) != 1 or not isinstance(documents[0], Mapping):
        fix = "run `secret-authority root new`, then write its recipient there"
        raise InvalidInputError([Problem(FILE, "", "is not one YAML mapping", fix)])
    return parse_trust(documents[0])


def parse_trust(document: Mapping[str, Any]) -> RootOfTrust:
    """Check the content of root-of-trust.yaml. Raises `InvalidInputError` with every problem."""
    try:
        trust = RootOfTrust.model_validate(document)
    except ValidationError as error:
        raise InvalidInputError(
            Problem(FILE, ".".join(str(step) for step in e["loc"]), _in_words(e), "see docs/root-of-trust.md")
            for e in error.errors()
        ) from None
    named = [root.recipient for root in trust.root] + [cluster.recipient for cluster in trust.clusters]
    problems = [
        Problem(FILE, "retired", f"{entry.recipient} is also in use", "take it out of root and clusters")
        for entry in trust.retired
        if entry.recipient in named
    ]
    problems += [
        Problem(FILE, "", f"{recipient} is named twice", "give every holder and cluster a recipient of its own")
        for recipient in {r for r in named if named.count(r) > 1}
    ]
    if problems:
        raise InvalidInputError(problems)
    return trust


# Names of pydantic's errors, in the words of somebody who writes YAML.
_WORDS = {
    "missing": "is missing",
    "extra_forbidden": "is unknown",
    "tuple_type": "is not a list",
    "model_type": "is not a mapping",
    "string_type": "is not a text",
    "string_too_long": "is too long",
    "string_pattern_mismatch": "is not a lower-case name such as prod-eu-1",
    "too_short": "is an empty list",
}


def _in_words(error: Any) -> str:
    kind = str(error["type"])
    if kind == "value_error":
        return str(error["msg"]).removeprefix("Value error, ")
    return _WORDS.get(kind, str(error["msg"]).lower())
