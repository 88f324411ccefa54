"""Reads a Git tree as clusters would see it: Flux repositories, Kustomize overlays, plain YAML.

A cluster starts at its entry folder; from there Flux Kustomizations and Argo CD Applications lead to further folders.
Entries are, in this order: what the settings say; Flux Kustomizations that apply their own folder (flux bootstrap);
folders below clusters/; overlays; else the whole tree is one cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from policy.inventory.resource import AppliedBy, Origin, Position, Resource, dig
from policy.readers.git import argocd
from policy.readers.git.flux import (
    FLUX,
    RECONCILE,
    FluxKustomization,
    applies_itself,
    is_disabled,
    is_flux,
    normal_path,
    path_of,
    read_flux,
    substituted,
)
from policy.readers.git.flux_sources import Sources
from policy.readers.git.kustomize import NAMES, Renderer
from policy.readers.git.manifests import Document, read_file, yaml_files
from policy.readers.git.reach import Reach, holds, unreached
from policy.readers.lists import expand_lists, token_of
from policy.settings import Settings
from secret_authority.core.errors import InvalidInputError, Problem
from secret_authority.repository.layout import HOME

ONE_CLUSTER = "this cluster"
_OVERLAYS = frozenset({"overlays", "environments", "envs"})
_DECRYPT = f"{FLUX}/decrypt"


@dataclass
class Tree:
    """What a tree holds: the resources of every cluster, and what could not be read."""

    resources: list[Resource] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    clusters: tuple[str, ...] = ()
    # Kustomizations and Applications whose source is another one than this tree.
    elsewhere: list[str] = field(default_factory=list)
    # What lies in the tree and was not judged: templates, and files that no cluster gets.
    unjudged: list[str] = field(default_factory=list)


def read_tree(root: Path, settings: Settings | None = None) -> Tree:
    """Read a tree. Raises `InvalidInputError` when it is no folder or an entry of the settings does not exist."""
    settings = settings or Settings()
    if not root.is_dir():
        raise InvalidInputError([Problem(str(root), "", "is no folder", "give a checkout of the repository")])
    renderer = Renderer(root, yaml_files(root))
    entries = _entries(renderer, settings)
    tree = Tree(clusters=tuple(sorted(entries)))
    reached: list[Reach] = []
    for cluster, folders in sorted(entries.items()):
        tree.resources += expand_lists(_cluster(renderer, cluster, folders, tree, reached))
        tree.resources += list(_catalogues(renderer, cluster, folders, len(entries)))
    tree.resources += list(_sops_config(root, renderer))
    _hidden_identity(renderer)
    _broken(renderer, tree, reached, [folder for folders in entries.values() for folder in folders])
    problems, omitted = unreached(renderer, reached)
    tree.problems = list(dict.fromkeys([*renderer.problems, *problems]))
    tree.unjudged = list(dict.fromkeys([*tree.unjudged, *omitted]))
    return tree


def _broken(renderer: Renderer, tree: Tree, reached: list[Reach], entries: list[str]) -> None:
    """A file that is no YAML is a problem where a cluster gets it or it is a catalogue, else it is told."""
    for file, problems in renderer.broken.items():
        applied = any(file in reach.files for reach in reached) or any(holds(entry, file) for entry in entries)
        if applied or _says_catalogue(renderer.root / file):
            renderer.problems += problems
        else:
            tree.unjudged += [f"{file} {each.message}, but no entry of a cluster leads to it" for each in problems]


def _says_catalogue(file: Path) -> bool:
    try:
        return b"SecretCatalogue" in file.read_bytes()
    except OSError:
        return False


def _documents(renderer: Renderer) -> Iterator[Document]:
    for file in renderer.files:
        yield from renderer.documents(file)


def _entries(renderer: Renderer, settings: Settings) -> dict[str, tuple[str, ...]]:
    """Cluster -> the folders from which it starts."""
    if settings.entries:
        found = {name: tuple(normal_path(path) for path in paths) for name, paths in settings.entries.items()}
        missing = [(n, p) for n, paths in found.items() for p in paths if not (renderer.root / p).is_dir()]
        if missing:
            raise InvalidInputError(
                Problem("settings", f"entries.{n}", f"{p} is no folder", "correct it") for n, p in missing
            )
        return found
    kustomizations = [d for d in _documents(renderer) if is_flux(d)]
    own = {path_of(d) for d in kustomizations if applies_itself(d)}
    if own:
        return {_short(path): (path,) for path in own}
    folders = {str(Path(file).parent) for file in renderer.files}
    clusters = {
        "/".join(Path(f).parts[:2]) for f in folders if Path(f).parts[:1] == ("clusters",) and len(Path(f).parts) > 1
    }
    if clusters:
        return {_short(path): (path,) for path in clusters}
    overlays = {f for f in renderer.kustomized() if Path(f).parent.name in _OVERLAYS}
    if overlays and not kustomizations:
        groups: dict[str, list[str]] = {}
        for folder in sorted(overlays):
            groups.setdefault(_short(folder), []).append(folder)
        return {name: tuple(paths) for name, paths in groups.items()}
    return {ONE_CLUSTER: (".",)}


def _cluster(
    renderer: Renderer, cluster: str, folders: Iterable[str], tree: Tree, reached: list[Reach]
) -> Iterator[Resource]:
    """All that one cluster gets, each Flux Kustomization and each Application followed once.

    What leads out of the tree, and what is made of templates, is noted in `tree`; what the cluster gets in `reached`.
    """
    work: list[tuple[str, FluxKustomization | None]] = []
    for folder in folders:
        own = next((d for d in _documents(renderer) if is_flux(d) and path_of(d) == folder and applies_itself(d)), None)
        work.append((folder, read_flux(own) if own else None))
    sources = Sources(_documents(renderer), next((flux.source[1] for _, flux in work if flux), None))
    # What was followed, and the cluster that it lies in: a folder may lead two remote clusters to one label.
    done: set[tuple[str, str]] = {(flux.label, cluster) for _, flux in work if flux}
    applied: set[str] = set()
    # Applications come last: what Flux applies already is not applied once more.
    applications: list[argocd.Source] = []
    reach, by_argocd = Reach(renderer), Reach(renderer)
    reached += [reach, by_argocd]
    while work or applications:
        flux, target = None, cluster
        if work:
            folder, flux = work.pop(0)
            if flux is None:
                documents = _loose(renderer, folder, applied, reach)
            else:
                reach.build(folder, flux.change)
                flux, documents = _as_applied(renderer, folder, flux, renderer.render(folder, flux.change))
                target = flux.remote or cluster
        else:
            application = applications.pop(0)
            if application.reached(renderer, reach):
                continue
            target = application.cluster or cluster
            documents = application.documents(renderer, by_argocd)
        for given in documents:
            if _is_own_format(given):
                continue
            document = substituted(given, flux)
            if is_flux(document):
                inner = read_flux(document)
                if flux and flux.remote and inner.remote is None:
                    # Flux of the remote cluster applies it there.
                    inner = replace(inner, remote=flux.remote)
                if (inner.label, target) in done:
                    path = None
                elif (path := sources.folder(inner)) is None:
                    tree.elsewhere.append(f"{inner.label} of {cluster}: {inner.path} of {' '.join(inner.source)}")
                done.add((inner.label, target))
                if path is not None and (renderer.root / path).is_dir():
                    work.append((path, inner))
                    applied.add(path)
                elif path is not None:
                    problem = f"{path} is no folder of the tree"
                    renderer.problems.append(Problem(document.file, "spec.path", problem, "correct the path"))
            elif argocd.is_application(document) and (argocd.label(document), target) not in done:
                done.add((argocd.label(document), target))
                applications += _sources(renderer, document, cluster, tree)
            elif (template := _template(renderer, document)) is not None:
                tree.unjudged.append(f"{argocd.label(document)} of {cluster}: {template}")
            if flux and is_disabled(document):
                skipped = f"{RECONCILE} is disabled, {flux.label} skips it"
                tree.unjudged.append(f"{argocd.label(document)} of {target}: {skipped}")
                continue
            yield _resource(document, target, flux)


def _sources(renderer: Renderer, document: Document, cluster: str, tree: Tree) -> Iterator[argocd.Source]:
    """The folders of this tree that an Application applies. The whole tree (.) may as well be another repository's."""
    for source in argocd.sources_of(document):
        if source.is_chart(renderer.root):
            tree.unjudged.append(f"{source.label} of {cluster}: the chart {source.path} is not rendered")
        elif source.path != "." and (renderer.root / source.path).is_dir():
            yield source
        elif source.path != ".":
            tree.elsewhere.append(f"{source.label} of {cluster}: {source.path} of another repository")


