"""The search for secret values finds each form in which they could leak."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from tests.canary import Canaries, files

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


def test_a_value_across_two_reads_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.canary._CHUNK", 2048)
    (tmp_path / "log").write_bytes(b"x" * 2040 + VALUE + b"x" * 100)
    (tmp_path / "skipped").mkdir()
    (tmp_path / "skipped/log").write_bytes(VALUE)
    hits = list(KNOWN.search("files", files(tmp_path, "skipped")))
    assert [(hit.name, hit.where) for hit in hits] == [("short", str(tmp_path / "log"))]
