"""Keyed digests, and values that are not text."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secret_authority.core.digest import (
    Comparison,
    compare,
    decode_values,
    encode_values,
    keyed_digest,
    value_digest,
)

KEY = b"\x07" * 32
VALUES = st.dictionaries(st.text(min_size=1, max_size=8), st.binary(max_size=40), max_size=4)


@given(VALUES)
def test_values_come_back_as_they_were(values: dict[str, bytes]) -> None:
    texts, encoded = encode_values(values, values)
    assert decode_values(texts, encoded) == values and set(encoded) == set(values)


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.text(st.characters(exclude_categories=["Cs"])), max_size=4))
def test_texts_are_written_as_they_are(texts: dict[str, str]) -> None:
    assert encode_values({key: text.encode() for key, text in texts.items()}) == (texts, ())


@given(VALUES, VALUES)
def test_equal_digests_mean_equal_values(a: dict[str, bytes], b: dict[str, bytes]) -> None:
    wanted = Comparison.EQUAL if a == b else Comparison.DIFFERS
    one, other = value_digest(KEY, "s", "m/p", a), value_digest(KEY, "s", "m/p", b)
    assert compare(one, other) is one.compare(other.current) is one.compare(other.one_key) is wanted


def test_the_catalogue_says_what_is_base64_and_never_the_value() -> None:
    values = {"b": b"\xff\x00", "a": "grüße\n".encode(), "c": b"text"}
    texts, encoded = encode_values(values, ["b", "c"])
    assert texts == {"a": "grüße\n", "b": "/wA=", "c": "dGV4dA=="} and encoded == ("b", "c")
    with pytest.raises(ValueError, match="key b is not UTF-8 text"):
        encode_values(values, ["c"])


def test_parts_do_not_run_together() -> None:
    assert keyed_digest(KEY, {"ab": b"c"}) != keyed_digest(KEY, {"a": b"bc"})
    assert keyed_digest(KEY, {"a": b"b", "c": b"d"}) != keyed_digest(KEY, {"a": b"bcd"})


def test_the_digest_depends_on_the_key_and_a_short_key_is_refused() -> None:
    assert keyed_digest(KEY, {"a": b"b"}) != keyed_digest(b"\x08" * 32, {"a": b"b"})
    with pytest.raises(ValueError, match="32 bytes"):
        keyed_digest(b"short", {})
    assert keyed_digest(b"x" * 32, {}) == keyed_digest(b"x" * 32, {})
    with pytest.raises(ValueError, match="32 bytes"):
        value_digest(b"x" * 31, "s", "m/p", {})


def test_what_is_not_known_is_neither_equal_nor_different() -> None:
    known = value_digest(KEY, "s", "m/p", {})
    for one, other in ((None, None), (known, None), (None, known)):
        assert compare(one, other) is Comparison.UNKNOWN
    for recorded in ("", "sha256:00", "hmac-sha256-v3:00", known.current.removeprefix("hmac-")):
        assert known.compare(recorded) is Comparison.UNKNOWN


def test_each_secret_at_each_place_has_digests_of_its_own() -> None:
    """Equal values of two secrets do not show; nor does one that moves from one place to another."""
    places = list(itertools.product(("a", "ab", "b"), ("m/p", "bm/p", "m/q")))
    digests = {value_digest(KEY, secret, place, {"a": b"b"}).current for secret, place in places}
    assert len(digests) == len(places) and all(digest.startswith("hmac-sha256-v2:") for digest in digests)
    assert {value_digest(KEY, *place, {"a": b"b"}).one_key for place in places} == {keyed_digest(KEY, {"a": b"b"})}


def test_the_digests_of_records_never_change() -> None:
    """Records of older releases were written with these; another result would make all of them differ."""
    found = value_digest(KEY, "orders-db", "platform-data/orders/api", {"password": b"hunter2"})
    assert found.one_key == "hmac-sha256:086d8e4670827f20012f79135b962dd8944b423dbb7f4dd8c7acc98132dee472"
    assert found.current == "hmac-sha256-v2:72530c6fb2560e415e8fb05cdd03d072f5734dba09ab316c8cbaa424be51dde3"


@pytest.mark.parametrize(("texts", "encoded"), [({"a": 1}, []), ({"a": "%%"}, ["a"])])
def test_what_is_not_a_value_is_named(texts: dict[str, object], encoded: list[str]) -> None:
    with pytest.raises(ValueError, match="key a"):
        decode_values(texts, encoded)


def test_texts_and_base64_are_read_in_any_order() -> None:
    wanted = {"a": b"text", "b": b"y", "c": b"more"}
    assert decode_values({"a": "text", "b": "eQ==", "c": "more"}, ["b"]) == wanted
