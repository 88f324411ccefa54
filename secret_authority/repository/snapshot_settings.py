"""secret-authority/CLUSTER/snapshots.yaml: where snapshots of a cluster's Vault are. It holds no credential.

In Git and not in the stack's configuration, because Git and the root identity have to suffice when the cluster is lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from secret_authority.core.errors import InvalidInputError, Problem
from secret_authority.repository.files.yaml_documents import has_link, read_documents
from secret_authority.repository.layout import Layout

_Text = Annotated[str, StringConstraints(min_length=1, max_length=500)]


def _https(text: str) -> str:
    if not text.startswith("https://"):
        raise ValueError("does not begin with https://")
    return text.rstrip("/")


def _absolute(text: str) -> str:
    if not Path(text).is_absolute():
        raise ValueError("is not an absolute path")
    return text


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class S3Settings(_Model):
    """A bucket. `ca`: PEM certificates, where the server's is of a private CA."""

    endpoint: Annotated[_Text, AfterValidator(_https)]
    bucket: _Text
    region: _Text = "us-east-1"
    ca: Annotated[str, StringConstraints(min_length=1, max_length=50_000)] | None = None
    path_style: bool = Field(default=True, alias="pathStyle")


class StoreSettings(_Model):
    """Either a bucket or a mounted folder."""

    s3: S3Settings | None = None
    folder: Annotated[_Text, AfterValidator(_absolute)] | None = None

    @model_validator(mode="after")
    def _one(self) -> StoreSettings:
        if (self.s3 is None) == (self.folder is None):
            raise ValueError("names not exactly one of s3 and folder")
        return self


class SnapshotSettings(_Model):
    api_version: Literal["secret-authority.dev/v1"] = Field(alias="apiVersion")
    kind: Literal["Snapshots"]
    store: StoreSettings


def settings_file(layout: Layout) -> str:
    """The file, relative to the repository, beside the catalogue."""
    return f"{layout.home}/snapshots.yaml"


def read_snapshot_settings(root: Path, layout: Layout) -> SnapshotSettings | None:
    """The settings, None without a file. Raises `InvalidInputError`."""
    file = settings_file(layout)
    if has_link(root, root / file):
        fix = "put the file itself here"
        raise InvalidInputError([Problem(file, "", "is reached through a symbolic link", fix)])
    if not (root / file).exists():
        return None
    documents = read_documents(root / file, file)
    if len(documents) != 1 or not isinstance(documents[0], Mapping):
        raise InvalidInputError([Problem(file, "", "is not one YAML mapping", "see docs/snapshots.md")])
    try:
        return SnapshotSettings.model_validate(documents[0])
    except ValidationError as error:
        raise InvalidInputError(
            Problem(file, ".".join(map(str, one["loc"])), _in_words(one), "see docs/snapshots.md")
            for one in error.errors()
        ) from None


def _in_words(error: Any) -> str:
    words = {"missing": "is missing", "extra_forbidden": "is unknown", "string_type": "is not a text"}
    return words.get(str(error["type"]), str(error["msg"]).removeprefix("Value error, ").lower())
