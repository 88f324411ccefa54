"""What Vault's pods and the engine say of themselves on a node."""

from __future__ import annotations

import json
import time

from secret_authority.contract.names import ENGINE_NAMESPACE, VAULT_NAMESPACE
from tests.support.recorded_stack import RecordedStack
from tests.support.waiting import until

STATUS = f"/api/v1/namespaces/{ENGINE_NAMESPACE}/configmaps/runtime-authority-status"
PODS = f"/api/v1/namespaces/{VAULT_NAMESPACE}/pods"


def phase_of(stack: RecordedStack) -> int:
    return max(3, int(stack.reached() or 0))


def conditions(stack: RecordedStack) -> dict[str, dict[str, object]]:
    found = stack.objects.get(STATUS) or {"data": {"conditions": "{}"}}
    read: dict[str, dict[str, object]] = json.loads(found["data"]["conditions"])
    return read


def ready_pods(stack: RecordedStack) -> set[str]:
    """The uids of the Vault pods that are ready now."""
    items = (stack.objects.get(PODS) or {}).get("items", [])
    return {
        pod["metadata"]["uid"]
        for pod in items
        if "deletionTimestamp" not in pod["metadata"]
        and any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))
    }


def in_service(stack: RecordedStack, pods: int = 1) -> bool:
    held = conditions(stack)
    return len(ready_pods(stack)) == pods and all(
        held.get(name, {}).get("status") for name in ("VaultInService", "VaultConfigured", "HandedOver")
    )


def back_in_service(stack: RecordedStack, what: str, gone: set[str], pods: int = 1) -> None:
    """Wait until other pods than those in `gone` serve, and keep how long that took."""
    begun = time.monotonic()
    until(lambda: len(ready_pods(stack) - gone) == pods and in_service(stack, pods), f"in service after {what}", 180)
    stack.measured.append((f"Vault in service again after {what}", time.monotonic() - begun))
