"""A phase rises on fresh evidence of the one below, and on nothing else: what was found last week does not count."""

from __future__ import annotations

import base64

import pytest

from secret_authority.contract.names import ENGINE_NAMESPACE, FLUX_NAMESPACE, VAULT_NAMESPACE
from tests.support.flux import ask_flux
from tests.support.recorded_stack import RecordedStack
from tests.support.workloads import away

pytestmark = pytest.mark.cluster

# What would put a bootstrap Secret right again.
FLUX = f"/apis/apps/v1/namespaces/{FLUX_NAMESPACE}/deployments/kustomize-controller"
EVIDENCE = f"/api/v1/namespaces/{ENGINE_NAMESPACE}/configmaps/bootstrap-evidence"


def nothing_of_phase_3(stack: RecordedStack) -> bool:
    return stack.reached() == 2 and stack.objects.get(f"/api/v1/namespaces/{VAULT_NAMESPACE}") is None


def restored(stack: RecordedStack) -> None:
    """At phase 2 again, which nothing had left: a failed look is on record, so the run asks anew."""
    stack.set_up(2)
    assert stack.cluster_values() == stack.wanted_values()
    stack.set_up(2, "--expect-no-changes")


def test_a_layer_that_does_not_hold_any_more_stops_the_next_one(rising: RecordedStack) -> None:
    """Phase 2 was reached long ago and is on record; since then somebody has changed a bootstrap Secret."""
    (namespace, name), wanted = next(iter(rising.wanted_values().items()))
    path = f"/api/v1/namespaces/{namespace}/secrets/{name}"
    key = next(iter(wanted))
    assert (rising.objects.get(EVIDENCE) or {})["data"]["evidence"].count('"matches"') == 13
    rising.objects.request("PATCH", path, {"data": {key: base64.b64encode(b"by hand").decode()}})
    run = rising.reach(3, "--skip-preview", readyTimeoutSeconds=30)
    run.refused(f"{name}: the Secret does not hold what Git's ciphertext decrypts to")
    assert "by hand" not in run.output and nothing_of_phase_3(rising)
    # As the administrator; Flux makes it again.
    rising.objects.request("DELETE", path)
    ask_flux(rising)
    assert rising.cluster_values() == rising.wanted_values()


def test_a_layer_whose_evidence_cannot_be_had_stops_the_next_one(rising: RecordedStack) -> None:
    """A bootstrap Secret is missing, and nobody makes it anew."""
    namespace, name = next(iter(rising.wanted_values()))
    with away(rising, FLUX):
        rising.objects.request("DELETE", f"/api/v1/namespaces/{namespace}/secrets/{name}")
        rising.reach(3, "--skip-preview", readyTimeoutSeconds=20).refused("bootstrap-secrets")
        assert nothing_of_phase_3(rising)


def test_after_that_the_phase_rises(rising: RecordedStack) -> None:
    restored(rising)
    rising.record("up to phase 3", rising.set_up(3))
    assert rising.reached() == 3
