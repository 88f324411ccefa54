"""The published copy of the audit trail: whole, or seen to be not whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secret_authority.core.ledger import published_trail
from secret_authority.core.ledger.audit_trail import Event
from secret_authority.core.ledger.published_trail import EMPTY, MOST_PIECES, NAME, piece_name, pieces, read_pieces


def events(count: int) -> list[Event]:
    return [
        Event(f"2026-01-01T00:{n // 60:02}:{n % 60:02}+00:00", f"s-{n}", "c", "w", "r", "done", "i", "p", "d")
        for n in range(count)
    ]


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published_trail, "EVENTS_EACH", 3)


@given(st.integers(min_value=0, max_value=20))
def test_what_is_published_can_be_read(count: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(published_trail, "EVENTS_EACH", 3)
        written = pieces(reversed(events(count)))
        assert list(written) == [piece_name(number) for number in range(max(1, -(-count // 3)))]
        assert read_pieces(written) == tuple(events(count))


def test_an_empty_trail_is_no_missing_trail() -> None:
    assert read_pieces(pieces([])) == ()
    assert read_pieces({}) is None


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("lost", [NAME, "audit-trail-1", "audit-trail-2"])
def test_a_lost_piece_is_seen(lost: str) -> None:
    written = pieces(events(7))
    del written[lost]
    assert read_pieces(written) is None


@pytest.mark.usefixtures("short")
def test_what_is_left_over_from_a_longer_trail_counts_for_nothing() -> None:
    left_over = {"audit-trail-1": pieces(events(7))["audit-trail-1"], "audit-trail-2": EMPTY, "other": {}}
    assert read_pieces(pieces(events(2)) | left_over) == tuple(events(2))


@pytest.mark.parametrize(
    "altered",
    [
        {},
        {"events": pieces(events(2))[NAME]["events"]},
        {"events": "", "total": "2"},
        {"events": pieces(events(3))[NAME]["events"], "total": "2"},
        {"events": "{}\n{}", "total": "2"},
        {"events": "[]\n[]", "total": "2"},
        {"events": "no JSON\n", "total": "1"},
        {"events": "", "total": "many"},
        {"events": "\n".join([events(1)[0].line()] * 2), "total": "2"},
        {"events": "\n".join(event.line() for event in reversed(events(2))), "total": "2"},
    ],
)
def test_an_altered_trail_is_seen(altered: dict[str, str]) -> None:
    assert read_pieces({NAME: altered}) is None


def test_the_trail_of_ten_thousand_secrets_has_room() -> None:
    assert len(pieces(events(10_000))) == 10 <= MOST_PIECES
    assert max(len(piece["events"]) for piece in pieces(events(1000)).values()) < 1 << 20
