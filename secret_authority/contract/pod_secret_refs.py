"""The one table of fields by which a pod names a Secret of its namespace.

The admission guard (CEL), the policy rules and the restarts after a change read it. Upstream: core/v1 `PodSpec` of
Kubernetes 1.35. A path has a dot between fields, and `[]` after a list. Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# Ephemeral containers are of another type than the others, with the same fields.
CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
# Of a container.
ENV_FROM = "envFrom[].secretRef.name"
ENV = "env[].valueFrom.secretKeyRef.name"
# Of a volume: those that name a Secret in a field of their own, and the sources of a projected one.
VOLUME_FIELDS = (
    "secret.secretName",
    "azureFile.secretName",
    "csi.nodePublishSecretRef.name",
    "cephfs.secretRef.name",
    "flexVolume.secretRef.name",
    "iscsi.secretRef.name",
    "rbd.secretRef.name",
    "scaleIO.secretRef.name",
    "storageos.secretRef.name",
)
PROJECTED = "projected.sources[].secret.name"
PULL_SECRETS = "imagePullSecrets[].name"

# Each path below the pod's spec, with what a message calls it.
POD_FIELDS: Mapping[str, str] = {
    **{f"{containers}[].{ENV}": "env" for containers in CONTAINERS},
    **{f"{containers}[].{ENV_FROM}": "envFrom" for containers in CONTAINERS},
    "volumes[].secret.secretName": "volume",
    **{f"volumes[].{field}": f"{field.partition('.')[0]} volume" for field in VOLUME_FIELDS[1:]},
    f"volumes[].{PROJECTED}": "projected volume",
    PULL_SECRETS: "imagePullSecrets",
}


# The paths as a tree, so that a pod is walked once and only where it has something.
_Tree = dict[tuple[str, bool], "_Tree"]


def _tree(paths: Iterable[str]) -> _Tree:
    """Field and whether it is a list -> what comes below; nothing comes below a name."""
    root: _Tree = {}
    for path in paths:
        below = root
        for field in path.split("."):
            below = below.setdefault((field.removesuffix("[]"), field.endswith("[]")), {})
    return root


_FIELDS = _tree(POD_FIELDS)


def secret_names(pod: Mapping[str, Any]) -> set[str]:
    """The names of the Secrets that a pod uses, from its spec as the API server gives it."""
    found: set[str] = set()
    _collect(pod, _FIELDS, found)
    return found


def _collect(value: Any, tree: _Tree, found: set[str]) -> None:
    if not isinstance(value, Mapping):
        return
    for (field, listed), below in tree.items():
        held = value.get(field)
        if not held:
            continue
        for entry in held if listed else (held,):
            if below:
                _collect(entry, below, found)
            elif isinstance(entry, str):
                found.add(entry)
