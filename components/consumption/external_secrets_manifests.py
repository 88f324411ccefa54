"""External Secrets' upstream CRDs and image, read from the pinned module.

Upstream: external-secrets v0.20, config/crds/bases. Changed: versions that are not served are left out,
which halves the objects and changes nothing for a new cluster.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from components.kit.upstream_manifests import documents
from components.settings.upstream_images import controller_image

EXTERNAL_SECRETS_API = "external-secrets.io/v1"
GROUP = "external-secrets.io"
GENERATORS_GROUP = "generators.external-secrets.io"
# What this project uses. GeneratorState is there because the controller watches it and ends without it.
_CRDS = ((GROUP, "externalsecrets"), (GROUP, "secretstores"), (GENERATORS_GROUP, "generatorstates"))
EXTERNAL_SECRETS_CRDS = tuple(f"{plural}.{group}" for group, plural in _CRDS)


def custom_resource_definitions(manifests: Path) -> list[dict[str, Any]]:
    """The CRDs of ExternalSecret, SecretStore and GeneratorState."""
    folder = manifests / "external-secrets-crds" / "bases"
    files = [folder / f"{group}_{plural}.yaml" for group, plural in _CRDS]
    return [_served(document) for file in files for document in documents(file)]


def _served(document: dict[str, Any]) -> dict[str, Any]:
    served = copy.deepcopy(document)
    served["spec"]["versions"] = [version for version in document["spec"]["versions"] if version["served"]]
    return served


def eso_image() -> str:
    """The image under its upstream name, at the version that is pinned."""
    return controller_image("external-secrets")
