"""What the pack needs of the core: scale with unknown parts, mirrors, handovers, rings."""

from __future__ import annotations

import time
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from authority.claims import Claim, Claimant, System, find_conflicts, find_upflows
from authority.places import Keys, KubernetesSecret, Overlap, Unknown, VaultSecret, overlap_keys, overlap_places

HIDDEN = Unknown("kubeconfig")
part = st.sampled_from(["x", "y", HIDDEN, Unknown("metadata.name")])
places = st.builds(KubernetesSecret, part, part, part)
claims = st.lists(
    st.builds(
        Claim,
        st.builds(Claimant, st.just(System.GIT), st.sampled_from("abcd")),
        places,
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
        and Overlap.NO not in (overlap_places(a.place, b.place), overlap_keys(a.keys, b.keys)[0])
    ]
    given_pairs = [frozenset((c.first, c.second)) for c in find_conflicts(found)]
    assert sorted(map(hash, given_pairs)) == sorted(map(hash, pairs))


def test_an_unknown_cluster_does_not_make_it_quadratic() -> None:
    def many(count: int) -> list[Claim]:
        return [
            Claim(Claimant(System.GIT, f"{n}"), KubernetesSecret(cluster, f"ns{n % 50}", f"s{n}"), Keys.all())
            for n in range(count)
            for cluster in (HIDDEN if n % 2 else "dev",)
        ]

    def seconds(count: int) -> float:
        claims_ = many(count)
        start = time.perf_counter()
        assert not find_conflicts(claims_)
        return time.perf_counter() - start

    seconds(1000)
    assert seconds(16000) < 40 * max(seconds(1600), 0.004)


def test_the_handover_is_no_upward_flow() -> None:
    bootstrap = KubernetesSecret("dev", "platform", "db")
    git = Claim(Claimant(System.GIT, "db.yaml"), bootstrap, Keys.all())
    path = VaultSecret("dev", "platform-data", "pg/db")
    engine = Claim(Claimant(System.ENGINE, "handover db"), path, Keys.all(), source=bootstrap, create_only=True)
    assert not find_upflows([git, engine])


def test_a_ring_is_found_in_a_dense_graph() -> None:
    """Many writers copy among few places; following every path one by one would never end."""
    spots = [KubernetesSecret("dev", "n", f"s{n}") for n in range(14)]
    dense = [
        Claim(Claimant(System.MIRROR, f"{a}-{b}"), spots[b], Keys.all(), source=spots[a])
        for a, b in combinations(range(14), 2)
    ]
    back = Claim(Claimant(System.MIRROR, "back"), spots[0], Keys.all(), source=spots[13])
    start = time.perf_counter()
    assert any(upflow.cycle for upflow in find_upflows([*dense, back]))
    assert time.perf_counter() - start < 20
