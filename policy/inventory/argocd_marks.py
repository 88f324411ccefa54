"""The marks of the Argo CD Vault plugin: an annotation with the path, or placeholders in the values."""

from __future__ import annotations

import base64
import binascii
import re

from policy.inventory.resource import Resource, walk
from policy.inventory.secret_stores import split_path

PATH_ANNOTATION = "avp.kubernetes.io/path"
# <path:secret/data/db#password> or, beside the annotation, <password>.
_INLINE = re.compile(r"<path:([^#>]+)#[^>]+>")


def vault_plugin_path(resource: Resource) -> tuple[str, str] | None:
    """(mount, path) from which the plugin fills an object; None when it has no mark of the plugin."""
    known = resource.derived
    if "vault plugin path" not in known:
        known["vault plugin path"] = _vault_plugin_path(resource)
    found: tuple[str, str] | None = known["vault plugin path"]
    return found


def _vault_plugin_path(resource: Resource) -> tuple[str, str] | None:
    annotated = resource.mark("annotations", PATH_ANNOTATION)
    if annotated:
        return split_path(annotated)
    for field in ("stringData", "data"):
        for _, value in walk(resource.get(field)):
            found = _INLINE.search(_decoded(value) if field == "data" else value) if isinstance(value, str) else None
            if found:
                return split_path(found.group(1))
    return None


def _decoded(text: str) -> str:
    """The text behind base64, or the text itself where it is none (a ConfigMap, a mark that was not encoded)."""
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        return text
