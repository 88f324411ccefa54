"""`generated`: a value that nobody but its consumers knows, such as an encryption password between two of them.

    rotator: {kind: generated}

All keys that consumers read get new random values. No target knows the value, so nothing can refuse the old one, and
while consumers restart one after another they hold different values. Where that hurts, use `key-set`.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, ClassVar

from secret_authority.core.catalogue.schema import CatalogueSecret
from secret_authority.core.errors import Problem
from secret_authority.core.rotation.rotator import Accepts, Fence, Overlap, Plan, Publication, Value
from secret_authority.engine.rotation.rotators.settings import Logins, common_problems, field

RANDOM_BYTES = 32


class GeneratedRotator:
    """Random values for `keys`."""

    kind: ClassVar[str] = "generated"
    overlap: ClassVar[Overlap] = Overlap.BY_NATURE
    window: ClassVar[bool] = False
    target = ""

    def __init__(self, keys: list[str]) -> None:
        self._keys = keys

    @classmethod
    def build(cls, secret: CatalogueSecret, settings: Mapping[str, Any], logins: Logins) -> GeneratedRotator:
        return cls(secret.consumed_keys)

    @classmethod
    def check(cls, secret: CatalogueSecret, settings: Mapping[str, Any], file: str) -> list[Problem]:
        found = list(common_problems(secret, settings, {"kind"}, (), file))
        if not secret.consumed_keys:
            fix = "add a consumer with the keys that it reads"
            found.append(Problem(file, field(secret, "rotator"), "has no key to generate", fix))
        return found

    def ready(self) -> str:
        return ""

    def plan(self, current: Value, fence: Fence) -> Plan:
        fresh = {key: secrets.token_urlsafe(RANDOM_BYTES) for key in self._keys}
        return Plan((Publication(Value({**current.fields, **fresh})),))

    def plan_given(self, current: Value, given: Value) -> Plan:
        return Plan((Publication(Value({**current.fields, **given.fields})),))

    def apply(self, value: Value, fence: Fence) -> None:
        return

    def accepts(self, value: Value) -> Accepts:
        return Accepts.YES

    def in_use(self, value: Value) -> int | None:
        return None

    def revoke(self, value: Value, fence: Fence) -> None:
        return

    def discard(self, value: Value, fence: Fence) -> None:
        return

    def generation(self) -> int | None:
        return None