def _template(renderer: Renderer, document: Document) -> str | None:
    """What keeps from seeing the objects that an object of the tree makes, None when nothing does."""
    content = document.content
    group = str(content.get("apiVersion")).partition("/")[0]
    if argocd.is_application_set(document) or (group, content.get("kind")) == ("fluxcd.controlplane.io", "ResourceSet"):
        return "its templates are not expanded"
    chart = dig(content, "spec", "chart", "spec", "chart")
    in_git = dig(content, "spec", "chart", "spec", "sourceRef", "kind") == "GitRepository"
    if content.get("kind") == "HelmRelease" and in_git and isinstance(chart, str):
        folder = normal_path(chart)
        return f"the chart {folder} is not rendered" if (renderer.root / folder / "Chart.yaml").is_file() else None
    return None


def _as_applied(
    renderer: Renderer, folder: str, flux: FluxKustomization, documents: list[Document]
) -> tuple[FluxKustomization, list[Document]]:
    """A Kustomization that applies itself may be patched by what it applies; then that is what counts."""
    for document in documents:
        if is_flux(document) and (patched := read_flux(document)).label == flux.label and patched != flux:
            return patched, renderer.render(folder, patched.change)
    return flux, documents


def _loose(renderer: Renderer, folder: str, applied: set[str], reach: Reach) -> list[Document]:
    """A folder that no Flux Kustomization is known to apply, without what others apply or take in."""
    if renderer.is_kustomized(folder) and folder != ".":
        reach.build(folder)
        return renderer.render(folder)
    kustomizations = [read_flux(d) for d in _documents(renderer) if is_flux(d) and holds(folder, d.file)]
    elsewhere = {k.path for k in kustomizations if k.path != folder and holds(folder, f"{k.path}/x")} | applied
    bases, files = renderer.referenced()
    found: list[Document] = []
    for top in sorted(renderer.kustomized()):
        inside = holds(folder, f"{top}/x") and top not in bases and not renderer.is_component(top)
        if inside and not any(holds(path, f"{top}/x") for path in elsewhere):
            reach.build(top)
            found += renderer.render(top)
    for file in renderer.files:
        skipped = file in files or not holds(folder, file) or Path(file).name in NAMES
        if skipped or any(holds(path, file) for path in elsewhere):
            continue
        if any(holds(top, file) for top in renderer.kustomized() if top != "."):
            continue
        reach.files.add(file)
        found += [d for d in renderer.documents(file) if d.is_manifest]
    return found


