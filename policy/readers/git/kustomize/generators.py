"""ConfigMaps and Secrets that kustomize generates, with the names that it gives them.

kustomize appends a hash of the content to the name unless disableNameSuffixHash is set (api/hasher of kustomize).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from policy.inventory.resource import dig, items, mapping
from policy.readers.git.files.git_crypt import MARK

# kustomize avoids vowels and ambiguous digits in a hash.
_HASH = str.maketrans({"0": "g", "1": "h", "3": "k", "a": "m", "e": "t"})
Read = Callable[[str], bytes | None]


def generated(kustomization: Mapping[str, Any], read: Read) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(behavior, name, object) of each generator. `read` gives the bytes of a file, None when there is none."""
    shared = mapping(kustomization.get("generatorOptions"))
    for field, kind in (("configMapGenerator", "ConfigMap"), ("secretGenerator", "Secret")):
        for entry in items(kustomization.get(field)):
            if isinstance(entry, Mapping) and isinstance(entry.get("name"), str):
                yield str(entry.get("behavior") or "create"), entry["name"], _object(entry, kind, shared, read)


def _object(entry: Mapping[str, Any], kind: str, shared: Mapping[str, Any], read: Read) -> dict[str, Any]:
    own = mapping(entry.get("options"))
    data = dict(_data(entry, read))
    content: dict[str, Any] = {"apiVersion": "v1", "kind": kind, "metadata": {"name": entry["name"]}}
    if isinstance(entry.get("namespace"), str):
        content["metadata"]["namespace"] = entry["namespace"]
    for marks in ("labels", "annotations"):
        if both := {**mapping(shared.get(marks)), **mapping(own.get(marks))}:
            content["metadata"][marks] = both
    if kind == "Secret":
        content["type"] = entry.get("type") or "Opaque"
        content["data"] = {key: base64.b64encode(value).decode() for key, value in sorted(data.items())}
    else:
        content["data"] = {key: value.decode(errors="replace") for key, value in sorted(data.items())}
    plain = own.get("disableNameSuffixHash", shared.get("disableNameSuffixHash"))
    if not plain and kind == "Secret":
        # Nothing here refers to a ConfigMap by the name with its hash.
        content["metadata"]["name"] = f"{entry['name']}-{_secret_hash(content)}"
    return content


def _data(entry: Mapping[str, Any], read: Read) -> Iterator[tuple[str, bytes]]:
    for literal in items(entry.get("literals")):
        key, _, value = str(literal).partition("=")
        yield key, value.strip("'\"").encode()
    for file in items(entry.get("files")):
        key, found, path = str(file).partition("=")
        content = read(path if found else key)
        if content is not None:
            yield (key if found else key.rpartition("/")[2]), content
    listed = [*items(entry.get("envs")), *([entry["env"]] if isinstance(entry.get("env"), str) else [])]
    for file in listed:
        content = read(str(file)) or b""
        if content.startswith(MARK):
            continue  # Its lines are ciphertext.
        for line in content.decode(errors="replace").splitlines():
            key, found, value = line.strip().partition("=")
            if found and key and not key.startswith("#"):
                yield key, value.encode()


def _secret_hash(secret: Mapping[str, Any]) -> str:
    fields = {
        "kind": "Secret",
        "type": secret["type"],
        "name": dig(secret, "metadata", "name"),
        "data": secret["data"] or "",
    }
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:10].translate(_HASH)
