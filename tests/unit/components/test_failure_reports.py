"""What is said of an object that does not become ready: other programs' words, without what could be a value."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import kubernetes
import pulumi
import pytest

from components.kit.failure_reports import report_conditions

CLEAR = "7741908233"
SAID = (
    "Secret/bootstrap-data/new dry-run failed: failed to create typed patch object (bootstrap-data/new; /v1, "
    f"Kind=Secret): .stringData.password: expected string, got &value.valueUnstructured{{Value:{CLEAR}}}"
)


def test_values_in_conditions_and_events_are_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    hooks: list[Any] = []
    condition = {"type": "Ready", "status": "False", "reason": "ReconciliationFailed", "message": SAID}
    event = SimpleNamespace(reason="ReconciliationFailed", message=SAID, last_timestamp=1, metadata=None)
    api = SimpleNamespace(api_client=None, list_namespaced_event=lambda *_a, **_k: SimpleNamespace(items=[event]))
    monkeypatch.setattr(
        kubernetes.client,
        "CustomObjectsApi",
        lambda _client: SimpleNamespace(
            get_namespaced_custom_object=lambda *_a, **_k: {"status": {"conditions": [condition]}}
        ),
    )
    monkeypatch.setattr(pulumi, "ErrorHook", lambda _name, report: hooks.append(report))
    monkeypatch.setattr(pulumi.log, "error", told.append)
    settings: Any = SimpleNamespace(connection=SimpleNamespace(core_api=lambda: api))
    report_conditions(settings, "flux-system", "kustomize.toolkit.fluxcd.io", "kustomizations")
    arguments = SimpleNamespace(name="x", new_inputs={"metadata": {"name": "bootstrap-secrets"}})
    assert hooks[0](arguments) is False
    assert len(told) == 2 and CLEAR not in str(told)
    assert all("expected string" in line and "ReconciliationFailed" in line for line in told), told
