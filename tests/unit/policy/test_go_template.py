"""Templates with statements: what they give, and that what cannot be evaluated ends nothing."""

from __future__ import annotations

from typing import Any

import pytest

from policy.readers.git.argocd.go_expression import UnsupportedError
from policy.readers.git.argocd.go_template import render


@pytest.mark.parametrize(
    ("listed", "text"),
    [(["a", "b"], "ab"), ({"y": "b", "x": "a"}, "ab"), ({2: "b", "1": "a"}, "ab"), ([], ""), (None, "")],
)
def test_a_range_goes_through_lists_and_maps_in_the_order_of_their_keys(listed: Any, text: str) -> None:
    assert render("{{ range .l }}{{ . }}{{ end }}", {"l": listed}) == (text, [])


@pytest.mark.parametrize("listed", [True, False, 3, 1.5, "text"])
def test_a_range_over_what_is_no_list_is_not_evaluated(listed: Any) -> None:
    with pytest.raises(UnsupportedError):
        render("{{ range .l }}{{ . }}{{ end }}", {"l": listed})
