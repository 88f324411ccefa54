"""Who has signed a message, how old it may be, and what it may ask for."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from secret_authority.core.catalogue.events import EventSender
from secret_authority.core.catalogue.schema import parse_catalogue
from secret_authority.core.errors import InvalidInputError
from secret_authority.core.rotation.document import RequestKind, Trigger
from secret_authority.core.rotation.events import (
    Message,
    NotAllowedError,
    NotAuthenticError,
    ReplayedError,
    keys_of,
    read,
    request_of,
    request_of_annotation,
    sign,
    verified,
)

KEY, NOW = b"a signing key of thirty-two bytes", datetime(2026, 1, 1, 12, tzinfo=UTC)
BODY = b'{"secret": "orders-db", "why": "leaked"}'
STAMP = int(NOW.timestamp())


def headers(key: bytes = KEY, event: str = "evt-1", stamp: int = STAMP, body: bytes = BODY) -> dict[str, str]:
    return {
        "webhook-id": event,
        "webhook-timestamp": str(stamp),
        "webhook-signature": sign(key, event, stamp, body),
    }


def test_the_signature_is_that_of_standard_webhooks() -> None:
    """The example of the specification's own libraries."""
    key = keys_of({"key": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"})[0]
    made = sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_what_was_signed_is_taken() -> None:
    assert verified([KEY], headers(), BODY, NOW) == "evt-1"
    assert verified([b"x" * 32, KEY], headers(), BODY, NOW + timedelta(minutes=4)) == "evt-1"
    several = {**headers(), "webhook-signature": f"v1,AAAA {headers()['webhook-signature']}"}
    assert verified([KEY], several, BODY, NOW) == "evt-1"


@pytest.mark.parametrize(
    "changed",
    [
        {"webhook-signature": ""},
        {"webhook-signature": "v1,"},
        {"webhook-signature": headers(b"another key of thirty-two bytes!")["webhook-signature"]},
        {"webhook-signature": headers()["webhook-signature"].replace("v1", "v2")},
        {"webhook-id": "evt-2"},
        {"webhook-id": "../../data/x"},
        {"webhook-timestamp": str(STAMP + 1)},
        {"webhook-timestamp": "-1"},
        {"webhook-timestamp": "9" * 400},
        {"webhook-timestamp": "\u0661"},
    ],
)
def test_what_was_not_signed_is_nobody_s(changed: dict[str, str]) -> None:
    with pytest.raises(NotAuthenticError):
        verified([KEY], {**headers(), **changed}, BODY, NOW)
    with pytest.raises(NotAuthenticError):
        verified([KEY], headers(), BODY + b" ", NOW)
    with pytest.raises(NotAuthenticError):
        verified([], headers(), BODY, NOW)


@pytest.mark.parametrize("away", [timedelta(minutes=6), timedelta(minutes=-6), timedelta(days=400)])
def test_a_message_of_another_time_is_refused(away: timedelta) -> None:
    with pytest.raises(ReplayedError):
        verified([KEY], headers(), BODY, NOW + away)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "no key"),
        ({"key": "short"}, "shorter than 24 bytes"),
        ({"key": f"whsec_{base64.b64encode(b'short').decode()}"}, "shorter"),
        ({"key": "whsec_!"}, "not base64"),
    ],
)
def test_a_weak_key_opens_nothing(fields: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        keys_of(fields)


def test_while_a_key_is_rotated_each_of_them_signs() -> None:
    found = keys_of({"key": "a" * 24, "key-next": "b" * 24, "key-previous": "c" * 24, "other": "d" * 24})
    assert found == [b"a" * 24, b"b" * 24, b"c" * 24]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"\xff", "not JSON"),
        (b"[" * 4000, "not JSON"),
        (b"[]", "not an object"),
        (b'{"secret": "a"}', "why is missing"),
        (b'{"why": "a"}', "secret is missing"),
        (b'{"secret": "a", "why": "two\\nlines"}', "why is missing, or is not a line"),
        (json.dumps({"secret": "a", "why": "x" * 257}).encode(), "at most 256"),
        (b'{"secret": "a", "why": "b", "kind": "hold"}', "unknown field 'kind'"),
        (b'{"secret": "a", "why": "b", "compromise": "yes"}', "true or false"),
        (b'{"secret": "a", "why": "b", "cut_off": true}', "for a compromise only"),
    ],
)
def test_what_is_no_message_is_said_by_field(body: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read(body)


def sender(**more: Any) -> EventSender:
    return EventSender.model_validate(
        {"name": "pay", "key": "pay-key", "secrets": ["orders-db"], "from": "edge", **more}
    )


def test_a_sender_asks_for_what_it_may() -> None:
    asked = request_of(sender(), "evt-1", read(BODY), NOW)
    assert (asked.id, asked.kind, asked.trigger) == ("ev-pay.evt-1", RequestKind.ROTATE, Trigger.EVENT)
    assert asked.why == "pay: leaked" and not asked.given and not asked.cut_off
    leaked = request_of(sender(compromise=True, cutOff=True), "e", Message("orders-db", "x", True, True), NOW)
    assert leaked.trigger is Trigger.COMPROMISE and leaked.cut_off


@pytest.mark.parametrize(
    ("message", "may"),
    [
        (Message("payment-api", "x"), {}),
        (Message("orders-db", "x", True), {}),
        (Message("orders-db", "x", True, True), {"compromise": True}),
    ],
)
def test_a_sender_asks_for_no_more(message: Message, may: dict[str, bool]) -> None:
    with pytest.raises(NotAllowedError):
        request_of(sender(**may), "evt-1", message, NOW)


def test_ids_of_two_senders_never_meet() -> None:
    one = request_of(sender(name="a"), "b.c", read(BODY), NOW).id
    other = request_of(sender(name="a-b"), "c", read(BODY), NOW).id
    assert one != other and one == "ev-a.b.c"


def test_an_annotation_is_one_request_as_long_as_it_says_the_same() -> None:
    asked = request_of_annotation("shop/orders-db", "uid-1", "INC-7 left the company", NOW)
    assert asked is not None and asked.trigger is Trigger.EVENT and not asked.cut_off
    assert asked.why == "annotation of ExternalSecret shop/orders-db: left the company"
    again = request_of_annotation("shop/orders-db", "uid-1", "INC-7 left the company", NOW + timedelta(days=1))
    assert again is not None and again.id == asked.id
    for place, uid, text in (
        ("shop/other", "uid-1", "INC-7 left the company"),
        ("shop/orders-db", "uid-2", "INC-7 left the company"),
        ("shop/orders-db", "uid-1", "INC-8 left the company"),
    ):
        other = request_of_annotation(place, uid, text, NOW)
        assert other is not None and other.id != asked.id
    for text in ("", "INC-7", "INC-7 \u0007", "x " + "y" * 300):
        assert request_of_annotation("shop/orders-db", "uid-1", text, NOW) is None


def catalogue(**changed: Any) -> None:
    entry = {
        "name": "orders-db",
        "class": "internal",
        "owner": "team",
        "vault": {"datasource": "postgres", "consumer": "orders"},
        "consumers": [{"namespace": "shop", "secret": "orders-db", "keys": {"KEY": "key"}}],
        "rotation": {"type": "event-based"},
        "rotator": {"kind": "generated"},
    }
    key = {**entry, "name": "pay-key", "vault": {"datasource": "pay", "consumer": "key"}, "consumers": []}
    del key["rotator"]
    good = {"name": "pay", "key": "pay-key", "secrets": ["orders-db"], "from": "edge"}
    parse_catalogue(
        {
            "apiVersion": "secret-authority.dev/v1",
            "kind": "SecretCatalogue",
            "bootstrapNamespaces": ["bootstrap-data"],
            "secrets": [entry, key],
            "events": {"senders": [{**good, **changed}]},
        },
        "catalogue.yaml",
    )


def test_a_catalogue_names_senders() -> None:
    catalogue()
    for changed, words in (
        ({"key": "nobody"}, r"events.senders\[0\].key: nobody is not a secret"),
        ({"secrets": ["pay-key"]}, r"events.senders\[0\].secrets: pay-key has no rotator"),
        ({"name": "k8s"}, "k8s is taken"),
        ({"cutOff": True}, "is for a compromise only"),
        ({"token": "x"}, "is not a field of the catalogue"),
    ):
        with pytest.raises(InvalidInputError, match=words):
            catalogue(**changed)
