"""Flux of a stack, asked instead of waited for."""

from __future__ import annotations

import time

from components.bootstrap.bootstrap_secrets import KUSTOMIZATION
from secret_authority.contract.names import FLUX_NAMESPACE, SOURCE
from tests.support.recorded_stack import RecordedStack
from tests.support.waiting import until

KUSTOMIZATION_PATH = f"/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{FLUX_NAMESPACE}/kustomizations/{KUSTOMIZATION}"
SOURCE_PATH = f"/apis/source.toolkit.fluxcd.io/v1/namespaces/{FLUX_NAMESPACE}/gitrepositories/{SOURCE}"


def ask_flux(stack: RecordedStack) -> None:
    """Have Flux fetch and apply now instead of at its interval, and wait until it has."""
    for path in (SOURCE_PATH, KUSTOMIZATION_PATH):
        asked = str(time.time_ns())
        note = {"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": asked}}}
        stack.objects.request("PATCH", path, note)

        def handled(path: str = path, asked: str = asked) -> bool:
            found = stack.objects.get(path)
            return found is not None and found["status"].get("lastHandledReconcileAt") == asked

        until(handled, f"Flux has looked at {path}")
