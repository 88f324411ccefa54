"""What the pack needs of the core: scale with unknown parts, mirrors, handovers, rings."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import ClassVar

from hypothesis import given
from hypothesis import strategies as st

from secret_authority.core.claims.conflicts import Claim, Claimant, System, find_conflicts, find_reverse_flows
from secret_authority.core.claims.locations import (
    Keys,
    KubernetesSecret,
    Overlap,
    Unknown,
    VaultSecret,
    overlap_keys,
    overlap_locations,
)

HIDDEN = Unknown("kubeconfig")
part = st.sampled_from(["x", "y", HIDDEN, Unknown("metadata.name")])
locations = st.builds(KubernetesSecret, part, part, part)
claims = st.lists(
    st.builds(
        Claim,
        st.builds(Claimant, st.just(System.GIT), st.sampled_from("abcd")),
        locations,
        st.sampled_from([Keys.all(), Keys.of("k"), Keys.of("l")]),
    ),
    max_size=9,
)


@given(claims)
def test_the_join_finds_every_pair_once(found: list[Claim]) -> None:
    pairs = [
        frozenset((a, b))
        for a, b in combinations(dict.fromkeys(found), 2)
        if a.claimant != b.claimant
        and Overlap.NO not in (overlap_locations(a.location, b.location), overlap_keys(a.keys, b.keys)[0])
    ]
    given_pairs = [frozenset((c.first, c.second)) for c in find_conflicts(found)]
    assert sorted(map(hash, given_pairs)) == sorted(map(hash, pairs))


class Counted(str):
    """A part of a location that counts how often any part is hashed or compared: the work of a search, in steps."""

    steps: ClassVar[int] = 0
    limit: ClassVar[int] = 0

    @classmethod
    def step(cls) -> None:
        Counted.steps += 1
        # A search that goes astray ends here, and not some day.
        assert Counted.steps <= Counted.limit, "more steps than the test allows"

    def __hash__(self) -> int:
        self.step()
        return super().__hash__()

    def __eq__(self, other: object) -> bool:
        self.step()
        return super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        self.step()
        return super().__ne__(other)


def steps(search: Callable[[], object], limit: int = 10**7) -> int:
    """How many steps the search takes. Fails when it takes more than `limit`."""
    Counted.steps, Counted.limit = 0, limit
    search()
    return Counted.steps


def test_an_unknown_cluster_does_not_make_it_quadratic() -> None:
    def many(count: int) -> list[Claim]:
        return [
            Claim(
                Claimant(System.GIT, f"{n}"),
                KubernetesSecret(HIDDEN if n % 2 else "dev", Counted(f"ns{n % 50}"), Counted(f"s{n}")),
                Keys.all(),
            )
            for n in range(count)
        ]

    def search(claims_: list[Claim]) -> None:
        assert not find_conflicts(claims_)

    few, tenfold = many(300), many(3000)
    base = steps(lambda: search(few))
    assert base >= 2 * len(few), "each claim is looked at, so the steps are counted"
    # Ten times the claims take ten times the steps; a comparison of all with all would take a hundred times.
    steps(lambda: search(tenfold), limit=12 * base)


def test_the_handover_is_no_upward_flow() -> None:
    bootstrap = KubernetesSecret("dev", "platform", "db")
    git = Claim(Claimant(System.GIT, "db.yaml"), bootstrap, Keys.all())
    path = VaultSecret("dev", "platform-data", "pg/db")
    engine = Claim(Claimant(System.ENGINE, "handover db"), path, Keys.all(), source=bootstrap, create_only=True)
    assert not find_reverse_flows([git, engine])


def test_a_ring_is_found_in_a_dense_graph() -> None:
    """Many writers copy among few locations; following every path one by one would never end."""

    def rings(count: int) -> list[Claim]:
        spots = [KubernetesSecret("dev", "n", Counted(f"s{n}")) for n in range(count)]
        dense = [
            Claim(Claimant(System.MIRROR, f"{a}-{b}"), spots[b], Keys.all(), source=spots[a])
            for a, b in combinations(range(count), 2)
        ]
        back = Claim(Claimant(System.MIRROR, "back"), spots[0], Keys.all(), source=spots[-1])
        # Outside every ring: the search for one through it has to look everywhere.
        out = KubernetesSecret("dev", "n", Counted("out"))
        return [*dense, back, Claim(Claimant(System.MIRROR, "out"), out, Keys.all(), source=spots[-1])]

    def search(claims_: list[Claim]) -> None:
        assert any(flow.cycle for flow in find_reverse_flows(claims_))

    base = steps(lambda: search(rings(7)))
    # Twice the locations are four times the claims and 2 ** 5 times the steps; the paths would be 2 ** 7 times as many.
    steps(lambda: search(rings(14)), limit=40 * base)


def test_a_writer_with_a_value_of_its_own_does_not_hide_a_ring() -> None:
    """Two write the Secret that is pushed up: one copies it from where the push ends, one brings its own value."""
    secret, path = KubernetesSecret("dev", "shop", "db"), VaultSecret("dev", "platform-data", "pg/db")
    push = Claim(Claimant(System.MIRROR, "push"), path, Keys.all(), source=secret)
    copy = Claim(Claimant(System.MIRROR, "copy"), secret, Keys.all(), source=path)
    own = Claim(Claimant(System.GIT, "db.yaml"), secret, Keys.all())
    for order in ([push, copy, own], [push, own, copy]):
        assert {flow.cycle for flow in find_reverse_flows(order)} == {(push, copy)}
