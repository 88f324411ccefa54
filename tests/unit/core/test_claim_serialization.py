"""Claims survive the way through a component's outputs."""

from __future__ import annotations

import json

import pytest
from hypothesis import given

from secret_authority.core.claims.conflicts import Claim
from secret_authority.core.claims.serialization import decode_claim, encode_claim
from tests.support.strategies import claims, maybe_parts


@given(claims(maybe_parts))
def test_a_claim_comes_back_as_it_was(found: list[Claim]) -> None:
    data = json.loads(json.dumps([encode_claim(claim) for claim in found]))
    assert [decode_claim(entry) for entry in data] == found


def test_a_claim_without_a_known_system_is_refused() -> None:
    with pytest.raises(ValueError, match="system"):
        decode_claim({"subject": "x", "place": {"kind": "vault", "parts": ["a", "b", "c"]}, "keys": None})
