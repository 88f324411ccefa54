"""root-of-trust.yaml: who may open what. It holds public recipients only.

RFC-SECOPS-0001 §3.2 (phase 0) and §7 (unseal material belongs to the root). Recipients: age-encryption.org/v1.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from secret_authority.core.catalogue.schema import Name
from secret_authority.core.errors import InvalidInputError, Problem
from secret_authority.repository.yaml_documents import read_documents

FILE = "root-of-trust.yaml"
Recipient = Annotated[str, StringConstraints(pattern=r"^age1[02-9ac-hj-np-z]{58}$")]
# A key with nothing below it, as in a new file, is null in YAML.
_NullIsEmpty = BeforeValidator(lambda value: () if value is None else value)


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RootRecipient(_Model):
    """One holder of root trust, with a recipient of their own."""

    holder: Annotated[str, StringConstraints(min_length=1)]
    recipient: Recipient


class ClusterRecipient(_Model):
    """A cluster's recipient. Its identity lies in Git, encrypted to all root recipients."""

    name: Name
    recipient: Recipient
    identity: str


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
        return frozenset({*(root.recipient for root in self.root), self.cluster(cluster).recipient})


def read_trust(repository: Path) -> RootOfTrust:
    """Read and check root-of-trust.yaml. Raises `InvalidInputError`."""
    documents = read_documents(repository / FILE, FILE)
    if len(documents) != 1 or not isinstance(documents[0], Mapping):
        fix = "run `secret-authority root new`, then write its recipient there"
        raise InvalidInputError([Problem(FILE, "", "is not one YAML mapping", fix)])
    try:
        trust = RootOfTrust.model_validate(documents[0])
    except ValidationError as error:
        raise InvalidInputError(
            Problem(FILE, ".".join(str(step) for step in e["loc"]), e["msg"].lower(), "see docs/root-of-trust.md")
            for e in error.errors()
        ) from None
    named = [root.recipient for root in trust.root] + [cluster.recipient for cluster in trust.clusters]
    problems = [
        Problem(FILE, "retired", f"{entry.recipient} is also in use", "take it out of root and clusters")
        for entry in trust.retired
        if entry.recipient in named
    ]
    problems += [
        Problem(FILE, "", f"{recipient} stands twice", "give every holder and cluster a recipient of its own")
        for recipient in {r for r in named if named.count(r) > 1}
    ]
    if problems:
        raise InvalidInputError(problems)
    return trust
