"""Asks `kubectl kustomize` for what is not rendered here."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml

from policy.inventory.resource import dig, items, mapping
from policy.readers.git.files.manifests import Document, parse
from policy.readers.git.kustomize.build import Build, Building
from policy.readers.git.kustomize.folders import NAMES, Folders, is_remote, parents_of

ORIGIN = "config.kubernetes.io/origin"
NOT_BUILT = "cannot be built"
_TIMEOUT = 60  # seconds


def build(tree: Folders, folder: str, found: Building) -> Build | None:
    """What `kubectl kustomize` makes of a folder; None when it fails, then it is read as far as it can be."""
    closure = Building()
    _closure(tree, folder, closure)
    program = shutil.which("kubectl") or shutil.which("kustomize")
    if program is None:
        tree.problem(found, folder, "", "needs kustomize to be rendered", "install kubectl")
        return None
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch).resolve()
        base = _without_remote(tree, here / "tree", closure) if closure.remote else tree.root
        into = os.path.relpath(base / folder, here)
        wrapper: dict[str, Any] = {"buildMetadata": ["originAnnotations"], "resources": [into]}
        (here / "kustomization.yaml").write_text(yaml.safe_dump(wrapper))
        verb = ["kustomize"] if program.endswith("kubectl") else ["build"]
        command = [program, *verb, str(here), "--load-restrictor", "LoadRestrictionsNone"]
        try:
            done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=_TIMEOUT)
        except subprocess.TimeoutExpired:
            tree.problem(found, folder, "", f"takes kustomize more than {_TIMEOUT} seconds", "split the folder")
            return None
        if done.returncode and closure.remote:
            # Without what is elsewhere a patch has no target; that it was not read is said of it.
            return None
        if done.returncode:
            # kustomize may quote the manifest, which may be a secret: its words are not repeated.
            tree.problem(found, folder, "", NOT_BUILT, f"run `kubectl kustomize {folder}` to see why")
            return None
        documents, _ = parse(done.stdout, folder)
        closure.documents = [_with_origin(tree, d, here, base) for d in documents if d.is_manifest]
        return closure.done()


def _closure(tree: Folders, folder: str, found: Building) -> None:
    """The folders, files and remote entries that a build takes in."""
    if folder in found.folders or folder not in tree.kustomization_files:
        return
    found.folders.add(folder)
    found.files.add(tree.kustomization_files[folder])
    content = tree.kustomization(folder)
    if content.get("helmCharts") or content.get("helmChartInflationGenerator"):
        found.remote.add(f"charts of {folder}")
    for entry in tree.entries(folder):
        target = tree.inside(folder, entry)
        if is_remote(entry):
            found.remote.add(entry)
        elif target in tree.kustomization_files:
            _closure(tree, str(target), found)
        elif target in tree.known:
            found.files.add(str(target))


def _without_remote(tree: Folders, into: Path, closure: Building) -> Path:
    """A copy of the folders of a build, by links, whose kustomizations leave out what is remote."""
    parents = {parent for folder in closure.folders for parent in parents_of(folder)}
    for folder in sorted(parents):
        (into / folder).mkdir(parents=True, exist_ok=True)
        for entry in (tree.root / folder).iterdir():
            path = f"{folder}/{entry.name}".removeprefix("./")
            own = folder in closure.folders and entry.name in NAMES
            if path not in parents and not own:
                (into / path).symlink_to(entry)
    for folder in sorted(closure.folders):
        content = {**tree.kustomization(folder)}
        for name in ("resources", "bases", "components"):
            if items(content.get(name)):
                content[name] = [e for e in items(content[name]) if not (isinstance(e, str) and is_remote(e))]
        for name in ("helmCharts", "helmChartInflationGenerator", "helmGlobals"):
            content.pop(name, None)
        (into / folder / "kustomization.yaml").write_text(yaml.safe_dump(content))
    return into


def _with_origin(tree: Folders, document: Document, here: Path, base: Path) -> Document:
    """The document with the file that it came from, and without kustomize's mark."""
    content = dict(document.content)
    metadata = dict(mapping(content.get("metadata")))
    annotations = dict(mapping(metadata.get("annotations")))
    origin = dig(parse(str(annotations.pop(ORIGIN, "")), "origin")[0], 0)
    metadata["annotations"] = annotations
    content["metadata"] = metadata
    found = mapping(getattr(origin, "content", None))
    path = found.get("path") or found.get("configuredIn")
    if not isinstance(path, str):
        return Document(document.file, 1, content)
    file = os.path.relpath(os.path.normpath(here / path), base)
    return Document(file, tree.line(file, content), content)
