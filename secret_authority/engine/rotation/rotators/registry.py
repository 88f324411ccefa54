"""Which rotators there are: those of this project, and those of installed packages.

A package adds one by the entry point group `secret_authority.rotators`; see docs/rotation.md. It may not take the name
of another one: which rotator a secret has must not depend on what else is installed.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol

from secret_authority.core.catalogue.schema import Catalogue, CatalogueSecret
from secret_authority.core.errors import Problem
from secret_authority.core.rotation.rotator import Rotator
from secret_authority.engine.rotation.rotators.settings import Logins, field

GROUP = "secret_authority.rotators"
_PACKAGE = "secret_authority.engine.rotation.rotators"
# Loaded when they are used: each may need a client of its own.
_BUILT_IN = {
    "generated": f"{_PACKAGE}.generated:GeneratedRotator",
    "issuer": f"{_PACKAGE}.issuer:IssuerRotator",
    "key-set": f"{_PACKAGE}.key_set:KeySetRotator",
    "postgresql": f"{_PACKAGE}.postgresql:PostgresqlRotator",
    "tls": f"{_PACKAGE}.tls:TlsRotator",
}
# Checks of settings that do without the client of their rotator.
_CHECKS = {"postgresql": f"{_PACKAGE}.postgresql_settings:check"}


class RotatorClass(Protocol):
    """What an entry point names."""

    kind: str

    def build(self, secret: CatalogueSecret, settings: Mapping[str, Any], logins: Logins) -> Rotator: ...

    def check(self, secret: CatalogueSecret, settings: Mapping[str, Any], file: str) -> list[Problem]: ...


SettingsCheck = Callable[[CatalogueSecret, Mapping[str, Any], str], list[Problem]]


@cache
def installed() -> tuple[EntryPoint, ...]:
    """What packages bring. Read once: it takes milliseconds, and the engine builds a rotator for each secret."""
    return tuple(entry_points(group=GROUP))


def kinds() -> list[str]:
    """The names of all rotators."""
    return sorted({*_BUILT_IN, *(point.name for point in installed())})


def rotator_class(kind: str) -> RotatorClass:
    """Raises LookupError when there is none of this name, or more than one."""
    found: RotatorClass = _only_one(kind)()
    return found


def _settings_check(kind: str) -> SettingsCheck:
    """Raises LookupError as `rotator_class` does."""
    load = _only_one(kind)
    found: SettingsCheck = _imported(_CHECKS[kind]) if kind in _CHECKS else load().check
    return found


def _only_one(kind: str) -> Callable[[], Any]:
    """What loads the rotator of this name."""
    found = [point for point in installed() if point.name == kind]
    if kind in _BUILT_IN:
        if found:
            raise LookupError(f"a package brings a second rotator {kind}; remove it")
        return partial(_imported, _BUILT_IN[kind])
    if len(found) != 1:
        raise LookupError(f"two packages bring a rotator {kind}; remove one" if found else f"no rotator {kind}")
    return found[0].load


def _imported(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def build(secret: CatalogueSecret, logins: Logins) -> Rotator:
    """The rotator of a secret whose entry has one."""
    if secret.rotator is None:
        raise ValueError(f"{secret.name} has no rotator")
    settings = secret.rotator.settings
    return rotator_class(secret.rotator.kind).build(secret, settings, logins)


def check(catalogue: Catalogue, file: str) -> list[Problem]:
    """What is wrong with the rotators of a catalogue, without any connection."""
    found: list[Problem] = []
    names = {secret.name: secret for secret in catalogue}
    for secret in catalogue:
        if secret.rotator is None:
            continue
        where = field(secret, "rotator.kind")
        try:
            settings_check = _settings_check(secret.rotator.kind)
        except LookupError as error:
            found.append(Problem(file, where, str(error), f"use one of {', '.join(kinds())}"))
            continue
        found += settings_check(secret, secret.rotator.settings, file)
        admin = secret.rotator.settings.get("admin")
        if isinstance(admin, str) and (admin not in names or names[admin].rotation is None):
            fix = "name a secret of this catalogue that holds the login of an administrator"
            found.append(Problem(file, field(secret, "rotator.admin"), f"{admin} is not a secret", fix))
    return found
