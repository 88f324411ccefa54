"""In memory: KV v2 and the API server, with the check-and-set and resourceVersion rules that a handover relies on."""

from __future__ import annotations

import base64
import copy
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from secret_authority.clients.kubernetes import Api, Object, named
from secret_authority.clients.vault import Vault
from secret_authority.core.catalogue.schema import Catalogue, parse_catalogue
from secret_authority.core.errors import LostRace

DATA = "platform-data"
NAMESPACE = "bs"


class MemoryVault(Vault):
    """KV v2 mounts. `data` holds the versions and `metadata` the custom metadata, by (mount, path)."""

    def __init__(self) -> None:
        super().__init__("https://vault.invalid")
        self.data: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self.metadata: dict[tuple[str, str], dict[str, str]] = {}
        self.requests: list[tuple[str, str]] = []

    def read(self, path: str) -> dict[str, Any] | None:
        self.requests.append(("GET", path))
        mount, kind, rest = path.split("/", 2)
        versions = self.data.get((mount, rest), [])
        custom = self.metadata.get((mount, rest))
        if kind == "metadata":
            found = {"current_version": len(versions), "custom_metadata": dict(custom or {})}
            return {"data": found} if versions or custom else None
        if not versions:
            return None
        return {"data": {"data": versions[-1], "metadata": {"version": len(versions), "custom_metadata": custom}}}

    def write(self, path: str, data: Mapping[str, Any]) -> dict[str, Any]:
        self.requests.append(("POST", path))
        mount, _, rest = path.split("/", 2)
        versions = self.data.setdefault((mount, rest), [])
        if data.get("options", {}).get("cas", len(versions)) != len(versions):
            raise LostRace(path)
        versions.append(dict(data["data"]))
        return {}

    def patch(self, path: str, data: Mapping[str, Any]) -> dict[str, Any]:
        self.requests.append(("PATCH", path))
        mount, _, rest = path.split("/", 2)
        self.metadata.setdefault((mount, rest), {}).update(data["custom_metadata"])
        return {}

    def list(self, path: str) -> list[str]:
        self.requests.append(("LIST", path))
        mount, _, rest = f"{path.rstrip('/')}/".split("/", 2)
        tails = [found.removeprefix(rest) for held, found in self.data if held == mount and found.startswith(rest)]
        return sorted({head + slash for head, slash, _ in (tail.partition("/") for tail in tails)})

    def values(self, mount: str = DATA) -> dict[str, dict[str, Any]]:
        """The newest version at each path of a mount."""
        return {path: versions[-1] for (held, path), versions in self.data.items() if held == mount}


class MemoryApi(Api):
    """Objects by path."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.changes: list[tuple[str, str]] = []
        self._numbers = itertools.count(1)

    def put(self, path: str, body: Mapping[str, Any]) -> None:
        """Make the object be so, as somebody else would."""
        made = copy.deepcopy(dict(body))
        made["metadata"] |= {"resourceVersion": str(next(self._numbers))}
        made["metadata"].setdefault("uid", f"uid-{next(self._numbers)}")
        self.objects[path] = made

    def get(self, path: str) -> Object | None:
        return copy.deepcopy(self.objects.get(path))

    def list(self, path: str, label_selector: str = "") -> list[Object]:
        return [copy.deepcopy(found) for held, found in self.objects.items() if held.rpartition("/")[0] == path]

    def create(self, path: str, body: Mapping[str, Any]) -> Object:
        target = f"{path}/{body['metadata']['name']}"
        if target in self.objects:
            raise LostRace(target)
        self.changes.append(("POST", target))
        self.put(target, body)
        return self.objects[target]

    def replace(self, path: str, body: Mapping[str, Any]) -> Object:
        found = self.objects.get(path)
        wanted = body["metadata"].get("resourceVersion")
        if found is None or wanted not in (None, found["metadata"]["resourceVersion"]):
            raise LostRace(path)
        self.changes.append(("PUT", path))
        self.put(path, body)
        return self.objects[path]

    def delete(self, path: str, uid: str | None = None) -> None:
        self.changes.append(("DELETE", path))
        self.objects.pop(path, None)


def secret_path(name: str) -> str:
    return named("secrets", NAMESPACE, name)


def secret(name: str, values: Mapping[str, bytes], **more: Any) -> Object:
    """A bootstrap Secret as Flux makes it."""
    data = {key: base64.b64encode(value).decode() for key, value in values.items()}
    return {"metadata": {"name": name, "namespace": NAMESPACE, "labels": {}}, "type": "Opaque", "data": data, **more}


def entry(name: str, target: str, keys: Sequence[str], consumer: str = "", **more: Any) -> dict[str, Any]:
    """A catalogue entry of class bootstrap."""
    return {
        "name": name,
        "class": "bootstrap",
        "owner": "team",
        "bootstrap": {"namespace": NAMESPACE, "secret": target, "keys": list(keys)},
        "vault": {"datasource": "d", "consumer": consumer or name},
        "rotation": {"type": "static"},
        **more,
    }


def catalogue(*entries: Mapping[str, Any]) -> Catalogue:
    document = {
        "apiVersion": "secret-authority.dev/v1",
        "kind": "SecretCatalogue",
        "bootstrapNamespaces": [NAMESPACE],
        "secrets": list(entries),
    }
    return parse_catalogue(document, "catalogue.yaml")
