"""Messages of other programs are passed on without anything that could be a value."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secret_authority.core.foreign_messages import MOST, without_values

FRAMES = [
    "Secret/bootstrap-data/new dry-run failed: .stringData.password: expected string, "
    "got &value.valueUnstructured{{Value:{}}}",
    "Secret/bootstrap-data/new dry-run failed (Invalid): illegal base64 data at input byte 4: {}",
    'failed to decrypt: json: cannot unmarshal string "{}" into Go value',
    "error decoding yaml: line 3: could not find expected ':' near {}",
    "failed: map[password:{}]",
    "could not parse '{}'",
    "invalid character in `{}`",
    "env file: PASSWORD={} is not valid",
    "{}",
]


@pytest.mark.parametrize("frame", FRAMES)
@given(value=st.text(st.characters(exclude_characters="\n"), min_size=1, max_size=30).map(lambda t: f"Zq9{t}x7Kp"))
def test_no_value_is_left(frame: str, value: str) -> None:
    said = without_values(frame.format(value))
    assert "Zq9" not in said and "x7Kp" not in said, said


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("value", ["7741908233", "hunter2", "S3cr3tPlainText", "1234", "-5.5", "correct-horse-battery"])
def test_values_of_every_day_are_cut_out(frame: str, value: str) -> None:
    assert value not in without_values(frame.format(value))


def test_what_helps_is_left() -> None:
    text = FRAMES[0].format("7741908233")
    assert without_values(text) == (
        "Secret/bootstrap-data/new dry-run failed: .stringData.password: expected string [...]"
    )
    text = "Secret/bootstrap-data/new dry-run failed (Forbidden): secrets is forbidden: user cannot patch resource"
    assert without_values(text) == text
    assert without_values("could not get secret data from provider") == "could not get secret data from provider"
    assert without_values("timeout waiting for bootstrap-secrets", ["bootstrap-secrets"]) == (
        "timeout waiting for bootstrap-secrets"
    )


def test_a_long_message_is_cut() -> None:
    assert len(without_values("failed " * 10_000)) <= MOST + 4
