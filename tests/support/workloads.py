"""More or fewer pods of a Deployment or a StatefulSet, given by its API path. A pod that still ends counts as one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from tests.support.recorded_stack import RecordedStack
from tests.support.waiting import until


def scale(stack: RecordedStack, path: str, replicas: int, timeout: float = 180) -> None:
    """Wait until exactly so many pods of it exist and are ready, at most `timeout` seconds."""
    stack.objects.request("PATCH", path, {"spec": {"replicas": replicas}})
    until(lambda: steady(stack, path, replicas), f"{path} has {replicas} pods, all ready", timeout)


@contextlib.contextmanager
def away(stack: RecordedStack, path: str) -> Iterator[None]:
    """Without the pods of it, none of which may write any more; as many come back whatever a test finds."""
    before = (stack.objects.get(path) or {})["spec"]["replicas"]
    assert before > 0, f"{path} is away already"
    try:
        scale(stack, path, 0)
        yield
    finally:
        scale(stack, path, before)


def steady(stack: RecordedStack, path: str, replicas: int) -> bool:
    """Whether it has exactly so many pods, all of them ready, and says so."""
    status = (stack.objects.get(path) or {}).get("status") or {}
    said = [int(status.get(field) or 0) for field in ("replicas", "readyReplicas")]
    found = pods(stack, path)
    return said == [replicas, replicas] and len(found) == replicas and all(map(_ready, found))


def pods(stack: RecordedStack, path: str) -> list[dict[str, Any]]:
    """The pods of it whose containers may run: all but those that have failed or are done."""
    workload = stack.objects.get(path) or {}
    labels = workload["spec"]["selector"]["matchLabels"]
    selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    found = stack.objects.get(f"/api/v1/namespaces/{workload['metadata']['namespace']}/pods?labelSelector={selector}")
    return [pod for pod in (found or {})["items"] if pod["status"].get("phase") not in ("Failed", "Succeeded")]


def _ready(pod: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions") or [])
