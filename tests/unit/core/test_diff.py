"""The comment for a pull request: whatever a name holds, it stays one cell of a table."""

from __future__ import annotations

import pytest

from secret_authority.core.ledger.diff import Change, Kind, as_markdown


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("a|b", "a\\|b"),
        ("<img src=x>", "&lt;img src=x>"),
        ("two\nlines", "two lines"),
        ("", "–"),
        ("plain", "plain"),
    ],
)
def test_a_cell_holds_what_it_is_given_and_no_more(text: str, cell: str) -> None:
    lines = as_markdown([Change(Kind.MOVES, "s", text, "after")]).splitlines()
    assert lines[-1] == f"| s | authority moves | {cell} | after |"


def test_the_head_counts_what_moves() -> None:
    changes = [Change(kind, "s", "a", "b") for kind in (Kind.MOVES, Kind.CONTESTED, Kind.NEW)]
    lines = as_markdown(changes).splitlines()
    assert lines[0] == "<!-- secret-authority ledger -->" and lines[1] == "### Authority over secrets"
    assert "2 of 3 changes move authority." in lines
    assert "No authority moves." in as_markdown(changes[2:]).splitlines()
    assert as_markdown([]).splitlines()[3:] == ["No secret changes its authority."]
