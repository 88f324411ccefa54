"""Renders a folder as Flux would: with what its kustomization says, else file by file.

What kustomizations of GitOps trees use is done here, in linear time and with the line of each object: resources,
components, patches, generators, namespace, labels, name prefixes. `kubectl kustomize` is asked only for the rest
(replacements, vars, plugins). Nothing is fetched: what is remote is noted, and the rest of the build stays.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from policy.inventory.coverage import MISSING
from policy.inventory.resource import dig, items, mapping
from policy.readers.git.files.chart_values import carried_manifests, merged
from policy.readers.git.files.git_crypt import is_git_crypt
from policy.readers.git.files.manifests import Document, Files, read_text
from policy.readers.git.files.secret_kinds import about_secrets
from policy.readers.git.kustomize import program
from policy.readers.git.kustomize.build import Build, Building
from policy.readers.git.kustomize.folders import Folders, is_remote
from policy.readers.git.kustomize.generators import generated
from policy.readers.git.kustomize.patches import apply_all, read_patches
from policy.readers.git.kustomize.replacements import replaced
from policy.readers.git.kustomize.transform import Change, change_of, rewritten, transformed, with_content

# Fields that ask for kustomize itself: they compute names and values from others.
_NEEDS_KUSTOMIZE = frozenset({"replacements", "vars", "transformers", "generators"})


class Renderer(Folders):
    """Renders folders of one tree. Each folder is built once."""

    def __init__(self, root: Path, files: Files | None = None, ignored: frozenset[str] = frozenset()) -> None:
        super().__init__(root, files, ignored)
        self._builds: dict[str, Build] = {}
        self._vars: dict[str, bool] = {}

    def render(self, folder: str, change: Change | None = None) -> Build:
        """What the API server would get from a folder."""
        base = self._build(folder, frozenset())
        if change is None or change == Change():
            return base
        found = Building()
        found.take(base)
        for component in change.components:
            target = self.inside(folder, component)
            if target is None or not self.is_folder(target):
                if is_remote(component):
                    found.remote.add(component)
                else:
                    self.problem(found, folder, f"components: {component}", MISSING, "correct the path")
            else:
                self._component(target, found, frozenset({folder}))
                if self._computes(target, frozenset(), _NEEDS_KUSTOMIZE - {"replacements", "vars"}):
                    found.plugins.add(f"what the component {target} computes is not applied to {folder}")
        found.documents = apply_all(found.documents, read_patches(change.patches, lambda _: None), with_content)
        found.documents = transformed(found.documents, change)
        return found.done()

    # -- one folder ---------------------------------------------------------------------------------------

    def _build(self, folder: str, above: frozenset[str]) -> Build:
        if folder in self._builds:
            return self._builds[folder]
        found = Building()
        if folder in above:
            self.problem(found, folder, "resources", "takes itself in", "remove the entry")
            return found.done()
        if folder not in self.kustomization_files:
            self._plain(folder, found, above)
        elif self._needs_kustomize(folder) and (built := program.build(self, folder, found)) is not None:
            found.take(built)
        else:
            self._kustomization(folder, found, above)
        if any(problem.message == MISSING for problem in found.problems):
            # Then that is why kustomize could not build it.
            found.problems = {p: None for p in found.problems if p.message != program.NOT_BUILT}
        self._builds[folder] = found.done()
        return self._builds[folder]

    def _needs_kustomize(self, folder: str) -> bool:
        """Whether a kustomization computes names or values. A plugin of another program is not run here."""
        if self._plugins(folder):
            return False
        # Vars of a base are filled in where all is built.
        return self._computes(folder, frozenset()) or self._has_vars(folder, frozenset())

    def _computes(self, folder: str, above: frozenset[str], fields: frozenset[str] = _NEEDS_KUSTOMIZE) -> bool:
        """Whether a kustomization, or a component that works on the same objects, computes names or values."""
        content = self.kustomization(folder)
        if any(content.get(field) for field in fields):
            return True
        components = (self.inside(folder, e) for e in items(content.get("components")) if isinstance(e, str))
        return any(c is not None and c not in above and self._computes(c, above | {folder}, fields) for c in components)

    def _has_vars(self, folder: str, above: frozenset[str]) -> bool:
        """Whether a kustomization, or one that it takes in, has vars."""
        if folder not in self._vars:
            inner = (self.inside(folder, entry) for entry in self.entries(folder))
            self._vars[folder] = bool(self.kustomization(folder).get("vars")) or any(
                f is not None and f not in above and f != folder and self._has_vars(f, above | {folder})
                for f in inner
                if f in self.kustomization_files
            )
        return self._vars[folder]

    def _plugins(self, folder: str) -> list[tuple[str, Mapping[str, Any]]]:
        """(file, content) of the plugins of a kustomization that kustomize itself does not have."""
        content = self.kustomization(folder)
        found: list[tuple[str, Mapping[str, Any]]] = []
        for entry in [*items(content.get("generators")), *items(content.get("transformers"))]:
            target = self.inside(folder, entry) if isinstance(entry, str) and "\n" not in entry else None
            if target is None or target not in self.known:
                continue
            for document in self.documents(target):
                helm = document.content.get("kind") == "HelmChartInflationGenerator"
                if helm or str(document.content.get("apiVersion")) != "builtin":
                    found.append((target, document.content))
        return found

    def _plug(self, folder: str, found: Building) -> None:
        """Files that ksops would decrypt are resources; of other plugins only that they are there is known."""
        for file, content in self._plugins(folder):
            found.files.add(file)
            if content.get("kind") == "HelmChartInflationGenerator":
                found.remote.add(f"chart {content.get('name') or content.get('chartName')}")
                continue
            if content.get("kind") != "ksops":
                found.plugins.add(f"the kustomize plugin {content.get('kind')} of {file} is not run")
                continue
            for entry in items(content.get("files")):
                if isinstance(entry, str):
                    self._resource(os.path.dirname(file) or ".", entry, found, frozenset())  # noqa: PTH120

    def _plain(self, folder: str, found: Building, above: frozenset[str]) -> None:
        """A folder without a kustomization: Flux takes all manifests below it; kustomized subfolders as a whole."""
        found.folders.add(folder)
        done: set[str] = set()
        for file in self.below(folder):
            parent = self.top(file, folder)
            if parent is None:
                found.files.add(file)
                found.documents += self.applied(file)
            elif parent not in done and not self.is_component(parent):
                done.add(parent)
                found.take(self._build(parent, above | {folder}))

    def _kustomization(self, folder: str, found: Building, above: frozenset[str]) -> None:
        """Adds what the kustomization of a folder takes in and makes, and changes all that is there by then."""
        content = self.kustomization(folder)
        found.folders.add(folder)
        found.files.add(self.kustomization_files[folder])
        if content.get("helmCharts") or content.get("helmChartInflationGenerator"):
            charts = [*items(content.get("helmCharts")), *items(content.get("helmChartInflationGenerator"))]
            found.remote |= {f"chart {dig(chart, 'name') or dig(chart, 'chartName')}" for chart in charts}
            for chart in charts:
                self._of_chart(folder, chart, found)
        for entry in [*items(content.get("resources")), *items(content.get("bases"))]:
            if isinstance(entry, str):
                self._resource(folder, entry, found, above)
        self._plug(folder, found)
        self._generate(folder, content, found)
        for entry in items(content.get("components")):
            target = self.inside(folder, entry) if isinstance(entry, str) else None
            if target is not None and target in self.kustomization_files:
                self._component(target, found, above | {folder})
            elif isinstance(entry, str) and is_remote(entry):
                found.remote.add(entry)
            else:
                self.problem(found, folder, f"components: {entry}", MISSING, "correct the path")
        patches = read_patches(
            [
                *({"patch": p} for p in items(content.get("patchesStrategicMerge"))),
                *items(content.get("patchesJson6902")),
                *items(content.get("patches")),
            ],
            lambda path: self._patch_file(folder, path, found),
        )
        found.documents = apply_all(found.documents, patches, with_content)
        found.documents = transformed(found.documents, change_of(content))
        found.documents = replaced(found.documents, content, lambda path: self._patch_file(folder, path, found))

    def _of_chart(self, folder: str, chart: Any, found: Building) -> None:
        """Manifests about secrets in the values of a chart that kustomize inflates; the chart itself is not fetched."""
        values: Any = {}
        if isinstance(file := dig(chart, "valuesFile"), str) and not is_remote(file):
            documents = self.documents(self.inside(folder, file) or "")
            values = dict(documents[0].content) if documents else {}
        values = merged(values, dig(chart, "valuesInline") or {})
        release = {"Name": dig(chart, "releaseName"), "Namespace": dig(chart, "namespace")}
        known = {key: value for key, value in release.items() if isinstance(value, str)}
        for manifest in carried_manifests(values, known):
            if isinstance(manifest, str) or about_secrets(manifest) is None or "{{" in repr(manifest.get("metadata")):
                continue
            space = mapping(manifest.get("metadata")).get("namespace") or known.get("Namespace")
            metadata = {**mapping(manifest.get("metadata")), **({"namespace": space} if space else {})}
            content = {**manifest, "metadata": metadata}
            found.documents.append(Document(self.kustomization_files[folder], 1, content))

    def _resource(self, folder: str, entry: str, found: Building, above: frozenset[str]) -> None:
        if is_remote(entry):
            found.remote.add(entry)
            return
        target = self.inside(folder, entry)
        if target is not None and target in self.kustomization_files:
            found.take(self._build(target, above | {folder}))
        elif target is None or not self.exists(target):
            self.problem(found, folder, f"resources: {entry}", MISSING, "correct the path")
        elif target not in self.known and self.is_folder(target):
            self.problem(found, folder, f"resources: {entry}", "holds no kustomization.yaml", "add one")
        else:
            found.files.add(target)
            found.documents += self.applied(target)

    def _component(self, folder: str, found: Building, above: frozenset[str]) -> None:
        if folder in above:
            self.problem(found, folder, "components", "takes itself in", "remove the entry")
        elif folder in self.kustomization_files:
            self._kustomization(folder, found, above)
        else:
            self._plain(folder, found, above)

    def _generate(self, folder: str, content: Mapping[str, Any], found: Building) -> None:
        names: dict[str, str] = {}
        for behavior, base, made in generated(content, lambda path: self._bytes(folder, path, found)):
            name = str(dig(made, "metadata", "name"))
            if made["kind"] == "Secret" and name != base:
                names[base] = name
            file = self.kustomization_files[folder]
            document = Document(file, self._line_of(file, base), made)
            if behavior not in ("merge", "replace"):
                found.documents.append(document)
                continue
            for index, other in enumerate(found.documents):
                if _same_object(other.content, made):
                    before = mapping(other.content.get("data")) if behavior == "merge" else {}
                    merged = {**other.content, "data": {**before, **mapping(made.get("data"))}}
                    found.documents[index] = replace(other, content=merged)
        if names:
            found.documents = [
                with_content(d, rewritten(d.content, names)) if "spec" in d.content else d for d in found.documents
            ]

    def _bytes(self, folder: str, path: str, found: Building) -> bytes | None:
        if is_remote(path):
            found.remote.add(path)
            return b""
        target = self.inside(folder, path)
        try:
            content = (self.root / target).read_bytes() if target is not None and self.exists(target) else None
        except (OSError, ValueError):
            content = None
        if content is None:
            self.problem(found, folder, path, MISSING, "correct the path")
        return content

    def _line_of(self, file: str, name: str) -> int:
        text, _ = read_text(self.root, file)
        for number, line in enumerate(text.splitlines(), 1):
            if "name:" in line and name in re.split(r"[\s'\",{}]+", line.partition("name:")[2]):
                return number
        return 1

    def _patch_file(self, folder: str, path: str, found: Building) -> str | None:
        target = self.inside(folder, path)
        if target is None:
            return None
        if is_git_crypt(self.root / target):
            found.plugins.add(f"{target} is encrypted with git-crypt, so {folder} is read without that patch")
            return None
        text, problems = read_text(self.root, target)
        if problems or not self.exists(target):
            self.problem(found, folder, f"patches: {path}", MISSING, "correct the path")
            return None
        found.files.add(target)
        return text


def _same_object(one: Mapping[str, Any], made: Mapping[str, Any]) -> bool:
    own, other = str(dig(one, "metadata", "name")), str(dig(made, "metadata", "name"))
    return one.get("kind") == made.get("kind") and (own == other or own == other.rpartition("-")[0])
