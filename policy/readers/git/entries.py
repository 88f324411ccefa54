"""Where the clusters of a tree start.

What applies something is a Flux Kustomization, a FluxInstance, a ResourceSet, or an Argo CD Application or
ApplicationSet. A root is one that nothing else of the tree applies; every root belongs to a cluster, which is known by
its whole path. Where nothing in the tree applies anything, folders below clusters/, then overlays, then the whole tree
stand in.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from policy.inventory.coverage import ALTERNATIVE, GUESS, GUESSES, OVERLAY, Entry
from policy.inventory.resource import dig, mapping
from policy.readers.git.appliers import Applier, Appliers, instance_path, is_sync
from policy.readers.git.files.hidden import is_in_hidden_folder
from policy.readers.git.files.manifests import Document
from policy.readers.git.files.unused import TEMPLATES, is_archived, is_not_applied, is_shown, is_template
from policy.readers.git.flux.kustomizations import is_flux, normal_path, read_flux
from policy.readers.git.kustomize.build import Build
from policy.readers.git.kustomize.renderer import Renderer
from policy.settings import Settings, globbed
from secret_authority.core.errors import InvalidInputError, Problem

ONE_CLUSTER = "this cluster"
OVERLAYS = frozenset({"overlays", "environments", "envs"})
# Names of folders that say what is inside, not which cluster it is for.
_GENERIC = frozenset(
    {"flux", "flux-system", "fluxcd", "argocd", "argo-cd", "argo", "config", "bootstrap", "cluster", "sync", "vars"}
    | {"apps", "applications", "applicationsets", "repositories", "sources", "gitops", "core", "infrastructure"}
)


@dataclass
class ClusterEntry:
    """One cluster: folders that are read as a whole, folders of which the files are read, and roots."""

    name: str
    folders: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    roots: list[Applier] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)

    def add(self, start: str, why: str) -> None:
        self.entries.append(Entry(self.name, start, why))

    @property
    def is_guessed(self) -> bool:
        """Whether nothing in the tree says what it gets."""
        return all(entry.why in GUESSES for entry in self.entries)


class Overlays:
    """Kustomizations that nothing takes in or applies, and that take in files with appliers: each is an entry.

    An applier in a base is not a root as it is written there: what counts is the overlay, with its patches.
    """

    def __init__(self, renderer: Renderer, appliers: Appliers) -> None:
        self._renderer = renderer
        taken = renderer.taken_in()
        applied = {folder for applier in appliers.all for folder in applier.folders}
        for folder in renderer.kustomized():
            if folder not in taken and not renderer.is_component(folder):
                # What an overlay makes of the appliers of its base is what applies.
                for document in renderer.render(folder).documents:
                    path = appliers.sources.folder(read_flux(document)) if is_flux(document) else None
                    if path is not None and path != folder and renderer.is_folder(path):
                        applied |= renderer.render(path).folders
        files = {applier.document.file for applier in appliers.all}
        starts = {a.path: a for a in appliers.all if a.path and a.applies_itself and is_flux(a.document)}
        self._tops: dict[str, frozenset[str]] = {}
        for folder in renderer.kustomized():
            if folder in taken or folder in applied or is_archived(f"{folder}/x") or renderer.is_component(folder):
                continue
            build = renderer.render(folder)
            inside = build.files
            if self._is_above(build, starts, appliers):
                continue
            if inside & files and any(os.path.dirname(f) != folder for f in inside & files):  # noqa: PTH120
                self._tops[folder] = inside

    @staticmethod
    def _is_above(build: Build, starts: Mapping[str, Applier], appliers: Appliers) -> bool:
        """Whether a kustomization takes in, as it is, the Kustomization of Flux that applies its own folder.

        That one is where the cluster starts, and what it leads to is applied by it. What else is taken in a person may
        apply, once.
        """
        kept = {
            path
            for document in build.documents
            if is_flux(document) and (path := appliers.sources.folder(read_flux(document))) in starts
        }
        return any(starts[path].document.file in build.files for path in kept if path)

    def of(self, root: Applier) -> list[str]:
        """The overlays that take in a root."""
        return [folder for folder, files in self._tops.items() if root.document.file in files]

    def clusters(self, roots: Iterable[Applier], names: set[str]) -> list[ClusterEntry]:
        """One cluster for each overlay that takes in a root. `names` are those of other clusters."""
        alone = not names
        used = sorted({folder for root in roots for folder in self.of(root)})
        # A template of a cluster is copied first, where there are others.
        used = [f for f in used if not is_template(f"{f}/x") or (all(is_template(f"{o}/x") for o in used) and alone)]
        found: list[ClusterEntry] = []
        for folder, short in zip(used, unique_names(used), strict=True):
            cluster = ClusterEntry(folder if short in names else short, [folder])
            cluster.add(
                folder, "nothing takes in or applies this kustomization, which takes in objects that apply more"
            )
            found.append(cluster)
        return found


def find_entries(
    renderer: Renderer, settings: Settings, appliers: Appliers
) -> tuple[list[ClusterEntry], dict[str, str]]:
    """The clusters, sorted by name, and the files of appliers that are left out."""
    if settings.entries:
        return _given(renderer, settings), {}
    roots, left_out = appliers.roots()
    overlays = Overlays(renderer, appliers)
    synced = [root for root in roots if is_sync(root)]
    live: list[Applier] = []
    # Where only templates say how a cluster starts, they are what there is to go by.
    started = {root.document.file for root in roots if root.files and not is_not_applied(root.document.file)}
    for root in roots:
        if is_not_applied(root.document.file) or is_archived(root.document.file):
            continue
        if is_template(root.document.file) and not overlays.of(root) and any(not is_template(f) for f in started):
            left_out[root.document.file] = "it is in a folder of templates, and nothing applies it"
            continue
        if root.is_dead and not overlays.of(root):
            left_out[root.document.file] = "the folder of its path is not in the tree, and nothing applies it"
            continue
        if synced and is_flux(root.document) and not is_sync(root) and not overlays.of(root):
            left_out[root.document.file] = "no Kustomization that Flux syncs leads to it"
            continue
        live.append(root)
    applied = frozenset().union(*(applier.files for applier in appliers.all))
    # A file beside a root that holds only what is left out is left out too.
    applied |= left_out.keys() - {root.document.file for root in live}
    clusters = _clusters(renderer, [root for root in live if not overlays.of(root)], applied)
    clusters += overlays.clusters(live, {cluster.name for cluster in clusters})
    clusters += _below_clusters(renderer, clusters, appliers)
    if not clusters or not any(root.files for root in live):
        clusters = [c for c in clusters if any(r.files for r in c.roots) or c.folders] or _without_appliers(renderer)
    return sorted(clusters, key=lambda cluster: cluster.name), left_out


def _given(renderer: Renderer, settings: Settings) -> list[ClusterEntry]:
    """What the settings say; a glob stands for every folder, or file, that fits."""
    found: list[ClusterEntry] = []
    missing: list[Problem] = []
    for name, patterns in sorted(settings.entries.items()):
        cluster = ClusterEntry(name)
        for pattern in patterns:
            path = normal_path(pattern)
            if any(mark in path for mark in "*?["):
                folders = [f for f in sorted(renderer.folders) if globbed(f, path)]
                files = [f for f in renderer.files if globbed(f, path)]
            else:
                folders = [path] if (renderer.root / path).is_dir() else []
                files = [path] if path in renderer.known else []
            if not folders and not files:
                missing.append(Problem("settings", f"entries.{name}", f"{pattern} is not a directory", "correct it"))
            cluster.folders += folders
            cluster.files += files
            for start in [*folders, *files]:
                cluster.add(start, "the settings name it")
        found.append(cluster)
    if missing:
        raise InvalidInputError(missing)
    return found


def _clusters(renderer: Renderer, roots: list[Applier], applied: frozenset[str]) -> list[ClusterEntry]:
    """One entry for each group of roots that belong to one cluster. `applied` are files that something applies."""
    by_key: dict[str, list[Applier]] = defaultdict(list)
    for root in roots:
        by_key[_key(root)].append(root)
    groups = group(by_key, _separate(by_key, renderer))
    names = unique_names([_common(keys) for keys in groups])
    found: list[ClusterEntry] = []
    for keys, name in zip(groups, names, strict=True):
        cluster = ClusterEntry(name)
        for key in keys:
            for root in sorted(by_key[key], key=lambda r: (r.document.file, r.document.line)):
                cluster.roots.append(root)
                self_applied = root.applies_itself or instance_path(root.document) is not None
                why = "it applies its own folder" if root.applies_itself else "nothing else in the tree applies it"
                cluster.add(f"{root.label} ({root.document.file})", why)
                folder = os.path.dirname(root.document.file) or "."  # noqa: PTH120
                if not (self_applied or folder == "." or _is_cluster_folder(key) or is_template(root.document.file)):
                    beside = [f for f in renderer.directly_in(folder) if f not in applied]
                    cluster.files += [f for f in beside if f not in cluster.files]
            # What applies the folder of its cluster is all that does, also where that folder does not list it.
            own = [r for r in by_key[key] if r.applies_itself or instance_path(r.document) is not None or r.path == key]
            if _is_cluster_folder(key) and not own:
                cluster.folders.append(key)
        found.append(cluster)
    return found


def _is_cluster_folder(key: str) -> bool:
    parts = key.split("/")
    while len(parts) > 1 and parts[-2] in OVERLAYS:
        parts.pop(-2)
    return len(parts) > 1 and parts[-2] == "clusters"


def _key(root: Applier) -> str:
    """The folder that stands for the cluster of a root."""
    started = root.path if root.path is not None and (root.applies_itself or instance_path(root.document)) else None
    folder = started or os.path.dirname(root.document.file)  # noqa: PTH120
    parts = [part for part in folder.split("/") if part not in ("", ".")]
    if "clusters" in parts[:-1]:
        return "/".join(parts[: cluster_depth(parts)])
    while parts and parts[-1] in _GENERIC:
        parts.pop()
    return "/".join(parts) or "."


def cluster_depth(parts: list[str]) -> int:
    """How many parts of a path below clusters/ name a cluster: clusters/a, clusters/overlays/a."""
    depth = parts.index("clusters") + 2
    while depth < len(parts) and parts[depth - 1] in OVERLAYS:
        depth += 1
    return depth


def _separate(by_key: Mapping[str, list[Applier]], renderer: Renderer) -> Callable[[str, str], bool]:
    """Whether two folders stand for two clusters.

    They do side by side below clusters/, with the same names, and where they are built alike, or each apply their own
    folder, and define the same objects. Folders of two applications may be built alike too, and share no object.
    """
    labels = {key: {root.label for root in roots} for key, roots in by_key.items()}
    inside = {key: {os.path.relpath(root.document.file, key) for root in roots} for key, roots in by_key.items()}

    own = {key for key, roots in by_key.items() if any(is_flux(r.document) and r.applies_itself for r in roots)}
    known: dict[str, set[tuple[str, str, str]]] = {}

    def objects(key: str) -> set[tuple[str, str, str]]:
        if key not in known:
            known[key] = {identity for root in by_key[key] for identity in _objects_of(root, renderer)}
        return known[key]

    def answer(one: str, other: str) -> bool:
        if _is_cluster_folder(one) and _is_cluster_folder(other):
            return True
        if labels[one] & labels[other]:
            return True
        alike = bool(inside[one] & inside[other]) or {one, other} <= own
        return alike and bool(objects(one) & objects(other))

    return answer


def group(keys: Iterable[str], separate: Callable[[str, str], bool]) -> list[list[str]]:
    """Keys in groups: one for each that is separate from another, and one for all that are separate from none."""
    listed = sorted(keys)
    apart = [key for key in listed if any(key != other and separate(key, other) for other in listed)]
    rest = [key for key in listed if key not in set(apart)]
    return [*([key] for key in apart), *([rest] if rest else [])]


def _common(keys: list[str]) -> str:
    """The folder that names a group: its only one, else the one above all of them."""
    if len(keys) == 1 or "." in keys:
        return keys[0] if len(keys) == 1 else "."
    return os.path.commonpath(keys) or "."


def _objects_of(root: Applier, renderer: Renderer) -> Iterator[tuple[str, str, str]]:
    """The objects that a root applies, without what clusters share by nature."""
    if root.path is not None and is_flux(root.document) and renderer.is_folder(root.path):
        documents: Iterable[Document] = renderer.render(root.path, read_flux(root.document).change).documents
    else:
        documents = [document for file in sorted(root.files) for document in renderer.documents(file)]
    yield from (_identity(document) for document in documents if _is_object(document))


def _is_object(document: Document) -> bool:
    """Whether this is an object of a cluster that two folders for one cluster would not both define."""
    named = isinstance(dig(document.content, "metadata", "name"), str)
    own = str(document.content.get("apiVersion")).startswith("kustomize.config.k8s.io/")
    return document.is_manifest and named and not own and document.content.get("kind") != "Namespace"


def unique_names(keys: list[str]) -> list[str]:
    """The last part of each key, or the whole key where two would have one name."""
    short = [ONE_CLUSTER if key == "." else os.path.basename(key) for key in keys]  # noqa: PTH119
    return [name if short.count(name) == 1 else key for name, key in zip(short, keys, strict=True)]


def _below_clusters(renderer: Renderer, known: list[ClusterEntry], appliers: Appliers) -> list[ClusterEntry]:
    """Folders below clusters/ with manifests that nothing in the tree applies."""
    applied = {file for applier in appliers.all for file in applier.files}
    used = {entry.start for cluster in known for entry in cluster.entries} | {f for c in known for f in c.folders}
    names = {cluster.name for cluster in known}
    found: list[ClusterEntry] = []
    folders = {
        "/".join(parts[: cluster_depth(parts[:-1])])
        for file in renderer.files
        if file.startswith("clusters/") and len(parts := file.split("/")) > 2
    }
    # Of an example a person makes a cluster; it is one where nothing else is.
    shown = {folder for folder in folders if _to_be_copied(folder)}
    for folder in sorted(folders - used - (shown if folders - shown or known else set())):
        if any(start.startswith(f"{folder}/") for start in used):
            continue
        inside = renderer.below(folder)
        mine = any(root.document.file in inside for cluster in known for root in cluster.roots)
        if mine or any(file in applied for file in inside):
            continue
        if not any(document.is_manifest for file in inside for document in renderer.documents(file)):
            continue
        short = os.path.basename(folder)  # noqa: PTH119
        cluster = ClusterEntry(folder if short in names else short, [folder])
        cluster.add(folder, "it is a folder below clusters/")
        found.append(cluster)
    return found


def _to_be_copied(folder: str) -> bool:
    """Whether a folder below clusters/ says by its name that it is none yet; clusters/test is one."""
    name = os.path.basename(folder).lower()  # noqa: PTH119
    return name in TEMPLATES or name in ("example", "examples", "sample", "samples")


def by_hand(renderer: Renderer, reached: Iterable[str], unread: Collection[str]) -> list[tuple[str, list[str]]]:
    """(folder, files) of what nothing applies and somebody may apply by hand, such as what starts a cluster.

    A folder is left out where it defines an object that is applied already, or that another such folder defines: then
    they are alternatives, and nothing says which counts. So are two files of a folder that define one object.
    """
    if not unread:
        return []
    applied = {
        _identity(d) for file in reached if file in renderer.known for d in renderer.documents(file) if d.is_manifest
    }
    units: dict[str, list[str]] = defaultdict(list)
    for file in unread:
        aside = is_template(file) or is_in_hidden_folder(file) or renderer.is_beside_a_chart(file)
        if file in renderer.known and not aside:
            units[renderer.top(file, ".") or os.path.dirname(file) or "."].append(file)  # noqa: PTH120
    objects: dict[str, set[tuple[str, str, str]]] = {}
    for folder, files in units.items():
        inside = {file: {_identity(d) for d in renderer.documents(file) if d.is_manifest} for file in files}
        if not renderer.is_kustomized(folder):
            defined = Counter(identity for found in inside.values() for identity in found)
            inside = {file: found for file, found in inside.items() if all(defined[each] == 1 for each in found)}
        units[folder] = list(inside)
        objects[folder] = set().union(*inside.values())
    owners: dict[tuple[str, str, str], int] = defaultdict(int)
    for found in objects.values():
        for identity in found:
            owners[identity] += 1
    return [
        (folder, sorted(files))
        for folder, files in sorted(units.items())
        if files and not (objects[folder] & applied) and all(owners[identity] == 1 for identity in objects[folder])
    ]


def _without_appliers(renderer: Renderer) -> list[ClusterEntry]:
    """Where nothing applies anything: overlays, each an environment; else folders that can be one cluster."""
    overlays = [f for f in renderer.kustomized() if os.path.basename(os.path.dirname(f)) in OVERLAYS]  # noqa: PTH119, PTH120
    overlays = [f for f in overlays if not is_not_applied(f"{f}/x") and not is_archived(f"{f}/x")]
    if overlays:
        by_name: dict[str, list[str]] = defaultdict(list)
        for folder in overlays:
            by_name[os.path.basename(folder)].append(folder)  # noqa: PTH119
        found = []
        for name, folders in sorted(by_name.items()):
            cluster = ClusterEntry(name, folders)
            for folder in folders:
                cluster.add(folder, OVERLAY)
            found.append(cluster)
        return found
    return _whole(renderer)


def _whole(renderer: Renderer) -> list[ClusterEntry]:
    """Folders that define the same objects are alternatives, so clusters of their own; the rest is one cluster."""
    objects: dict[str, set[tuple[str, str, str]]] = defaultdict(set)
    for file in renderer.files:
        if is_shown(file) or renderer.is_beside_a_chart(file):
            continue
        folder = os.path.dirname(file) or "."  # noqa: PTH120
        top = renderer.top(file, ".")
        for document in renderer.documents(file):
            if _is_object(document):
                objects[top or folder].add(_identity(document))
            elif document.is_manifest:
                objects.setdefault(top or folder, set())
        if file in renderer.broken:
            objects.setdefault(top or folder, set())
    if not objects:
        return []
    owners: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for folder, found in objects.items():
        for identity in found:
            owners[identity].add(folder)
    rivals: dict[str, set[str]] = defaultdict(set)
    for folders in owners.values():
        for folder in folders if len(folders) > 1 else ():
            rivals[folder] |= folders - {folder}
    together = ClusterEntry(ONE_CLUSTER)
    if not rivals:
        together.folders = ["."]
        together.add(".", GUESS)
        return [together]
    clusters = []
    for folder in sorted(objects):
        cluster = ClusterEntry(folder) if folder in rivals else together
        if renderer.is_kustomized(folder):
            cluster.folders.append(folder)
        else:
            cluster.files += [f for f in renderer.directly_in(folder) if renderer.top(f, ".") is None]
        if cluster is not together:
            cluster.add(folder, ALTERNATIVE)
            clusters.append(cluster)
    if together.folders or together.files:
        together.add(".", GUESS)
        clusters.append(together)
    return clusters


def _identity(document: Document) -> tuple[str, str, str]:
    metadata = mapping(document.content.get("metadata"))
    return str(document.content.get("kind")), str(metadata.get("namespace")), str(metadata.get("name"))