def _resource(document: Document, cluster: str, flux: FluxKustomization | None) -> Resource:
    content = document.content
    name = dig(content, "metadata", "name")
    decrypts = flux.decrypts if flux else None
    if str(dig(content, "metadata", "annotations", _DECRYPT) or "").lower() == "disabled":
        decrypts = False
    return Resource(
        token_of(content),
        name if isinstance(name, str) else document.file,
        Position(file=document.file, line=document.line),
        Origin.GIT,
        lambda: content,
        cluster=cluster,
        applied_by=AppliedBy(flux.label if flux else "", decrypts),
    )


def _catalogues(renderer: Renderer, cluster: str, folders: Iterable[str], clusters: int) -> Iterator[Resource]:
    """The catalogue of a cluster is in its own folders; with one cluster, or at the top, anywhere."""
    for document in _documents(renderer):
        if document.content.get("kind") != "SecretCatalogue":
            continue
        near = any(holds(folder, document.file) for folder in (*folders, f"{HOME}/{cluster}"))
        shared = not document.file.startswith(("clusters/", f"{HOME}/"))
        if near or clusters == 1 or shared:
            yield _resource(document, cluster, None)


def _sops_config(root: Path, renderer: Renderer) -> Iterator[Resource]:
    if not (root / ".sops.yaml").is_file():
        return
    documents, problems = read_file(root, ".sops.yaml")
    renderer.problems += problems
    for document in documents:
        content = {**document.content, "apiVersion": "secret-authority.dev/v1", "kind": "SopsConfig"}
        yield _resource(Document(document.file, document.line, content), ONE_CLUSTER, None)


def _hidden_identity(renderer: Renderer) -> None:
    """A manifest whose kind or name is ciphertext cannot be judged."""
    for document in _documents(renderer):
        if "sops" not in document.content:
            continue
        for path in (("kind",), ("apiVersion",), ("metadata", "name"), ("metadata", "namespace")):
            value = dig(document.content, *path)
            if isinstance(value, str) and value.startswith("ENC["):
                problem = "is encrypted, so nobody can see which secret this is"
                fix = "encrypt with encrypted_regex ^(data|stringData)$"
                renderer.problems.append(Problem(document.file, ".".join(path), problem, fix))
                break


def _is_own_format(document: Document) -> bool:
    """Files for tools: kustomize's own, and the catalogue, which is read apart."""
    api = str(document.content.get("apiVersion"))
    return api.startswith("kustomize.config.k8s.io/") or document.content.get("kind") == "SecretCatalogue"


def _short(path: str) -> str:
    return ONE_CLUSTER if path == "." else Path(path).name
