"""The rule of the project, against an independent brute-force reading of it."""

from __future__ import annotations

import re
from itertools import combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secret_authority.core.claims.conflicts import Claim, Claimant, System, find_conflicts, find_reverse_flows
from secret_authority.core.claims.locations import (
    Keys,
    KubernetesSecret,
    Overlap,
    Unknown,
    VaultSecret,
    overlap_locations,
)
from tests.support.strategies import NAMES, UNIVERSE, claims, maybe_parts, parts


def worlds(claim: Claim) -> set[tuple[str, ...]]:
    """Every key of every location that the claim may hold, unknown parts taken as each possible name."""
    spans = [NAMES if isinstance(part, Unknown) else [part] for part in claim.location.parts()]
    names = UNIVERSE if claim.keys.names is None else sorted(claim.keys.names)
    kind = type(claim.location).__name__
    return {(kind, *where, key) for where in product(*spans) for key in names}


def brute(all_claims: list[Claim]) -> bool:
    return any(a.claimant != b.claimant and worlds(a) & worlds(b) for a, b in combinations(all_claims, 2))


@given(claims(parts))
def test_a_conflict_exactly_when_two_claimants_hold_one_key(found: list[Claim]) -> None:
    conflicts = find_conflicts(found)
    assert bool(conflicts) == brute(found)
    assert all(conflict.certain for conflict in conflicts)


@given(claims(maybe_parts))
def test_unknown_identity_fails_closed_and_never_open(found: list[Claim]) -> None:
    conflicts = find_conflicts(found)
    assert bool(conflicts) == brute(found)
    for conflict in conflicts:
        assert conflict.certain or conflict.unknown


@given(claims(maybe_parts))
def test_the_order_of_claims_does_not_matter(found: list[Claim]) -> None:
    assert [str(c) for c in find_conflicts(found)] == [str(c) for c in find_conflicts(reversed(found))]


def secret(name: str) -> KubernetesSecret:
    return KubernetesSecret("dev", "shop", name)


def test_the_message_names_both_claimants_the_secret_and_the_way_out() -> None:
    git = Claim(Claimant(System.GIT, "secrets/db.yaml"), secret("db"), Keys.of("password"), secret="orders-db")
    eso = Claim(Claimant(System.EXTERNAL_SECRETS, "ExternalSecret shop/db"), secret("db"), Keys.all())
    (conflict,) = find_conflicts([git, eso])
    text = str(conflict)
    for wanted in ("secrets/db.yaml", "ExternalSecret shop/db", "shop/db", "password", "orders-db", "remove"):
        assert wanted in text


def test_declared_and_observed_claims_of_one_claimant_are_one() -> None:
    who = Claimant(System.EXTERNAL_SECRETS, "ExternalSecret shop/db")
    assert not find_conflicts([Claim(who, secret("db"), Keys.all()), Claim(who, secret("db"), Keys.of("a"))])


def test_unknown_keys_may_meet() -> None:
    hidden = Keys(frozenset(), Unknown("spec.dataFrom"))
    merge = Claim(Claimant(System.EXTERNAL_SECRETS, "a"), secret("db"), hidden)
    other = Claim(Claimant(System.GIT, "b"), secret("db"), Keys.of("password"))
    (conflict,) = find_conflicts([merge, other])
    assert not conflict.certain
    assert "spec.dataFrom" in str(conflict)


VAULT = VaultSecret("v", "platform-data", "pg/orders")


def push(source: KubernetesSecret, *, create_only: bool) -> Claim:
    who = Claimant(System.PUSH_SECRET, "PushSecret shop/seed")
    return Claim(who, VAULT, Keys.all(), source=source, create_only=create_only)


def materialised(name: str) -> Claim:
    who = Claimant(System.EXTERNAL_SECRETS, f"ExternalSecret shop/{name}")
    return Claim(who, secret(name), Keys.all(), source=VAULT)


