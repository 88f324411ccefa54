"""Restarts workloads that ask for it when a Secret that they use has a new value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def used_secrets(pod: Mapping[str, Any]) -> set[str]:
    """The names of the Secrets that a pod uses: volumes, projected volumes, environment."""
    found: set[str] = set()
    for volume in pod.get("volumes") or []:
        found.add((volume.get("secret") or {}).get("secretName", ""))
        for source in (volume.get("projected") or {}).get("sources") or []:
            found.add((source.get("secret") or {}).get("name", ""))
    for container in [*(pod.get("containers") or []), *(pod.get("initContainers") or [])]:
        for entry in container.get("env") or []:
            found.add(((entry.get("valueFrom") or {}).get("secretKeyRef") or {}).get("name", ""))
        for entry in container.get("envFrom") or []:
            found.add((entry.get("secretRef") or {}).get("name", ""))
    return found - {""}
