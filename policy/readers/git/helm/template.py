"""Renders the local charts of a tree with `helm template`, where helm is installed.

helm runs nothing of the chart and fetches nothing: dependencies that the tree holds (in charts/, or by a file:// URL)
are put beside a copy of the chart, others are left out and named. A chart that fails as a whole is tried again with
only those of its templates that seem to be about secrets, and then each of them alone.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from policy.inventory.resource import items, mapping
from policy.readers.git.files.manifests import Document, parse, read_text
from policy.readers.git.files.secret_kinds import in_template
from policy.readers.git.kustomize.renderer import Renderer
from secret_authority.core.claims.locations import Unknown

_TIMEOUT = 30  # seconds
_SOURCE = re.compile(r"^# Source: ([^\n]+)$", re.MULTILINE)
# No chart of a chart of a chart leads further than this.
_MAX_DEPTH = 5


@dataclass(frozen=True)
class Release:
    """How a chart is installed. `values` is over `files`, which are paths of the tree."""

    name: str
    namespace: str
    values: Any = None
    files: tuple[str, ...] = ()


@dataclass
class Rendered:
    """What a chart gives."""

    documents: list[Document] = field(default_factory=list)
    # Templates of the tree that were rendered.
    files: set[str] = field(default_factory=set)
    # Dependencies that the tree does not hold.
    missing: list[str] = field(default_factory=list)
    # Why the chart, or a part of it, was not rendered; None when all of it was.
    reason: str | None = None


class _FailedError(Exception):
    """helm did not render the chart. Its words may quote values, so they are not repeated."""


def render_chart(renderer: Renderer, chart: str, release: Release) -> Rendered:
    """The manifests of a chart of the tree, as far as they can be made here."""
    found = program()
    if found is None:
        return Rendered(reason="helm is not installed")
    if _has_unknown(release.values):
        return Rendered(reason="its values are not known")
    absent = [file for file in release.files if not (renderer.root / file).is_file()]
    if absent:
        return Rendered(reason=f"its values file {absent[0]} does not exist")
    with tempfile.TemporaryDirectory() as scratch:
        return _Copy(renderer, Path(scratch), found).render(chart, release)


def program() -> str | None:
    """The path of helm, None where it is not installed."""
    return shutil.which("helm")


class _Copy:
    """A copy of one chart that helm can render without a network."""

    def __init__(self, renderer: Renderer, scratch: Path, program: str) -> None:
        self._renderer = renderer
        self._scratch = scratch
        self._program = program
        self._missing: list[str] = []
        # Folder of the copy -> folder of the tree that it is of.
        self._origins: dict[str, str] = {}

    def render(self, chart: str, release: Release) -> Rendered:
        whole = self._scratch / "chart"
        try:
            self._copy(chart, whole, 0)
        except OSError:
            return Rendered(reason="its files cannot be read")
        found = Rendered(missing=self._missing)
        try:
            self._take(found, self._template(whole, release), chart)
            for folder in (chart, *self._origins.values()):
                found.files |= set(self._renderer.charts.get(folder, ()))
            return found
        except _FailedError as error:
            found.reason = str(error)
        self._take_parts(found, chart, whole, release)
        return found

    def _take_parts(self, found: Rendered, chart: str, whole: Path, release: Release) -> None:
        """Templates about secrets alone: others may need a helper of a dependency, or a value that is not there."""
        wanted = [
            file
            for file in self._renderer.charts.get(chart, ())
            if file.startswith(f"{chart}/templates/") and in_template(read_text(self._renderer.root, file)[0])
        ]
        failed: list[str] = []
        for group in [wanted] if len(wanted) < 2 else [wanted, *([file] for file in wanted)]:
            if not group or found.files.issuperset(group):
                continue
            part = self._scratch / "part"
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(whole, part)
            shutil.rmtree(part / "charts", ignore_errors=True)
            self._only(part, [file.removeprefix(f"{chart}/") for file in group])
            self._leave_out_dependencies(part)
            try:
                self._take(found, self._template(part, release), chart)
                found.files |= set(group)
            except _FailedError:
                if len(group) == 1:
                    failed += group
        if wanted and not failed:
            found.reason = None
            found.missing = list(dict.fromkeys([*found.missing, f"templates of {chart} that are not about secrets"]))

    # -- the copy -----------------------------------------------------------------------------------------

    def _copy(self, chart: str, into: Path, depth: int) -> None:
        root = self._renderer.root

        def outside(folder: str, names: list[str]) -> set[str]:
            paths = [Path(folder) / name for name in names]
            return {p.name for p in paths if p.name == ".git" or not p.resolve().is_relative_to(root)}

        shutil.copytree(root / chart, into, ignore=outside, symlinks=False, ignore_dangling_symlinks=True)
        (into / "Chart.lock").unlink(missing_ok=True)
        listed = items(mapping(self._metadata(into)).get("dependencies"))
        kept = [entry for entry in listed if self._has(chart, into, mapping(entry), depth)]
        self._leave_out_dependencies(into, kept)

    def _has(self, chart: str, into: Path, entry: Mapping[str, Any], depth: int) -> bool:
        """Whether a dependency is there, after it was copied from a folder of the tree that its URL names."""
        name, repository = str(entry.get("name")), str(entry.get("repository") or "")
        folder = into / "charts"
        if (folder / name / "Chart.yaml").is_file() or any(folder.glob(f"{name}-[0-9v]*.tgz")):
            return True
        path = repository.removeprefix("file://")
        if path != repository and depth < _MAX_DEPTH and "/" not in name and name not in ("", ".", ".."):
            source = os.path.normpath(f"{chart}/{path}")
            if not source.startswith("..") and (self._renderer.root / source / "Chart.yaml").is_file():
                self._copy(source, folder / name, depth + 1)
                self._origins[name] = source
                return True
        self._missing.append(f"chart {name}")
        return False

    def _metadata(self, chart: Path) -> Any:
        documents, _ = parse(read_text(chart, "Chart.yaml")[0], "Chart.yaml")
        return documents[0].content if documents else None

    def _leave_out_dependencies(self, chart: Path, kept: Sequence[Any] = ()) -> None:
        content = dict(mapping(self._metadata(chart)))
        if content.get("dependencies"):
            content["dependencies"] = [dict(entry) for entry in kept]
            (chart / "Chart.yaml").write_text(yaml.safe_dump(_plain(content)))
        # A chart of apiVersion v1 lists them in a file of their own.
        for name in ("requirements.yaml", "requirements.lock"):
            (chart / name).unlink(missing_ok=True)

    def _only(self, chart: Path, templates: Iterable[str]) -> None:
        """Leave only some templates, and those that define what others use."""
        wanted = {chart / template for template in templates}
        for path in sorted((chart / "templates").rglob("*")):
            if path.is_file() and path not in wanted and not path.name.endswith(".tpl") and path.name[0] != "_":
                path.unlink()

    # -- helm ---------------------------------------------------------------------------------------------

    def _template(self, chart: Path, release: Release) -> str:
        given = self._scratch / "values.yaml"
        given.write_text(yaml.safe_dump(_plain(release.values) or {}))
        files = [part for file in release.files for part in ("--values", str(self._renderer.root / file))]
        command = [self._program, "template", release.name, str(chart), "--namespace", release.namespace, *files]
        home = str(self._scratch / "home")
        environment = {"PATH": "/usr/bin:/bin", "HOME": home, "HELM_CACHE_HOME": home, "HELM_CONFIG_HOME": home}
        try:
            done = subprocess.run(
                [*command, "--values", str(given)],
                capture_output=True,
                check=False,
                text=True,
                timeout=_TIMEOUT,
                env={**environment, "HELM_DATA_HOME": home},
            )
        except subprocess.TimeoutExpired:
            raise _FailedError(f"helm takes more than {_TIMEOUT} seconds for it") from None
        except (OSError, ValueError):
            raise _FailedError("helm cannot be started with it") from None
        if done.returncode:
            raise _FailedError("helm cannot render it here")
        return done.stdout

    def _take(self, found: Rendered, output: str, chart: str) -> None:
        """Documents of what helm prints, with the template that each one is of."""
        for piece in re.split(r"^---\s*$", output, flags=re.MULTILINE):
            source = _SOURCE.search(piece)
            file = self._file(chart, source[1]) if source else f"{chart}/Chart.yaml"
            documents, _ = parse(piece, file)
            found.documents += [Document(file, 1, d.content) for d in documents if d.is_manifest]

    def _file(self, chart: str, source: str) -> str:
        """The file of the tree: helm names it NAME/templates/x, or NAME/charts/OTHER/templates/x."""
        inside = source.partition("/")[2]
        parts = inside.split("/")
        if parts[0] == "charts" and len(parts) > 2 and parts[1] in self._origins:
            return "/".join([self._origins[parts[1]], *parts[2:]])
        return f"{chart}/{inside}"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value


def _has_unknown(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_has_unknown(inner) for inner in value.values())
    if isinstance(value, (list, tuple)):
        return any(_has_unknown(inner) for inner in value)
    return isinstance(value, Unknown)


__all__ = ["Release", "Rendered", "program", "render_chart"]
