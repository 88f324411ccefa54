"""Changing the rotation policy that lives with a secret: which fields there are, and what the metadata become.

The catalogue is what a policy is first written from; later changes are asked for, checked here, and leave an event.
RFC-SECOPS-0001 §6.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from secret_authority.core.catalogue.rotation_policy import RotationPolicy
from secret_authority.core.ledger.audit_trail import Event
from secret_authority.core.rotation.document import Request

# When the present value ends by its issuer's word, and the version of which that was said.
EXPIRES, EXPIRES_VERSION = "expires_at", "expires_version"
FIELDS = (*RotationPolicy.model_fields, EXPIRES)
_TYPE = "rotation_type"
POLICY_PREFIX = "po-"


def parse_changes(texts: Iterable[str]) -> dict[str, str]:
    """`ttl=24h` sets a field, `ttl=` takes it away. Raises ValueError naming what is wrong."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"{text} is not FIELD=VALUE")
        if name not in FIELDS:
            raise ValueError(f"{name} is not a field of a policy: use one of {', '.join(FIELDS)}")
        if name in found:
            raise ValueError(f"{name} is set twice")
        found[name] = value.strip()
    if not found:
        raise ValueError("nothing is to be changed")
    return found


def changed(custom: Mapping[str, str], changes: Mapping[str, str], version: int) -> dict[str, str | None]:
    """The patch of the custom metadata; None takes a key away. `version` is the newest one of the secret.

    Raises ValueError when the policy would be invalid, or has no field of this name.
    """
    parse_changes(f"{name}={text}" for name, text in changes.items())
    fields = {**custom}
    for name, text in changes.items():
        key = _TYPE if name == "type" else name
        fields.pop(key, None)
        if text:
            fields[key] = text
    if changes.get("revoke_old", "true") not in ("true", "false"):
        raise ValueError("revoke_old is true or false")
    policy = RotationPolicy.from_metadata(fields)
    if policy is None:
        raise ValueError("a secret needs a rotation policy; set type")
    wanted: dict[str, str | None] = {**policy.metadata()}
    if moment := fields.get(EXPIRES):
        wanted[EXPIRES] = _moment(moment)
        wanted[EXPIRES_VERSION] = str(version) if EXPIRES in changes else custom.get(EXPIRES_VERSION, str(version))
    names = {*RotationPolicy.model_fields, _TYPE, EXPIRES, EXPIRES_VERSION}
    gone = {key: None for key in custom if key in names and key not in wanted}
    return {**{key: text for key, text in wanted.items() if custom.get(key) != text}, **gone}


def _moment(text: str) -> str:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{EXPIRES} is not a time; write it like 2027-03-01T00:00:00Z") from None
    if found.tzinfo is None:
        raise ValueError(f"{EXPIRES} has no time zone; write it like 2027-03-01T00:00:00Z")
    return found.isoformat(timespec="seconds")


def policy_event(request: Request, secret: str, place: str, run: str, now: datetime) -> Event:
    """The event of a change. It follows from the request alone, so that each try writes the same one."""
    words = ", ".join(f"{name}={text}" if text else f"{name} unset" for name, text in sorted(request.changes.items()))
    return Event(
        at=now.isoformat(timespec="milliseconds"),
        secret=secret,
        change=f"policy: {words}",
        why=f"policy ({request.trigger}): {request.why}",
        run=run,
        result="done",
        id=f"{POLICY_PREFIX}{request.id}",
        place=place,
        digest="",
    )
