"""`key-set`: a symmetric key that signs or encrypts, read by several replicas that restart one after another.

    rotator:
      kind: key-set
      keys: {current: key, next: key-next, previous: key-previous}

A rotation publishes three values, each only when every consumer has the one before:

    accept   consumers accept the new key (`next`) and still sign with the old one
    sign     they sign with the new key and accept the old one (`previous`), for `max_overlap`
    retire   nobody accepts the old key

With fewer steps a replica would meet signatures of a key that it does not know yet, or does not know any more. A
consumer takes all three keys and accepts a signature of any of them.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar

from secret_authority.core.catalogue.schema import CatalogueSecret
from secret_authority.core.errors import Problem
from secret_authority.core.rotation.rotator import Fence, GivenValueError, Overlap, Plan, Publication, Value
from secret_authority.engine.rotation.rotators.generated import RANDOM_BYTES, GeneratedRotator
from secret_authority.engine.rotation.rotators.settings import Logins, common_problems, field

ROLES = ("current", "next", "previous")


class KeySetRotator(GeneratedRotator):
    """`keys` are the names of the current, the next and the previous key; `overlap_time` is the life of a signature."""

    kind: ClassVar[str] = "key-set"
    overlap: ClassVar[Overlap] = Overlap.KEY_SET

    def __init__(self, keys: list[str], overlap_time: timedelta) -> None:
        super().__init__(keys)
        self._overlap_time = overlap_time

    @classmethod
    def build(cls, secret: CatalogueSecret, settings: Mapping[str, Any], logins: Logins) -> KeySetRotator:
        overlap = secret.rotation.max_overlap if secret.rotation else None
        return cls([settings["keys"][role] for role in ROLES], overlap or timedelta())

    @classmethod
    def check(cls, secret: CatalogueSecret, settings: Mapping[str, Any], file: str) -> list[Problem]:
        found = list(common_problems(secret, settings, {"kind", "keys"}, (), file))
        where = field(secret, "rotator.keys")
        names = settings.get("keys")
        if not isinstance(names, Mapping) or set(names) != set(ROLES) or len(set(map(str, names.values()))) != 3:
            fix = "write keys: {current: key, next: key-next, previous: key-previous}"
            return [*found, Problem(file, where, "does not name three keys", fix)]
        for consumer in secret.consumers:
            missing = sorted(set(map(str, names.values())) - set(consumer.keys.values()))
            if missing:
                message = f"{consumer.namespace}/{consumer.secret} does not take {', '.join(missing)}"
                found.append(Problem(file, where, message, "give each consumer all three, or what it signed ends"))
        if secret.rotation is None or secret.rotation.max_overlap is None:
            fix = "set it to the life of what is signed"
            found.append(Problem(file, field(secret, "rotation.max_overlap"), "is missing", fix))
        return found

    def plan(self, current: Value, fence: Fence) -> Plan:
        now, following, before = self._keys
        old, new = current.fields[now], secrets.token_urlsafe(RANDOM_BYTES)

        def step(signs: str, accepted: str, previous: str) -> Value:
            return Value({**current.fields, now: signs, following: accepted, before: previous})

        return Plan(
            (
                Publication(step(old, new, current.fields.get(before, old))),
                Publication(step(new, new, old), self._overlap_time),
                # No key is ever missing: External Secrets could not deliver the others then.
                Publication(step(new, new, new)),
            )
        )

    def plan_given(self, current: Value, given: Value) -> Plan:
        raise GivenValueError("the keys of a set change in three steps; use `secret-authority rotate`")
