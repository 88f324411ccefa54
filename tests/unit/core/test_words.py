"""What the core says, word by word: conditions, ledger and findings are read by people, alerts and other programs.

A test elsewhere says what a message has to contain; here nothing of it changes unnoticed.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import pkgutil
from typing import Any

import pytest

from secret_authority import core
from secret_authority.core.claims.conflicts import Claim, Claimant, System, find_reverse_flows
from secret_authority.core.claims.locations import (
    Keys,
    KubernetesSecret,
    Overlap,
    Unknown,
    VaultSecret,
    overlap_locations,
)
from tests.support.words import RECORD, words


@pytest.fixture(scope="module")
def said() -> dict[str, Any]:
    return words()


RECORDED: dict[str, Any] = json.loads(RECORD.read_text())


@pytest.mark.parametrize("part", sorted(RECORDED))
def test_nothing_is_said_in_other_words_unnoticed(said: dict[str, Any], part: str) -> None:
    """Meant? Then `python -m tests.support.words` writes the record again."""
    assert said[part] == RECORDED[part]


def core_classes() -> list[type]:
    found: list[type] = []
    for module in pkgutil.walk_packages(core.__path__, f"{core.__name__}."):
        loaded = importlib.import_module(module.name)
        classes = inspect.getmembers(loaded, inspect.isclass)
        found += [kind for _, kind in classes if kind.__module__ == module.name and dataclasses.is_dataclass(kind)]
    return found


def test_what_the_core_knows_cannot_be_changed_afterwards() -> None:
    """Observations, records and claims are passed between threads and compared."""
    classes = core_classes()
    assert len(classes) > 40
    assert [kind for kind in classes if not kind.__dataclass_params__.frozen] == []  # type: ignore[attr-defined]


def test_all_of_it_is_recorded(said: dict[str, Any]) -> None:
    assert set(said) == set(RECORDED)


@pytest.mark.parametrize(
    ("shape", "text", "fits"),
    [
        (None, "anything", True),
        ("db", "db", True),
        ("db", "dbxdb", False),
        ("a*b", "ab", True),
        ("a*b", "axb", True),
        ("a*b", "a", False),
        ("aa*aa", "aaa", False),
        ("aa*aa", "aaaa", True),
        ("a*m*b", "a-m-b", True),
        ("a*m*b", "a---b", False),
        ("a*m*b", "amb", True),
        ("a*m*n*b", "a-n-m-b", False),
        ("a*mm*m*b", "ammb", False),
        ("a*mm*m*b", "ammmb", True),
        ("*b", "xa", False),
        ("a*", "ba", False),
    ],
)
def test_what_a_part_that_is_not_known_can_turn_out_to_be(shape: str | None, text: str, fits: bool) -> None:
    assert Unknown("name", shape).may_be(text) is fits


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        (None, "a*", Overlap.PERHAPS),
        ("a*", "ab*", Overlap.PERHAPS),
        ("ab*", "a*", Overlap.PERHAPS),
        ("a*", "b*", Overlap.NO),
        ("*-tls", "*-db", Overlap.NO),
        ("*-tls", "*s", Overlap.PERHAPS),
        ("*s", "*-tls", Overlap.PERHAPS),
        ("a*x", "a*y", Overlap.NO),
    ],
)
def test_two_parts_that_are_not_known_meet_only_where_their_ends_fit(
    one: str | None, other: str | None, meet: Overlap
) -> None:
    places = [KubernetesSecret("dev", "shop", Unknown("name", shape)) for shape in (one, other)]
    assert overlap_locations(*places) is meet and overlap_locations(*reversed(places)) is meet


def test_the_same_part_is_the_same_whatever_it_is() -> None:
    one, other = Unknown("a", "x*", same="s"), Unknown("b", "y*", same="s")
    assert overlap_locations(KubernetesSecret("d", "n", one), KubernetesSecret("d", "n", other)) is Overlap.YES
    different = Unknown("b", "x*", same="t")
    assert overlap_locations(KubernetesSecret("d", "n", one), KubernetesSecret("d", "n", different)) is Overlap.PERHAPS
    elsewhere = KubernetesSecret("e", "n", one)
    assert overlap_locations(KubernetesSecret("d", "n", one), elsewhere) is Overlap.NO


def test_every_filler_of_a_secret_that_flows_up_is_named() -> None:
    secret, vault = KubernetesSecret("dev", "shop", "db"), VaultSecret("dev", "data", "db")
    push = Claimant(System.PUSH_SECRET, "push")
    up = Claim(push, vault, Keys.all(), source=secret, create_only=True)
    own = Claim(push, secret, Keys.all())
    cache = Claim(Claimant(System.EXTERNAL_SECRETS, "es"), secret, Keys.all(), source=vault)
    helm = Claim(Claimant(System.HELM, "chart"), secret, Keys.all())
    found = find_reverse_flows([up, own, cache, helm])
    assert [flow.through for flow in found] == [helm]
    assert [flow.through for flow in find_reverse_flows([helm, cache, own, up])] == [helm]