def test_a_push_from_a_materialised_secret_is_a_ring() -> None:
    (flow,) = find_reverse_flows([push(secret("db"), create_only=False), materialised("db")])
    assert flow.cycle
    assert "ring" in str(flow)


def test_a_create_only_push_beside_its_own_cache_is_allowed() -> None:
    assert not find_reverse_flows([push(secret("db"), create_only=True), materialised("db")])


def test_a_push_of_what_git_fills_flows_up() -> None:
    git = Claim(Claimant(System.GIT, "secrets/db.yaml"), secret("db"), Keys.all())
    (flow,) = find_reverse_flows([push(secret("db"), create_only=True), git])
    assert "never flow back up" in str(flow)


def test_two_claimants_of_one_name_are_told_apart_by_where_they_were_found() -> None:
    one, two = (Claimant(System.EXTERNAL_SECRETS, "ExternalSecret shop/db", file) for file in ("a.yaml", "b.yaml"))
    (conflict,) = find_conflicts([Claim(one, secret("db"), Keys.all()), Claim(two, secret("db"), Keys.all())])
    assert "ExternalSecret shop/db [External Secrets] in a.yaml" in str(conflict)
    assert "ExternalSecret shop/db [External Secrets] in b.yaml" in str(conflict)


# Names whose parts are known, such as `orders-*-db`: against regular expressions over a small alphabet.

SHAPES = st.text("ab*", max_size=5)
TEXTS = ["".join(letters) for length in range(6) for letters in product("ab", repeat=length)]


def matching(shape: str) -> set[str]:
    pattern = re.compile(".*".join(map(re.escape, shape.split("*"))))
    return {text for text in TEXTS if pattern.fullmatch(text)}


def part_of(path: str | Unknown) -> VaultSecret:
    return VaultSecret("v", "m", path)


@given(SHAPES)
def test_a_name_fits_a_shape_as_a_pattern_matches_it(shape: str) -> None:
    unknown = Unknown("spec.name", shape)
    assert {text for text in TEXTS if unknown.may_be(text)} == matching(shape)
    for text in TEXTS[:16]:
        wanted = Overlap.PERHAPS if text in matching(shape) else Overlap.NO
        assert overlap_locations(part_of(unknown), part_of(text)) is wanted
        assert overlap_locations(part_of(text), part_of(unknown)) is wanted


@given(SHAPES, SHAPES)
def test_two_shapes_that_one_name_fits_may_meet(one: str, other: str) -> None:
    left, right = part_of(Unknown("a", one)), part_of(Unknown("b", other))
    if matching(one) & matching(other):
        assert overlap_locations(left, right) is Overlap.PERHAPS


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [
        ("orders-*", "billing-*", Overlap.NO),
        ("*-orders", "*-billing", Overlap.NO),
        ("orders-*-db", "orders-*-cache", Overlap.NO),
        ("orders-*-db", "billing-*-db", Overlap.NO),
        ("orders-*", "orders-shop-*", Overlap.PERHAPS),
        ("*-db", "*-shop-db", Overlap.PERHAPS),
        ("orders-*", "*-db", Overlap.PERHAPS),
    ],
)
def test_two_shapes_whose_ends_differ_never_meet(one: str, other: str, wanted: Overlap) -> None:
    left, right = Unknown("a", one), Unknown("b", other)
    assert overlap_locations(part_of(left), part_of(right)) is wanted
    assert overlap_locations(part_of(right), part_of(left)) is wanted
    # A shape that is not known at all may be anything.
    assert overlap_locations(part_of(left), part_of(Unknown("c"))) is Overlap.PERHAPS


def test_the_same_unknown_part_is_the_same_location() -> None:
    same = [part_of(Unknown("a", "x*", same="output")), part_of(Unknown("b", "x*", same="output"))]
    assert overlap_locations(*same) is Overlap.YES
    assert overlap_locations(same[0], part_of(Unknown("b", "x*", same="another"))) is Overlap.PERHAPS
