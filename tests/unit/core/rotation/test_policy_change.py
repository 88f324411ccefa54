"""A policy is changed field by field, checked as a whole, and never together with what is no policy."""

from __future__ import annotations

import pytest

from secret_authority.core.catalogue.rotation_policy import RotationPolicy
from secret_authority.core.rotation.policy_change import changed, parse_changes

POLICY = RotationPolicy.model_validate({"type": "time-based", "ttl": "720h", "rotate_before": "24h"})
CUSTOM = {"authority": "vault", "handover_id": "ho-1", "rotated_at": "2026-01-01", **POLICY.metadata()}


def test_only_what_differs_is_patched() -> None:
    assert changed(CUSTOM, {"ttl": "72h"}, 3) == {"ttl": "72h"}
    assert changed(CUSTOM, {"ttl": "720h"}, 3) == {}
    assert changed(CUSTOM, {"rotate_before": "", "failure_strategy": "hold"}, 3) == {
        "rotate_before": None,
        "failure_strategy": "hold",
    }


def test_the_type_takes_its_times_with_it_or_is_refused() -> None:
    with pytest.raises(ValueError, match="the rotation policy in the metadata is invalid"):
        changed(CUSTOM, {"type": "static"}, 3)
    patch = changed(CUSTOM, {"type": "static", "ttl": "", "rotate_before": ""}, 3)
    assert patch == {"rotation_type": "static", "ttl": None, "rotate_before": None}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ttl": "1h"}, "invalid"),  # shorter than rotate_before
        ({"ttl": "soon"}, "invalid"),
        ({"failure_strategy": "ignore"}, "invalid"),
        ({"revoke_old": "maybe"}, "true or false"),
        ({"expires_at": "next week"}, "is not a time"),
        ({"expires_at": "2027-01-01T00:00:00"}, "has no time zone"),
        ({"handover_id": "ho-2"}, "is not a field of a policy"),
        ({}, "nothing is to be changed"),
        ({"type": ""}, "needs a rotation policy"),
    ],
)
def test_what_is_wrong_is_refused_as_a_whole(changes: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        changed(CUSTOM, changes, 3)


def test_an_end_counts_for_the_version_of_which_it_was_said() -> None:
    patch = changed(CUSTOM, {"expires_at": "2027-03-01T00:00:00Z"}, 3)
    assert patch == {"expires_at": "2027-03-01T00:00:00+00:00", "expires_version": "3"}
    held = {**CUSTOM, **{key: str(text) for key, text in patch.items()}}
    # Another change, after another version: what was said stays said of the third.
    assert changed(held, {"ttl": "72h"}, 4) == {"ttl": "72h"}
    assert changed(held, {"expires_at": ""}, 4) == {"expires_at": None, "expires_version": None}


def test_a_field_is_set_once() -> None:
    assert parse_changes(["ttl=24h", "rotate_before="]) == {"ttl": "24h", "rotate_before": ""}
    for texts, words in ((["ttl=1h", "ttl=2h"], "set twice"), (["ttl"], "is not FIELD=VALUE")):
        with pytest.raises(ValueError, match=words):
            parse_changes(texts)
