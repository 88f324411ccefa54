"""What the settings of rotators have in common: problems in the catalogue, and logins to targets."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from secret_authority.core.catalogue.rotation_policy import parse_duration
from secret_authority.core.catalogue.schema import CatalogueSecret
from secret_authority.core.errors import Problem

# The present value of another secret of the catalogue, such as the login of an administrator. Raises `Unavailable`.
Logins = Callable[[str], Mapping[str, str]]


def field(secret: CatalogueSecret, name: str) -> str:
    return f"secrets[{secret.name}].{name}"


def common_problems(
    secret: CatalogueSecret, settings: Mapping[str, Any], known: Collection[str], texts: Collection[str], file: str
) -> Iterator[Problem]:
    """What every rotator checks: no field but the `known` ones, the `texts` are there, the secret is no bytes."""
    yield from unknown_fields(secret, settings, known, file)
    yield from text_problems(secret, settings, texts, file)
    yield from binary_problems(secret, file)


def unknown_fields(
    secret: CatalogueSecret, settings: Mapping[str, Any], known: Collection[str], file: str
) -> Iterator[Problem]:
    """A problem for each field that the rotator does not have."""
    for name in sorted(set(settings) - set(known)):
        fix = f"use {', '.join(sorted(set(known) - {'kind'})) or 'kind alone'}"
        yield Problem(file, field(secret, f"rotator.{name}"), f"is not a field of {settings['kind']}", fix)


def text_problems(
    secret: CatalogueSecret, settings: Mapping[str, Any], names: Collection[str], file: str
) -> Iterator[Problem]:
    """A problem for each of these fields that is not a text."""
    for name in names:
        if not isinstance(settings.get(name), str) or not settings[name]:
            yield Problem(file, field(secret, f"rotator.{name}"), "is missing or is not a text", "add it")


def duration_problems(
    secret: CatalogueSecret, settings: Mapping[str, Any], names: Collection[str], file: str
) -> Iterator[Problem]:
    """A problem for each of these fields that is not a duration."""
    for name in sorted(names):
        try:
            parse_duration(settings[name])
        except ValueError:
            yield Problem(file, field(secret, f"rotator.{name}"), "is not a duration", "write it like 10s or 5m")


def binary_problems(secret: CatalogueSecret, file: str) -> Iterator[Problem]:
    if secret.binary:
        fix = "rotate it by hand, or drop the rotator"
        yield Problem(file, field(secret, "binary"), "cannot be rotated by this rotator: it writes texts", fix)
