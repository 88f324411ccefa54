"""Only a Vault that never held a value is cleared: each sign of another past, and everything unknown, prevents it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secret_authority.core.phases import Phase
from secret_authority.core.unopened_vault import SealSeen, Traces, UnopenedVault, why_not_cleared

NO_TRACES = Traces((), (), Phase.BOOTSTRAP, None)
LOST = SealSeen(initialised=True, sealed=True, shares=5, threshold=3)
FRESH = SealSeen(initialised=False, sealed=True)
CLAIMED = {"claimed": "2026-01-01T00:00:00+00:00", "run": "engine-1"}
EMPTY = UnopenedVault(CLAIMED, (LOST,), (5, 3), NO_TRACES)


@pytest.mark.parametrize(
    "seen",
    [
        EMPTY,
        replace(EMPTY, pods=(LOST, FRESH, FRESH)),
        replace(EMPTY, traces=replace(NO_TRACES, reached=None)),
        replace(EMPTY, traces=replace(NO_TRACES, stack=Phase.BOOTSTRAP)),
    ],
)
def test_a_claimed_vault_that_nobody_can_open_and_that_left_no_trace_is_cleared(seen: UnopenedVault) -> None:
    assert why_not_cleared(seen) == ""


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"record": None}, "this program has not asked for its initialisation"),
        ({"record": {}}, "the record of its initialisation is not a bare claim: claimed, run"),
        ({"record": CLAIMED | {"refused": "x"}}, "not a bare claim: refused"),
        (
            {"record": CLAIMED | {"configured": "x", "configuration": "y"}},
            "not a bare claim: configuration, configured",
        ),
        ({"record": CLAIMED | {"rootAttempt": "nonce"}}, "not a bare claim: rootAttempt"),
        ({"record": {"claimed": "x"}}, "not a bare claim: run"),
        ({"pods": ()}, "not every Vault pod answers"),
        ({"pods": (None,)}, "not every Vault pod answers"),
        ({"pods": (LOST, None, FRESH)}, "not every Vault pod answers"),
        ({"pods": (FRESH,)}, "it is not initialised"),
        ({"pods": (FRESH, LOST)}, "it is not initialised"),
        ({"pods": (replace(LOST, sealed=False),)}, "it is unsealed"),
        ({"pods": (replace(LOST, shares=1),)}, "other numbers of unseal shares"),
        ({"pods": (replace(LOST, threshold=1),)}, "other numbers of unseal shares"),
        ({"pods": (LOST, LOST)}, "another pod is initialised as well"),
        ({"pods": (LOST, replace(FRESH, sealed=False))}, "another pod is initialised as well"),
        ({"pods": (LOST, FRESH, LOST)}, "another pod is initialised as well"),
    ],
)
def test_anything_else_is_left_alone(change: dict[str, Any], reason: str) -> None:
    assert reason in why_not_cleared(replace(EMPTY, **change))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"objects": ("Secret vault/vault-unseal-shares",)}, "in service: Secret vault/vault-unseal-shares"),
        ({"in_git": ("clusters/dev/unseal-shares.txt",)}, "in service: clusters/dev/unseal-shares.txt"),
        ({"reached": Phase.RUNTIME_AUTHORITY}, "the cluster has reached phase 3 on record"),
        ({"reached": Phase.CONSUMPTION}, "the cluster has reached phase 4 on record"),
        ({"stack": Phase.RUNTIME_AUTHORITY}, "the stack has reached phase 3 on record"),
        ({"stack": Phase.CONSUMPTION, "reached": Phase.BOOTSTRAP}, "the stack has reached phase 4 on record"),
    ],
)
def test_each_trace_of_service_prevents_it(change: dict[str, Any], reason: str) -> None:
    assert reason in why_not_cleared(replace(EMPTY, traces=replace(NO_TRACES, **change)))


PODS = st.none() | st.builds(SealSeen, st.booleans(), st.booleans(), st.integers(0, 6), st.integers(0, 6))
RECORDS = st.none() | st.dictionaries(st.sampled_from(["claimed", "run", "refused", "configured"]), st.just("x"))
WORDS = st.lists(st.just("sign"), max_size=1).map(tuple)
PHASES = st.none() | st.sampled_from(Phase)


@given(
    st.builds(
        UnopenedVault,
        RECORDS,
        st.lists(PODS, max_size=3).map(tuple),
        st.just((5, 3)),
        st.builds(Traces, WORDS, WORDS, PHASES, PHASES),
    )
)
def test_whatever_is_seen_a_cleared_vault_is_sealed_claimed_and_without_a_trace(seen: UnopenedVault) -> None:
    if why_not_cleared(seen):
        return
    assert seen.record is not None and set(seen.record) == {"claimed", "run"}
    assert all(pod is not None and pod.sealed for pod in seen.pods) and seen.pods
    assert [pod.initialised for pod in seen.pods if pod] == [True] + [False] * (len(seen.pods) - 1)
    assert not seen.traces.objects and not seen.traces.in_git
    assert max(seen.traces.reached or 0, seen.traces.stack or 0) < Phase.RUNTIME_AUTHORITY
