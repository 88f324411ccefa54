"""Takes Kubernetes lists apart: `kind: List` in Git, `SecretList` and the like in a stack."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

from policy.inventory.resource import Resource, items, mapping


def token_of(manifest: Mapping[str, Any]) -> str:
    """The type token that Pulumi gives to a manifest: kubernetes:<group>/<version>:<Kind>."""
    api, kind = manifest.get("apiVersion"), manifest.get("kind")
    return _token(api if isinstance(api, str) else "unknown", kind if isinstance(kind, str) else "Unknown")


@lru_cache(maxsize=4096)
def _token(api: str, kind: str) -> str:
    return f"kubernetes:{api if '/' in api else f'core/{api}'}:{kind}"


def _same(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    return manifest


def expand_lists(resources: Iterable[Resource]) -> list[Resource]:
    """Every resource, lists replaced by what they hold."""
    found: list[Resource] = []
    for resource in resources:
        if not (resource.is_kubernetes and resource.kind.endswith("List")):
            found.append(resource)
            continue
        for index, entry in enumerate(items(resource.get("items"))):
            manifest = mapping(entry)
            if not manifest.get("kind"):
                api = resource.token.split(":")[1].removeprefix("core/")
                manifest = {"apiVersion": api, "kind": resource.kind.removesuffix("List"), **manifest}
            found.append(
                replace(
                    resource,
                    token=token_of(manifest),
                    name=f"{resource.name}[{index}]",
                    load=partial(_same, manifest),
                )
            )
    return found
