"""`rotate` and `rotation`: what is filed, what is shown, and what is refused before anything is asked."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from cli import rotation_requests
from cli.commands import rotate
from cli.main import main, parser
from secret_authority.core.conditions import STALE_SECONDS
from secret_authority.core.errors import InvalidInputError
from secret_authority.core.rotation.document import RequestKind, Trigger

ENTRY: dict[str, Any] = {
    "state": "retiring",
    "generation": 2,
    "id": "ro-1",
    "since": "2026-01-01T00:00:00+00:00",
    "due": "",
    "result": "",
    "waitsFor": "not delivered: pod shop/web",
    "problem": "",
    "requests": ["r1", "r2"],
}


def request(*arguments: str) -> Any:
    return rotate.wanted_request(parser(["rotate"]).parse_args(list(arguments)))


def test_what_is_filed() -> None:
    asked = request("rotate", "orders-db", "--why", "a test")
    assert (asked.kind, asked.trigger, asked.why, asked.cut_off) == (
        RequestKind.ROTATE,
        Trigger.MANUAL,
        "a test",
        False,
    )
    assert asked.id != request("rotate", "orders-db", "--why", "a test").id
    event = request("rotate", "orders-db", "--why", "provider", "--id", "hook-7")
    assert (event.id, event.trigger) == ("hook-7", Trigger.EVENT)
    leaked = request("rotate", "orders-db", "--why", "leaked", "--compromise", "--cut-off")
    assert leaked.trigger is Trigger.COMPROMISE and leaked.cut_off
    for kind in ("hold", "resume", "abort", "accept"):
        assert request("rotation", kind, "orders-db", "--why", "x").kind.value == kind


def test_what_is_issued_elsewhere_waits_for_a_person() -> None:
    one = {"since": "2026-01-01T00:00:00+00:00", "due": "2026-05-01T00:00:00+00:00", "problem": ""}
    entry = rotate.watched_entry({**one, "expires": "2026-06-01T00:00:00+00:00"})
    assert "external" in (line := rotate.status_table({"payment-api": entry}).splitlines()[1])
    assert "2026-05-01" in line and "a person: it ends at 2026-06-01T00:00:00+00:00" in line
    assert "nobody has said when it ends" in rotate.watched_entry({**one, "expires": ""})["waitsFor"]


def test_a_policy_is_changed_field_by_field() -> None:
    asked = request("rotation", "policy", "orders-db", "--set", "ttl=24h", "--set", "rotate_before=", "--why", "x")
    assert (asked.kind, asked.changes) == (RequestKind.POLICY, {"ttl": "24h", "rotate_before": ""})


@pytest.mark.parametrize("text", ["ttl", "owner=x", "handover_id=x", "authority=git"])
def test_only_fields_of_a_policy_can_be_set(text: str) -> None:
    with pytest.raises(InvalidInputError, match=r"--set: .*(is not FIELD=VALUE|is not a field of a policy)"):
        request("rotation", "policy", "orders-db", "--set", text, "--why", "x")


@pytest.mark.parametrize("name", ["../../data/x", "a/b", "a b", "x" * 129])
def test_an_id_that_is_a_path_is_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match="is not a valid id"):
        request("rotate", "orders-db", "--why", "x", "--id", name)


def test_cutting_off_is_for_a_compromise_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rotate", "orders-db", "--why", "x", "--cut-off"]) == 2
    assert "add --compromise" in capsys.readouterr().err


def test_a_reason_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["rotate", "orders-db"])
    assert "--why" in capsys.readouterr().err


@pytest.mark.parametrize(("seconds", "code"), [(0, 0), (STALE_SECONDS + 1, 1)])
def test_the_last_words_of_an_engine_that_is_down_are_called_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], seconds: int, code: int
) -> None:
    seen = (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()
    conditions = json.dumps({"RotationRunning": {"status": True, "observedAt": seen}})
    data = {"secrets": json.dumps({"orders-db": ENTRY}), "conditions": conditions}

    class Way:
        def api(self) -> object:
            return SimpleNamespace(get=lambda _path: {"data": data})

    monkeypatch.setattr(rotate, "connection", lambda _options: Way())
    options = parser(["rotation"]).parse_args(["rotation", "status"])
    assert options.run(options) == code
    said = capsys.readouterr()
    assert "orders-db" in said.out
    assert ("the engine has observed nothing since" in said.err) == bool(code)


def test_the_status_says_what_waits_for_what() -> None:
    head, line = rotate.status_table({"orders-db": ENTRY}).splitlines()
    assert head.split() == [
        "SECRET",
        "STATE",
        "GENERATION",
        "SINCE",
        "DUE",
        "LAST",
        "RESULT",
        "WAITS",
        "FOR",
        "REQUESTS",
    ]
    assert "retiring" in line and line.endswith("not delivered: pod shop/web  r1, r2")


def test_the_end_of_a_rotation_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looks = iter([ENTRY, {**ENTRY, "waitsFor": ""}, {**ENTRY, "state": "idle", "result": "done"}])
    monkeypatch.setattr(rotation_requests, "read_status", lambda _way: {"orders-db": next(looks)})
    monkeypatch.setattr(rotation_requests, "POLL_SECONDS", 0)
    assert rotation_requests.follow(None, "orders-db", "ro-1", time.monotonic(), 600) == 0  # type: ignore[arg-type]
    out = capsys.readouterr().out
    assert "retiring: not delivered: pod shop/web" in out and "orders-db: done" in out


@pytest.mark.parametrize("before", ["ro-0", ""])
def test_a_status_of_before_is_no_other_rotation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], before: str
) -> None:
    """The engine answers a request in Vault, and publishes its status a moment later."""
    old = {**ENTRY, "state": "idle", "generation": 1, "id": "ro-0", "result": "done"}
    looks = iter([old, old, ENTRY, {**ENTRY, "state": "idle", "result": "done"}])
    monkeypatch.setattr(rotation_requests, "read_status", lambda _way: {"orders-db": next(looks)})
    monkeypatch.setattr(rotation_requests, "POLL_SECONDS", 0)
    begun = time.monotonic()
    assert rotation_requests.follow(None, "orders-db", "ro-1", begun, 600, before) == 0  # type: ignore[arg-type]
    # Of a request that was filed and answered long ago, another id is that of a later rotation.
    out = capsys.readouterr().out
    assert ("another rotation follows" in out) is (not before) and ("orders-db: done" in out) is bool(before)
