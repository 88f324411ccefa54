"""The published copy of the audit trail: whole, or seen to be not whole."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secret_authority.core.ledger import published_trail
from secret_authority.core.ledger.audit_trail import Event
from secret_authority.core.ledger.published_trail import (
    EMPTY,
    MOST_PIECES,
    NAME,
    PublishedTrail,
    piece_name,
    pieces,
    published,
    read_pieces,
    read_unsigned,
)
from secret_authority.core.ledger.trail_signature import TrailSigner
from tests.fakes.vault import SIGNER


def events(count: int) -> list[Event]:
    return [
        Event(f"2026-01-01T00:{n // 60:02}:{n % 60:02}+00:00", f"s-{n}", "c", "w", "r", "done", "i", "p", "")
        for n in range(count)
    ]


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published_trail, "EVENTS_EACH", 3)


@given(st.integers(min_value=0, max_value=20))
def test_what_is_published_can_be_read(count: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(published_trail, "EVENTS_EACH", 3)
        written = pieces(reversed(events(count)), SIGNER)
        assert list(written) == [piece_name(number) for number in range(max(1, -(-count // 3)))]
        assert read_pieces(written) == PublishedTrail(tuple(events(count)), SIGNER.public_key)


def test_an_empty_trail_is_no_missing_trail() -> None:
    assert read_pieces(pieces([], SIGNER)) == PublishedTrail((), SIGNER.public_key)
    assert read_pieces({}) is None


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("lost", [NAME, "audit-trail-1", "audit-trail-2"])
def test_a_lost_piece_is_seen(lost: str) -> None:
    written = pieces(events(7), SIGNER)
    del written[lost]
    assert read_pieces(written) is None


@pytest.mark.usefixtures("short")
def test_what_is_left_over_from_a_longer_trail_counts_for_nothing() -> None:
    left_over = {"audit-trail-1": pieces(events(7), SIGNER)["audit-trail-1"], "audit-trail-2": EMPTY, "other": {}}
    assert read_pieces(pieces(events(2), SIGNER) | left_over) == PublishedTrail(tuple(events(2)), SIGNER.public_key)


WHOLE = pieces(events(2), SIGNER)[NAME]
OTHER = TrailSigner(b"o" * 32)


@pytest.mark.parametrize(
    "altered",
    [
        {},
        {"total": None},
        {"signature": None},
        {"key": None},
        {"events": None},
        {"events": "", "total": "2"},
        {"events": "", "total": "0"},
        {"events": WHOLE["events"].splitlines()[0], "total": "1"},
        {"events": pieces(events(3), SIGNER)[NAME]["events"]},
        {"events": "{}\n{}"},
        {"events": "[]\n[]"},
        {"events": "no JSON\n", "total": "1"},
        {"total": "many"},
        {"total": "1"},
        {"total": "-1"},
        {"events": WHOLE["events"].replace("s-0", "s-9")},
        {"events": "\n".join(reversed(WHOLE["events"].splitlines()))},
        {"signature": "AAAA"},
        {"signature": "%"},
        {"signature": "%" + WHOLE["signature"]},
        {"signature": WHOLE["signature"] + "\n"},
        {"key": SIGNER.public_key + "%"},
        {"signature": OTHER.sign(WHOLE["events"].encode())},
        {"signature": SIGNER.sign(b"")},
        {"key": OTHER.public_key},
        {"key": OTHER.public_key.removeprefix("ed25519:")},
        {"key": SIGNER.public_key.removeprefix("ed25519:")},
        {"key": "ed25519:AAAA"},
    ],
)
def test_an_altered_trail_is_seen(altered: dict[str, str | None]) -> None:
    assert read_pieces({NAME: WHOLE}) is not None
    found = {name: text for name, text in {**WHOLE, **altered}.items() if text is not None} if altered else {}
    assert read_pieces({NAME: found}) is None


@pytest.mark.parametrize(
    "lines",
    [
        [events(1)[0].line()] * 2,
        [event.line() for event in reversed(events(2))],
    ],
)
def test_signed_or_not_events_are_in_strict_order(lines: list[str]) -> None:
    text = "\n".join(lines)
    found = {"events": text, "total": "2", "signature": SIGNER.sign(text.encode()), "key": SIGNER.public_key}
    assert read_pieces({NAME: found}) is None


def test_an_event_that_is_cut_out_is_seen() -> None:
    """Somebody with the right to write the ConfigMap takes the event of one secret out and counts anew."""
    lines = WHOLE["events"].splitlines()
    assert read_pieces({NAME: {**WHOLE, "events": lines[0], "total": "1"}}) is None


def test_digests_are_not_published() -> None:
    secret = [replace(event, digest=f"hmac-sha256:{n}") for n, event in enumerate(events(3))]
    written = pieces(secret, SIGNER)
    assert "hmac" not in str(written) and read_pieces(written) == PublishedTrail(tuple(events(3)), SIGNER.public_key)
    assert published(secret) == tuple(events(3))


@pytest.mark.usefixtures("short")
def test_what_is_claimed_without_a_signature_can_be_listed() -> None:
    written = pieces(events(7), SIGNER)
    del written[NAME]["signature"], written["audit-trail-1"]
    written["audit-trail-2"]["events"] = f"no JSON\n[]\n{{}}\n{written['audit-trail-2']['events']}"
    assert read_unsigned(written) == (*events(3), events(7)[6])
    assert read_unsigned({}) == ()


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_seed_has_its_length(length: int) -> None:
    with pytest.raises(ValueError, match="32"):
        TrailSigner(b"x" * length)


def test_the_trail_of_ten_thousand_secrets_has_room() -> None:
    assert len(pieces(events(10_000), SIGNER)) == 10 <= MOST_PIECES
    assert max(len(piece["events"]) for piece in pieces(events(1000), SIGNER).values()) < 1 << 20
