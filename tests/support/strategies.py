"""Hypothesis strategies of the core's types."""

from __future__ import annotations

from hypothesis import strategies as st

from secret_authority.core.claims.conflicts import Claim, Claimant, System
from secret_authority.core.claims.locations import Keys, KubernetesSecret, Unknown, VaultSecret

UNIVERSE = ["a", "b", "c"]
NAMES = ["x", "y"]
parts = st.sampled_from(NAMES)
maybe_parts = st.one_of(parts, st.just(Unknown("metadata.name")))
keys = st.one_of(
    st.just(Keys.all()), st.frozensets(st.sampled_from(UNIVERSE), min_size=1).map(lambda names: Keys(names))
)


def locations(part: st.SearchStrategy[str] | st.SearchStrategy[str | Unknown]) -> st.SearchStrategy[object]:
    return st.one_of(
        st.builds(KubernetesSecret, st.just("dev"), part, part), st.builds(VaultSecret, st.just("v"), part, part)
    )


def claims(part: object) -> st.SearchStrategy[list[Claim]]:
    claimant = st.builds(Claimant, st.sampled_from(list(System)[:3]), st.sampled_from(["one", "two"]))
    return st.lists(st.builds(Claim, claimant, locations(part), keys), max_size=8)  # type: ignore[arg-type]
