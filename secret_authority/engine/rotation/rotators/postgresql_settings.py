"""What is wrong with the settings of a `postgresql` rotator. No client of PostgreSQL is loaded for that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from secret_authority.core.catalogue.schema import CatalogueSecret
from secret_authority.core.errors import Problem
from secret_authority.engine.rotation.rotators.settings import (
    common_problems,
    duration_problems,
    field,
    text_problems,
)

_FIELDS = {"kind", "host", "port", "database", "users", "admin", "tls", "accept_window", "owner", "drain"}


def check(secret: CatalogueSecret, settings: Mapping[str, Any], file: str) -> list[Problem]:
    found = [
        *common_problems(secret, settings, _FIELDS, ("host", "database", "admin"), file),
        *text_problems(secret, settings, settings.keys() & {"owner"}, file),
        *duration_problems(secret, settings, settings.keys() & {"drain"}, file),
    ]
    for name, kind, words in (("port", int, "a number"), ("tls", bool, "true or false")):
        if name in settings and not (isinstance(settings[name], kind) and type(settings[name]) is kind):
            found.append(Problem(file, field(secret, f"rotator.{name}"), f"is not {words}", f"write {words}"))
    return [*found, *_check_users(secret, settings, file)]


def _check_users(secret: CatalogueSecret, settings: Mapping[str, Any], file: str) -> Iterator[Problem]:
    users = settings.get("users")
    where = field(secret, "rotator.users")
    names = users if isinstance(users, list) and all(isinstance(user, str) and user for user in users) else []
    if len(names) not in (1, 2) or len(set(names)) != len(names):
        yield Problem(file, where, "does not name users", "name two that take turns, such as [orders_a, orders_b]")
    elif any(len(name.encode()) > 63 for name in names):
        yield Problem(file, where, "has a name of more than 63 bytes", "use shorter names")
    if len(names) != 1:
        return
    if settings.get("accept_window") is not True:
        message = "names one user: consumers are refused from a new password until they have it"
        yield Problem(file, where, message, "name two users, or accept that with accept_window: true")
    if secret.rotation is not None and secret.rotation.max_overlap:
        message = "promises an overlap that one user cannot have"
        yield Problem(file, field(secret, "rotation.max_overlap"), message, "name two users, or drop it")
