"""The search for secret values finds each form in which they could leak."""

from __future__ import annotations

import base64
import json

import pytest

from tests.support.canary import Canaries

VALUE = b"Zq3-unmistakable_value+7"
LONG = b"-----BEGIN EXAMPLE-----\n" + bytes(range(33, 120)) * 3
KNOWN = Canaries({"short": VALUE, "long": LONG})


def found(text: bytes) -> set[str]:
    return {hit.name for hit in KNOWN.search("here", [("text", text)])}


@pytest.mark.parametrize("before", [b"", b"a", b"ab", b"abc"])
@pytest.mark.parametrize("after", [b"", b"z", b"zy"])
def test_base64_at_every_offset(before: bytes, after: bytes) -> None:
    text = base64.b64encode(before + VALUE + after)
    assert found(b'{"data": "' + text + b'"}') == {"short"}
    assert found(base64.urlsafe_b64encode(before + VALUE + after)) == {"short"}


@pytest.mark.parametrize(
    "text",
    [
        b"password=" + VALUE,
        json.dumps({"a": {"b": VALUE.decode()}}).encode(),
        base64.b64encode(base64.b64encode(VALUE)),
        VALUE.hex().encode(),
        VALUE.hex().upper().encode(),
        b"GET /?q=Zq3-unmistakable_value%2B7",
    ],
)
def test_other_forms(text: bytes) -> None:
    assert found(text) == {"short"}


def test_a_part_of_a_long_value() -> None:
    assert found(LONG[40:100]) == {"long"}
    assert found(base64.encodebytes(LONG)) == {"long"}


@pytest.mark.parametrize("text", [b"", VALUE[:-1], b"-----BEGIN EXAMPLE-----\n", base64.b64encode(b"other")])
def test_no_false_alarm(text: bytes) -> None:
    assert found(text) == set()


@pytest.mark.parametrize("value", [b"\n\nbetween\nlines\n", b"\0with\0nothing\n\xff\xfe", b"[.]*-f --$(x)\\"])
def test_values_that_are_no_words(value: bytes) -> None:
    known = Canaries({"value": value})
    for text in (value, base64.b64encode(value)):
        assert list(known.search("here", [("text", b"before" + text + b"after")]))
    assert not list(known.search("here", [("text", value[1:])]))


def test_each_text_of_many_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.canary.BATCH", 1000)
    texts = [(str(number), b"x" * 90 + (VALUE if number % 7 == 3 else b"")) for number in range(60)]
    hits = list(KNOWN.search("here", texts))
    assert [int(hit.where) for hit in hits] == list(range(3, 60, 7))
    assert {(hit.name, hit.place) for hit in hits} == {("short", "here")}


def test_a_value_that_would_be_found_by_chance_is_refused() -> None:
    with pytest.raises(ValueError, match=r"looked for: pin$"):
        Canaries({"pin": b"1234", "password": VALUE})
