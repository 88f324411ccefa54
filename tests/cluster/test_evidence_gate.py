"""A phase rises on fresh evidence of the one below, and on nothing else: what was found last week does not count."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator

import pytest

from components.names import ENGINE_NAMESPACE, FLUX_NAMESPACE
from components.vault_names import VAULT_NAMESPACE
from tests.recorded_stack import RecordedStack, until

pytestmark = pytest.mark.cluster

FLUX = f"/apis/apps/v1/namespaces/{FLUX_NAMESPACE}/deployments/kustomize-controller"
EVIDENCE = f"/api/v1/namespaces/{ENGINE_NAMESPACE}/configmaps/bootstrap-evidence"


@contextlib.contextmanager
def flux_away(stack: RecordedStack) -> Iterator[None]:
    """Without the controller that would put a bootstrap Secret right again."""

    def scale(replicas: int) -> None:
        stack.objects.request("PATCH", FLUX, {"spec": {"replicas": replicas}})

        def reached() -> bool:
            return int((stack.objects.get(FLUX) or {})["status"].get("readyReplicas") or 0) == replicas

        until(reached, f"kustomize-controller has {replicas} pods")

    scale(0)
    try:
        yield
    finally:
        scale(1)


def nothing_of_phase_3(stack: RecordedStack) -> bool:
    return stack.reached() == 2 and stack.objects.get(f"/api/v1/namespaces/{VAULT_NAMESPACE}") is None


def test_a_layer_that_does_not_hold_any_more_stops_the_next_one(built: RecordedStack) -> None:
    """Phase 2 was reached long ago and is on record; since then somebody has changed a bootstrap Secret."""
    (namespace, name), wanted = next(iter(built.wanted_values().items()))
    path = f"/api/v1/namespaces/{namespace}/secrets/{name}"
    key = next(iter(wanted))
    recorded = (built.objects.get(EVIDENCE) or {})["data"]["evidence"]
    assert recorded.count('"matches"') == 12
    with flux_away(built):
        changed = {"data": {key: base64.b64encode(b"by hand").decode()}}
        built.objects.request("PATCH", path, changed)
        run = built.reach(3, readyTimeoutSeconds=30)
        run.refused(f"{name}: the Secret does not hold what Git's ciphertext decrypts to")
        assert "by hand" not in run.output and nothing_of_phase_3(built)
        right = {"data": {key: base64.b64encode(value).decode() for key, value in wanted.items()}}
        built.objects.request("PATCH", path, right)


def test_evidence_that_cannot_be_had_stops_the_next_one(built: RecordedStack) -> None:
    """A Secret is missing, and nobody makes it anew."""
    namespace, name = next(iter(built.wanted_values()))
    with flux_away(built):
        built.objects.request("DELETE", f"/api/v1/namespaces/{namespace}/secrets/{name}")
        built.reach(3, readyTimeoutSeconds=15).refused(f"{name}: no Secret in the cluster")
        assert nothing_of_phase_3(built)


def test_the_same_phase_is_held_up_by_nothing_and_mends_the_record(built: RecordedStack) -> None:
    """The failed looks are on record; at phase 2 the next run asks anew, and finds all of it right again."""
    until(lambda: built.cluster_values() == built.wanted_values(), "Flux has made the Secret anew", 120)
    built.reach(2).passed()
    built.reach(2, "--expect-no-changes").passed()
    assert (built.objects.get(EVIDENCE) or {})["data"]["evidence"].count('"matches"') == 12
