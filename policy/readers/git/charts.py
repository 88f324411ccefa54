"""Local Helm charts, and the manifests that values of a HelmRelease or an Application carry.

A chart of the tree is rendered with `helm template` where helm is installed and the chart needs nothing that the tree
does not hold. helm runs nothing and fetches nothing that way.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from policy.inventory.resource import dig, items, mapping
from policy.readers.git.kustomize import Renderer
from policy.readers.git.manifests import Document, parse, read_text
from secret_authority.core.claims.locations import Unknown

_TIMEOUT = 30  # seconds
_SOURCE = re.compile(r"^# Source: [^/\n]+/(.+)$", re.MULTILINE)


def render_chart(
    renderer: Renderer, chart: str, name: str, namespace: str, values: Any, files: Iterable[str] = ()
) -> list[Document] | None:
    """The manifests of a chart; None when they cannot be made here."""
    program = shutil.which("helm")
    lock = mapping(_first(renderer, f"{chart}/Chart.yaml")).get("dependencies")
    if program is None or (lock and not (renderer.root / chart / "charts").is_dir()) or _unknown(values):
        return None
    with tempfile.TemporaryDirectory() as scratch:
        given = Path(scratch) / "values.yaml"
        given.write_text(yaml.safe_dump(_plain(values) or {}))
        listed = [part for file in files for part in ("--values", str(renderer.root / file))]
        command = [program, "template", name, str(renderer.root / chart), "--namespace", namespace, *listed]
        environment = {"PATH": "/usr/bin:/bin", "HOME": scratch, "HELM_CACHE_HOME": scratch}
        try:
            done = subprocess.run(
                [*command, "--values", str(given)],
                capture_output=True,
                check=False,
                text=True,
                timeout=_TIMEOUT,
                env=environment,
            )
        except subprocess.TimeoutExpired:
            return None
    if done.returncode:
        return None
    found: list[Document] = []
    for piece in re.split(r"^---\s*$", done.stdout, flags=re.MULTILINE):
        source = _SOURCE.search(piece)
        file = f"{chart}/{source[1]}" if source else f"{chart}/Chart.yaml"
        documents, _ = parse(piece, file)
        found += [Document(file, 1, d.content) for d in documents if d.is_manifest]
    return found


def _first(renderer: Renderer, file: str) -> Any:
    documents, _ = parse(read_text(renderer.root, file)[0], file)
    return documents[0].content if documents else None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value


def _unknown(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_unknown(inner) for inner in value.values())
    if isinstance(value, list | tuple):
        return any(_unknown(inner) for inner in value)
    return isinstance(value, Unknown)


def carried_manifests(values: Any, depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """Manifests inside of values, such as extraObjects: mappings with apiVersion and kind; text that holds such too."""
    if depth > 12:
        return
    if isinstance(values, Mapping):
        api, kind = values.get("apiVersion"), values.get("kind")
        if isinstance(api, str) and isinstance(kind, str) and ("metadata" in values or "spec" in values):
            yield values
            return
        for inner in values.values():
            yield from carried_manifests(inner, depth + 1)
    elif isinstance(values, list | tuple):
        for inner in values:
            if isinstance(inner, str) and "apiVersion:" in inner and "kind:" in inner:
                documents, _ = parse(inner, "")
                yield from (document.content for document in documents if document.is_manifest)
            else:
                yield from carried_manifests(inner, depth + 1)


def local_chart(document: Document) -> str | None:
    """The folder of the chart that a HelmRelease takes from a Git repository."""
    chart = dig(document.content, "spec", "chart", "spec", "chart")
    in_git = dig(document.content, "spec", "chart", "spec", "sourceRef", "kind") == "GitRepository"
    return chart if in_git and isinstance(chart, str) else None


def values_files(document: Document) -> list[str]:
    """Files of values that a HelmRelease names beside its chart."""
    return [str(f) for f in items(dig(document.content, "spec", "chart", "spec", "valuesFiles")) if isinstance(f, str)]
