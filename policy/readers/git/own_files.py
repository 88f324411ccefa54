"""Files that are for this project and for sops, not for a cluster: catalogues, .sops.yaml, bootstrap folders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from policy.inventory.resource import Resource
from policy.readers.git.bootstrap_folders import read_bootstrap_folders
from policy.readers.git.entries import ONE_CLUSTER, ClusterEntry
from policy.readers.git.files.manifests import Document, parse, read_text
from policy.readers.git.kustomize.folders import holds
from policy.readers.git.reading import Reading
from policy.readers.git.resources import resource_of
from policy.settings import Settings
from secret_authority.repository.layout import HOME
from secret_authority.repository.trust.root_of_trust import FILE as TRUST_FILE


def catalogues(reading: Reading, cluster: ClusterEntry, clusters: int) -> Iterator[Resource]:
    """The catalogue of a cluster is in its folder or below secret-authority/CLUSTER; with one cluster, anywhere."""
    for document in reading.renderer.survey.catalogues:
        file = document.file
        starts = [*cluster.folders, *(r.path for r in cluster.roots if r.path is not None)]
        near = any(holds(folder, file) for folder in starts) or file.startswith(f"{HOME}/{cluster.name}/")
        shared = not file.startswith(("clusters/", f"{HOME}/"))
        if near or clusters == 1 or shared:
            reading.reached.setdefault(file, [])
            yield resource_of(document, cluster.name, None)


def sops_config(reading: Reading) -> Iterator[Resource]:
    if not (reading.renderer.root / ".sops.yaml").is_file():
        return
    text, problems = read_text(reading.renderer.root, ".sops.yaml")
    documents, more = parse(text, ".sops.yaml")
    reading.problems.update(dict.fromkeys([*problems, *more]))
    for document in documents:
        content = {**document.content, "apiVersion": "secret-authority.dev/v1", "kind": "SopsConfig"}
        yield resource_of(Document(document.file, document.line, content), ONE_CLUSTER, None)


def bootstrap_folders(root: Path, settings: Settings) -> Iterator[Resource]:
    for folders in read_bootstrap_folders(root, settings):
        kind = {"apiVersion": "secret-authority.dev/v1", "kind": "BootstrapFolders", "found": folders}
        file = next(iter(folders.folders), TRUST_FILE)
        yield resource_of(Document(file, 1, kind), folders.cluster or ONE_CLUSTER, None)
