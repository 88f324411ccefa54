"""Expressions of ApplicationSets, as Go's templates with sprig evaluate them."""

from __future__ import annotations

import pytest

from policy.readers.git.argocd.go_expression import UnsupportedError, evaluate
from secret_authority.core.claims.locations import Unknown

PARAMETERS = {"name": "pg", "path": {"basename": "a", "segments": ["x", "y"]}, "n": 3, "far": Unknown("a cluster")}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        (".name", "pg"),
        ('default .name (dig "namespace" "" .)', "pg"),
        ('default "x" .name', "pg"),
        ('.none | default "x"', "x"),
        ('.name | upper | printf "%s-%s" "a"', "a-PG"),
        ("index .path.segments 1", "y"),
        ('ternary "a" "b" (eq .name "pg")', "a"),
        ('replace "p" "q" .name', "qg"),
        ('trimSuffix "g" .name', "p"),
        ('regexReplaceAll "-conf$" "shop-conf" ""', "shop"),
        ('regexReplaceAll "(p)(g)" .name "${2}-$1"', "g-p"),
        ('hasPrefix "p" .name', True),
        ('splitList "-" "a-b-c" | last', "c"),
        ('splitList "-" "a-b-c" | join "/"', "a/b/c"),
        ('base "apps/shop"', "shop"),
        ('dir "apps/shop"', "apps"),
        ('coalesce .none .name "x"', "pg"),
        ('hasKey . "name"', True),
        ("toString .n", "3"),
        ("`raw`", "raw"),
    ],
)
def test_what_sprig_makes_of_it(expression: str, value: object) -> None:
    assert evaluate(expression, PARAMETERS) == value


def test_what_depends_on_something_unknown_is_unknown() -> None:
    assert evaluate('default "x" .far', PARAMETERS) == PARAMETERS["far"]


@pytest.mark.parametrize(
    "expression",
    ["", "env .name", "range .x", '"a', "(.name", "default", ".a |", 'printf "%x" 1', 'regexReplaceAll "(" .name ""'],
)
def test_the_rest_is_not_guessed(expression: str) -> None:
    with pytest.raises(UnsupportedError):
        evaluate(expression, PARAMETERS)
