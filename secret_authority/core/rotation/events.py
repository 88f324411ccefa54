"""Messages of senders outside: who sent one, how old it is, what it asks for. Nothing is decided here.

A message is signed after the Standard Webhooks specification, version 1 (github.com/standard-webhooks): the headers
`webhook-id`, `webhook-timestamp` (seconds) and `webhook-signature` (`v1,BASE64` of the HMAC-SHA256 of
`ID.TIMESTAMP.BODY`, several of them separated by spaces). RFC-SECOPS-0001 §6.5.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from secret_authority.core.catalogue.events import EventSender
from secret_authority.core.rotation.document import Request, RequestKind, Trigger

# A message that is older, or from further in the future, is not accepted: somebody may have recorded it.
TOLERANCE = timedelta(minutes=5)
MOST_BODY_BYTES = 4096
LEAST_KEY_BYTES = 24
# Ids of requests that events have filed begin with this.
EVENT_PREFIX = "ev-"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FIELDS = {"secret", "why", "compromise", "cut_off"}
# A secret by Standard Webhooks' convention is this and BASE64.
_PREFIX = "whsec_"


class NotAuthenticError(Exception):
    """Nobody with a key of the sender has signed this."""


class ReplayedError(Exception):
    """The signature is right and the message is too old, or not yet valid."""


class NotAllowedError(Exception):
    """The sender may not ask for this."""


@dataclass(frozen=True)
class Message:
    """What a sender asks for."""

    secret: str
    why: str
    compromise: bool = False
    cut_off: bool = False


def keys_of(fields: Mapping[str, str]) -> list[bytes]:
    """The keys that a sender may sign with, from the keys of its secret; several while the key itself is rotated.

    Raises ValueError when one is too short, never with the key.
    """
    texts = [fields[name] for name in ("key", "key-next", "key-previous") if fields.get(name)]
    found = [_decoded(text) if text.startswith(_PREFIX) else text.encode() for text in texts]
    if not found:
        raise ValueError("it has no key `key`")
    if any(len(key) < LEAST_KEY_BYTES for key in found):
        raise ValueError(f"a key is shorter than {LEAST_KEY_BYTES} bytes")
    return found


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError(f"a key that begins with {_PREFIX} is not base64") from None


def sign(key: bytes, event_id: str, seconds: int, body: bytes) -> str:
    """The value of the header `webhook-signature`."""
    signed = hmac.new(key, f"{event_id}.{seconds}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(signed).decode()}"


def verified(keys: Iterable[bytes], headers: Mapping[str, str], body: bytes, now: datetime) -> str:
    """The id of the event. `headers` have lower-case names. Raises `NotAuthenticError`, `ReplayedError`."""
    event_id, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not _ID.fullmatch(event_id) or not stamp.isascii() or not stamp.isdigit() or len(stamp) > 12:
        raise NotAuthenticError("webhook-id or webhook-timestamp is missing or malformed")
    wanted = [sign(key, event_id, int(stamp), body) for key in keys]
    given = headers.get("webhook-signature", "").split()[:8]
    # Every pair is compared, so that the time says nothing.
    matches = [hmac.compare_digest(one.encode(), other.encode()) for one in given for other in wanted]
    if not any(matches):
        raise NotAuthenticError("no signature is right")
    if abs(now - datetime.fromtimestamp(int(stamp), UTC)) > TOLERANCE:
        raise ReplayedError(f"its time differs by more than {int(TOLERANCE.total_seconds())} seconds")
    return event_id


def read(body: bytes) -> Message:
    """Raises ValueError naming the field that is wrong."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("the body is not JSON") from None
    if not isinstance(found, dict):
        raise ValueError("the body is not an object")
    if strange := sorted(set(found) - _FIELDS):
        raise ValueError(f"unknown field {strange[0][:64]!r}; use {', '.join(sorted(_FIELDS))}")
    secret, why = found.get("secret"), found.get("why")
    if not isinstance(secret, str) or not secret:
        raise ValueError("secret is missing or is not a text")
    if not isinstance(why, str) or not why.strip() or len(why) > 256 or not why.isprintable():
        raise ValueError("why is missing, or is not a line of at most 256 printable characters")
    flags = [found.get(name, False) for name in ("compromise", "cut_off")]
    if not all(isinstance(flag, bool) for flag in flags):
        raise ValueError("compromise and cut_off are true or false")
    if flags[1] and not flags[0]:
        raise ValueError("cut_off is for a compromise only")
    return Message(secret, why.strip(), flags[0], flags[1])


def request_of(sender: EventSender, event_id: str, message: Message, now: datetime) -> Request:
    """The request to file; the same one for the same event. Raises `NotAllowedError`."""
    if message.secret not in sender.secrets:
        raise NotAllowedError("this sender has no say in that secret")
    if message.compromise and not sender.compromise:
        raise NotAllowedError("this sender may not report a compromise")
    if message.cut_off and not sender.cut_off:
        raise NotAllowedError("this sender may not have consumers cut off")
    trigger = Trigger.COMPROMISE if message.compromise else Trigger.EVENT
    name = f"{EVENT_PREFIX}{sender.name}.{event_id}"
    why = f"{sender.name}: {message.why}"
    at = now.isoformat(timespec="milliseconds")
    return Request(name, RequestKind.ROTATE, why, trigger, message.cut_off, at)


def request_of_annotation(place: str, uid: str, text: str, now: datetime) -> Request | None:
    """What an annotation `ID WHY` on the ExternalSecret `place` asks for; None for one without a reason.

    An annotation asks for a rotation and no more: who set it is not on record, so it reports no compromise.
    """
    event_id, _, why = text.strip().partition(" ")
    if not event_id or not why.strip() or not text.isprintable() or len(text) > 256:
        return None
    digest = hashlib.sha256(f"{place}\n{uid}\n{text}".encode()).hexdigest()[:24]
    words = f"annotation of ExternalSecret {place}: {why.strip()}"
    at = now.isoformat(timespec="milliseconds")
    return Request(f"{EVENT_PREFIX}k8s.{digest}", RequestKind.ROTATE, words, Trigger.EVENT, at=at)
