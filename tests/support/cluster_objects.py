"""Every object that an API server holds, for comparisons and searches. Reads as the node's administrator."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from toolchain.node import api, layout

# What changes all the time without anyone's doing.
RESTLESS = {"Event", "Lease", "Endpoints", "EndpointSlice", "Node", "IPAddress", "ComponentStatus"}
# What the cluster itself writes into an object while its content stays.
_WRITTEN_BY_THE_CLUSTER = ("resourceVersion", "managedFields", "generation")


@dataclass(frozen=True, order=True)
class Key:
    """Where an object is. `namespace` is "" for what belongs to the whole cluster."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace + '/' if self.namespace else ''}{self.name}"


class ClusterObjects:
    """Lists every kind that can be listed, custom ones too."""

    def __init__(self, node: str) -> None:
        self._api = api.Client(layout.require(node), timeout=30)

    def everything(self) -> Iterator[tuple[Key, dict[str, Any]]]:
        """Every object of the cluster."""
        for path, kind in self._collections():
            for item in self._api.json("GET", path).get("items", []):
                metadata = item["metadata"]
                yield Key(kind, metadata.get("namespace", ""), metadata["name"]), item

    def snapshot(self) -> dict[Key, str]:
        """A digest of each object's content. Status and what changes by itself are left out."""
        return {key: _digest(item) for key, item in self.everything() if key.kind not in RESTLESS}

    def names(self) -> set[Key]:
        """Which objects there are, apart from what comes and goes by itself."""
        return {key for key, _ in self.everything() if key.kind not in RESTLESS}

    def get(self, path: str) -> dict[str, Any] | None:
        """The object at an API path, or None."""
        return self._api.get(path)

    def secret(self, namespace: str, name: str) -> dict[str, Any] | None:
        return self._api.get(f"/api/v1/namespaces/{namespace}/secrets/{name}")

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A write. A body of PATCH is a merge patch. Raises `toolchain.node.api.ApiError` on a refusal."""
        content_type = "application/merge-patch+json" if method == "PATCH" else "application/json"
        return self._api.json(method, path, body, content_type)

    def text(self, path: str) -> bytes:
        """The bytes at an API path, such as a pod's log; what the server answers to a refusal otherwise."""
        return self._api.request("GET", path)[1]

    def _collections(self) -> Iterator[tuple[str, str]]:
        """Path and kind of each collection, each kind at its preferred version only."""
        groups = ["/api/v1"]
        groups += [f"/apis/{g['preferredVersion']['groupVersion']}" for g in self._api.json("GET", "/apis")["groups"]]
        for root in groups:
            for resource in self._api.json("GET", root)["resources"]:
                if "list" in resource["verbs"] and "/" not in resource["name"]:
                    yield f"{root}/{resource['name']}", resource["kind"]


def difference(before: Mapping[Key, str], after: Mapping[Key, str]) -> list[str]:
    """What was added, removed or changed, one line an object."""
    lines = [f"added {key}" for key in sorted(after.keys() - before.keys())]
    lines += [f"removed {key}" for key in sorted(before.keys() - after.keys())]
    return lines + [f"changed {key}" for key in sorted(after.keys() & before.keys()) if before[key] != after[key]]


def _digest(item: Mapping[str, Any]) -> str:
    content = {key: value for key, value in item.items() if key != "status"}
    metadata = item["metadata"]
    content["metadata"] = {key: value for key, value in metadata.items() if key not in _WRITTEN_BY_THE_CLUSTER}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
