"""Security contexts that the restricted Pod Security Standard asks for, as every pod of this project has them.

Upstream: kubernetes.io, Pod Security Standards, profile Restricted.
"""

from __future__ import annotations

from typing import Any

# The user that the engine's image names.
_USER = 65532

RESTRICTED_POD: dict[str, Any] = {
    "runAsNonRoot": True,
    "runAsUser": _USER,
    "seccompProfile": {"type": "RuntimeDefault"},
}
# For pods that read Secrets and tokens from volumes: files belong to the user's group.
RESTRICTED_POD_WITH_VOLUMES: dict[str, Any] = {**RESTRICTED_POD, "fsGroup": _USER}

RESTRICTED_CONTAINER: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
