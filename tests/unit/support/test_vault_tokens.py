"""What looks like a token of Vault is found, plain and in base64."""

from __future__ import annotations

import base64

import pytest

from tests.support.vault_tokens import TokenSearch, tokens

TOKEN = "hvs.CAESIJ3bY0-x_Zq41mT8vWkP6sLr"


@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
@pytest.mark.parametrize("after", ["", "\n", '"}', ' "x'])
def test_a_token_is_found(before: str, after: str) -> None:
    text = f"{before}{TOKEN}{after}".encode()
    assert list(tokens(text)) == [TOKEN]
    assert list(tokens(b'{"data": "' + base64.b64encode(text) + b'"}')) == [TOKEN]


def test_every_token_of_a_text() -> None:
    others = [f"{TOKEN}{number}" for number in range(3)]
    text = " ".join(others).encode() + b" " + b" ".join(base64.b64encode(other.encode()) for other in others)
    assert sorted(tokens(text)) == sorted(others * 2)


@pytest.mark.parametrize("text", [b"", b"hvs.", b"hvs.short", b"hvs.{24 characters or so}", base64.b64encode(b"hvs.")])
def test_no_false_alarm(text: bytes) -> None:
    assert list(tokens(text)) == []


def test_texts_pass_and_their_tokens_are_noted() -> None:
    search = TokenSearch()
    texts = [("one", TOKEN.encode()), ("two", b"nothing"), ("three", base64.b64encode(TOKEN.encode()))]
    assert list(search.passing("here", texts)) == texts
    assert search.found == {TOKEN: {("here", "one"), ("here", "three")}}
