"""What a team may set: namespaces, servers, exceptions with an end. One file for every way to run.

The same fields come from a YAML file (`secret-authority policy check PATH --config FILE`) and from CrossGuard's
`--policy-pack-config`, where `secret-authority policy pack-config` writes them for every rule.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from secret_authority.core.errors import InvalidInputError, Problem
from secret_authority.core.phases import Phase

Text = Annotated[str, StringConstraints(min_length=1)]


class Level(StrEnum):
    """What a violation does: mandatory stops, advisory is only reported."""

    ADVISORY = "advisory"
    MANDATORY = "mandatory"
    DISABLED = "disabled"


class Profile(StrEnum):
    """AUTHORITY: who decides a secret's value, and what is readable. RFC: all rules of RFC-SECOPS-0001."""

    AUTHORITY = "authority"
    RFC = "rfc"


class Exemption(BaseModel):
    """A finding that is accepted for a time. `subject` is matched with * against the names in the finding."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: Text
    subject: Text
    reason: Annotated[str, StringConstraints(min_length=10)]
    expires: date

    def covers(self, rule: str, names: tuple[str, ...]) -> bool:
        return self.rule == rule and any(fnmatch.fnmatchcase(name, self.subject) for name in names)


class Settings(BaseModel):
    """Settings of the rules. The defaults are strict."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    # Namespaces in which bootstrap secrets may stand, beside those of the catalogue.
    allowed_namespaces: tuple[str, ...] = Field(default=(), alias="allowedNamespaces")
    # Namespaces of the platform itself: its workloads may talk to Vault and use bootstrap secrets.
    platform_namespaces: tuple[str, ...] = Field(
        default=("vault", "openbao", "external-secrets", "flux-system", "secret-authority"), alias="platformNamespaces"
    )
    # The phase of the cluster, when no layer component of the stack says it.
    phase: Phase | None = None
    # Name of a Vault server -> every address by which it is reached.
    vault_servers: Mapping[str, tuple[str, ...]] = Field(default={}, alias="vaultServers")
    # Names of catalogued secrets that have been handed over to Vault.
    handed_over: tuple[str, ...] = Field(default=(), alias="handedOver")
    # Git tree: cluster -> folders that Flux (or its bootstrap) applies, where the tree does not say it.
    entries: Mapping[str, tuple[str, ...]] = {}
    # Git tree: cluster -> folders of its encrypted Secrets, where they are not clusters/CLUSTER/bootstrap.
    bootstrap_paths: Mapping[str, tuple[str, ...]] = Field(default={}, alias="bootstrapPaths")
    # Git tree: folders and files that are not of a cluster, as globs.
    exclude: tuple[Text, ...] = ()
    # Which rules count: "authority" or "rfc"; by default "rfc" where there is a catalogue, else "authority".
    profile: Profile | None = None
    # Git tree: below this share of files about secrets that were read, in percent, the finding is mandatory.
    minimum_coverage: float | None = Field(default=None, alias="minimumCoverage", ge=0, le=100)
    exceptions: tuple[Exemption, ...] = ()
    # Rule -> level, for the command line; CrossGuard has levels of its own.
    levels: Mapping[str, Level] = {}
    # The day by which exceptions are judged.
    today: date = Field(default_factory=lambda: datetime.now(UTC).date())

    def excludes(self, file: str) -> bool:
        """Whether `exclude` names a file, or a folder above it."""
        parts = file.split("/")
        above = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
        return any(globbed(path, pattern) for pattern in self.exclude for path in above)


def parse_settings(document: object, file: str) -> Settings:
    """Settings from parsed YAML or JSON. Raises `InvalidInputError` naming each field."""
    if document is None:
        return Settings()
    if not isinstance(document, Mapping):
        raise InvalidInputError([Problem(file, "", "is not a mapping", "see docs/policy/settings.md")])
    try:
        return Settings.model_validate(document)
    except ValidationError as error:
        raise InvalidInputError(
            Problem(file, ".".join(str(step) for step in e["loc"]), e["msg"].lower(), "see docs/policy/settings.md")
            for e in error.errors()
        ) from None


def read_settings(path: Path) -> Settings:
    """Settings from a YAML file. Raises `InvalidInputError`."""
    try:
        document: Any = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError):
        raise InvalidInputError([Problem(str(path), "", "cannot be read", "check the path")]) from None
    except yaml.YAMLError:
        raise InvalidInputError([Problem(str(path), "", "is not valid YAML", "correct the syntax")]) from None
    return parse_settings(document, str(path))


def globbed(path: str, pattern: str) -> bool:
    """Whether a path fits a pattern: * and ? stay in one folder, ** does not."""
    parts, wanted = path.split("/"), pattern.strip("/").removeprefix("./").split("/")
    return _fits(parts, wanted)


def _fits(parts: list[str], wanted: list[str]) -> bool:
    if not wanted:
        return not parts
    if wanted[0] == "**":
        return any(_fits(parts[skip:], wanted[1:]) for skip in range(len(parts) + 1))
    return bool(parts) and fnmatch.fnmatchcase(parts[0], wanted[0]) and _fits(parts[1:], wanted[1:])
