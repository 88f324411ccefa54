"""Keyed digests, and values that are not text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secret_authority.core.digest import decode_values, encode_values, keyed_digest, same_digest

KEY = b"\x07" * 32
VALUES = st.dictionaries(st.text(min_size=1, max_size=8), st.binary(max_size=40), max_size=4)


@given(VALUES)
def test_values_come_back_as_they_were(values: dict[str, bytes]) -> None:
    texts, encoded = encode_values(values)
    assert decode_values(texts, encoded) == values


@given(VALUES, VALUES)
def test_equal_digests_mean_equal_values(a: dict[str, bytes], b: dict[str, bytes]) -> None:
    assert same_digest(keyed_digest(KEY, a), keyed_digest(KEY, b)) == (a == b)


def test_text_stays_readable_and_binary_is_said_to_be_base64() -> None:
    texts, encoded = encode_values({"b": b"\xff\x00", "a": "grüße\n".encode()})
    assert texts == {"a": "grüße\n", "b": "/wA="} and encoded == ("b",)


def test_parts_do_not_run_together() -> None:
    assert keyed_digest(KEY, {"ab": b"c"}) != keyed_digest(KEY, {"a": b"bc"})
    assert keyed_digest(KEY, {"a": b"b", "c": b"d"}) != keyed_digest(KEY, {"a": b"bcd"})


def test_the_digest_depends_on_the_key_and_a_short_key_is_refused() -> None:
    assert keyed_digest(KEY, {"a": b"b"}) != keyed_digest(b"\x08" * 32, {"a": b"b"})
    with pytest.raises(ValueError, match="32 bytes"):
        keyed_digest(b"short", {})


def test_unknown_digests_are_never_the_same() -> None:
    assert not same_digest(None, None)


@pytest.mark.parametrize(("texts", "encoded"), [({"a": 1}, []), ({"a": "%%"}, ["a"])])
def test_what_is_not_a_value_is_named(texts: dict[str, object], encoded: list[str]) -> None:
    with pytest.raises(ValueError, match="key a"):
        decode_values(texts, encoded)
