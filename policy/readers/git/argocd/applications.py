"""What Argo CD Applications and ApplicationSets apply from this tree.

Argo CD, Application specification: spec.source or spec.sources with `path` are folders of a Git repository, built
with kustomize, rendered with helm, or read file by file (below the folder only with directory.recurse). A source with
`chart` is a chart of a Helm repository. spec.destination names another cluster by server or name, and the namespace
of what has none of its own. An ApplicationSet makes an Application for each set of parameters of its generators.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from policy.inventory.resource import dig, items, mapping
from policy.readers.git.argocd.go_expression import UnsupportedError, evaluate
from policy.readers.git.files.checkout import repository_of as _repository_of
from policy.readers.git.files.hidden import hidden_folder
from policy.readers.git.files.manifests import Document, parse, read_text
from policy.readers.git.kustomize.build import Build
from policy.readers.git.kustomize.renderer import Renderer
from policy.readers.git.kustomize.transform import CLUSTER_SCOPED, Change
from policy.settings import globbed
from secret_authority.core.claims.locations import Part, Unknown

GROUP = "argoproj.io"
_HERE = frozenset({"", "None", "in-cluster", "https://kubernetes.default.svc"})
_EXPRESSION = re.compile(r"\{\{\s*(.*?)\s*\}\}")
# A call or a pipe, and not the index of an older ApplicationSet.
_CALL = re.compile(r"^[a-z]\w*\s+[(.\"`\w]|\|")
_INDEX = re.compile(r"^index\s+\.?([\w.]+)\s+(\d+)$")


@dataclass(frozen=True)
class Source:
    """One folder that an Application applies. `cluster` is None for the cluster of Argo CD itself."""

    label: str
    path: str
    url: str
    cluster: str | None
    namespace: Part | None
    change: Change
    recurse: bool
    helm: Mapping[str, Any]
    chart: str | None = None
    include: str = ""
    exclude: str = ""

    def build(self, renderer: Renderer) -> Build:
        """What the Application applies."""
        if renderer.is_kustomized(self.path):
            found = renderer.render(self.path, self.change)
        else:
            files = self.files(renderer)
            documents = [document for file in files for document in renderer.documents(file) if document.is_manifest]
            found = Build(tuple(documents), frozenset(files), frozenset({self.path}))
        return replace(found, documents=tuple(self.placed(document) for document in found.documents))

    def is_chart(self, renderer: Renderer) -> bool:
        return self.path in renderer.charts

    def files(self, renderer: Renderer) -> list[str]:
        """The files of a folder without a kustomization."""
        found = renderer.below(self.path) if self.recurse else renderer.directly_in(self.path)
        inside = [(file, os.path.relpath(file, self.path)) for file in found]
        if self.include:
            inside = [(file, name) for file, name in inside if _globbed(name, self.include)]
        return [file for file, name in inside if not (self.exclude and _globbed(name, self.exclude))]

    def placed(self, document: Document) -> Document:
        """A document in the namespace of the destination, where it has none."""
        metadata = mapping(document.content.get("metadata"))
        if metadata.get("namespace") or not self.namespace or document.content.get("kind") in CLUSTER_SCOPED:
            return document
        return replace(document, content={**document.content, "metadata": {**metadata, "namespace": self.namespace}})


def is_application(document: Document) -> bool:
    return _is(document, "Application")


def is_application_set(document: Document) -> bool:
    return _is(document, "ApplicationSet")


def sources_of(document: Document) -> Iterator[Source]:
    """The folders of Git repositories, and the charts, that an Application names."""
    spec = mapping(document.content.get("spec"))
    server, name = str(dig(spec, "destination", "server")), str(dig(spec, "destination", "name"))
    namespace = dig(spec, "destination", "namespace")
    for source in [spec.get("source"), *items(spec.get("sources"))]:
        path, chart = dig(source, "path"), dig(source, "chart")
        if not isinstance(source, Mapping) or not (isinstance(path, str) or isinstance(chart, str)):
            continue
        directory = mapping(source.get("directory"))
        yield Source(
            label(document),
            os.path.normpath(str(path or "").lstrip("/") or "."),
            str(source.get("repoURL") or ""),
            next((where for where in (server.rstrip("/"), name) if where not in _HERE), None),
            namespace if isinstance(namespace, str | Unknown) else None,
            _change(source.get("kustomize")),
            directory.get("recurse") is True,
            mapping(source.get("helm")),
            chart if isinstance(chart, str) and chart else None,
            _text(directory.get("include")),
            _text(directory.get("exclude")),
        )


def own_repository(sources: Iterable[Source], renderer: Renderer, remotes: frozenset[str]) -> frozenset[str]:
    """The repositories by which Applications mean this tree; empty where nothing says it."""
    named: Counter[str] = Counter()
    for source in sources:
        repository = _repository_of(source.url)
        if repository and source.chart is None:
            named[repository] += int(source.path != "." and renderer.is_folder(source.path))
    if same := remotes & set(named):
        return frozenset(same)
    most = max(named.values(), default=0)
    return frozenset(sorted(name for name, count in named.items() if count == most)[:1]) if most else frozenset()


def label(document: Document) -> str:
    """Kind, namespace and name, for messages."""
    metadata = mapping(document.content.get("metadata"))
    return f"{document.content.get('kind')} {metadata.get('namespace', 'default')}/{metadata.get('name')}"


# -- ApplicationSets --------------------------------------------------------------------------------------


def expand(document: Document, renderer: Renderer, own: frozenset[str]) -> tuple[list[Document], list[str]]:
    """The Applications that an ApplicationSet makes, and what of it cannot be expanded."""
    spec = mapping(document.content.get("spec"))
    reasons: list[str] = []
    found: list[Document] = []
    for parameters in _generate(items(spec.get("generators")), renderer, own, reasons):
        template = _merged(mapping(spec.get("template")), mapping(parameters.pop(_TEMPLATE, None)))
        content = _filled(template, parameters)
        metadata = {"namespace": dig(document.content, "metadata", "namespace") or "argocd"}
        metadata = {**metadata, **mapping(content.get("metadata"))}
        application = {**content, "apiVersion": f"{GROUP}/v1alpha1", "kind": "Application", "metadata": metadata}
        if _holds_unknown(dig(application, "spec", "source", "path")):
            reasons.append("a parameter of the path is not known")
            continue
        found.append(replace(document, content=application))
    if spec.get("templatePatch"):
        reasons.append("templatePatch is not applied")
    return found, list(dict.fromkeys(reasons))


_TEMPLATE = "\0template"


def _generate(
    generators: Iterable[Any], renderer: Renderer, own: frozenset[str], reasons: list[str]
) -> Iterator[dict[str, Any]]:
    for generator in generators:
        for kind, given in mapping(generator).items():
            if kind in ("selector", "template"):
                continue
            template = mapping(given).get("template")
            for parameters in _parameters(kind, mapping(given), renderer, own, reasons):
                if template:
                    parameters[_TEMPLATE] = template
                yield parameters


def _parameters(
    kind: str, given: Mapping[str, Any], renderer: Renderer, own: frozenset[str], reasons: list[str]
) -> Iterator[dict[str, Any]]:
    values = {"values": mapping(given.get("values"))} if given.get("values") else {}
    if kind == "list":
        for element in items(given.get("elements")):
            yield {**mapping(element)}
        if given.get("elementsYaml"):
            reasons.append("elementsYaml of its list generator is not read")
    elif kind == "git":
        repository = _repository_of(str(given.get("repoURL")))
        if repository and own and repository not in own:
            reasons.append("its git generator reads another repository")
            return
        for folder in _directories(items(given.get("directories")), renderer):
            yield {"path": _path(folder), **values}
        for file in _matching_files(items(given.get("files")), renderer):
            documents, _ = parse(read_text(renderer.root, file)[0], file)
            for document in documents:
                yield {**document.content, "path": _path(os.path.dirname(file) or "."), **values}  # noqa: PTH120
    elif kind == "matrix":
        first, *rest = [*items(given.get("generators")), None, None]
        for outer in _generate([first], renderer, own, reasons) if first else ():
            inner = _filled(rest[0], outer, keep=True)
            for parameters in _generate([inner], renderer, own, reasons):
                yield {**outer, **parameters}
    elif kind == "merge":
        yield from _merge(given, renderer, own, reasons)
    elif kind == "clusters":
        # Which clusters Argo CD knows is not in the tree: they count as one that nothing else names.
        unknown = Unknown("the clusters of an ApplicationSet", shape="*", same=f"clusters {given.get('selector')}")
        yield {"name": unknown, "nameNormalized": unknown, "server": _any_cluster(given), **values}
    else:
        reasons.append(f"its {kind} generator is not expanded")


def _any_cluster(given: Mapping[str, Any]) -> str:
    """A name for the clusters that a generator selects: what is for the same ones meets there."""
    selector = mapping(given.get("selector"))
    listed = [f"{key}={value}" for key, value in sorted(mapping(selector.get("matchLabels")).items())]
    listed += [str(dig(e, "key")) for e in items(selector.get("matchExpressions"))]
    return f"the clusters with {', '.join(listed)}" if listed else "all clusters of Argo CD"


def _merge(
    given: Mapping[str, Any], renderer: Renderer, own: frozenset[str], reasons: list[str]
) -> Iterator[dict[str, Any]]:
    """The sets of the first generator, changed by those of the others that have the same merge keys.

    Where a key of the first is not known, the clusters of Argo CD, each of the others is a set of its own.
    """
    first, *others = [list(_generate([g], renderer, own, reasons)) for g in items(given.get("generators"))] or [[]]
    keys = [str(key) for key in items(given.get("mergeKeys"))]
    changes = [change for listed in others for change in listed]
    for base in first:
        open_ = any(isinstance(base.get(key), Unknown) for key in keys)
        fitting = [c for c in changes if all(c.get(key) == base.get(key) for key in keys)]
        if not open_:
            merged = base
            for change in fitting:
                merged = _over(merged, change)
            yield merged
            continue
        yield base
        for change in changes:
            yield _over(base, change)


def _over(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters with others over them; a key with dots goes into the mapping that it names."""
    found = dict(base)
    for key, value in change.items():
        head, dot, rest = key.partition(".")
        found[head] = {**mapping(found.get(head)), rest: value} if dot else value
    for name in ("nameNormalized", "name"):
        if isinstance(base.get(name), Unknown) and isinstance(change.get(name), str):
            # One cluster is singled out.
            found["server"] = f"cluster {change[name]}"
            break
    return found


def _directories(listed: Iterable[Any], renderer: Renderer) -> list[str]:
    wanted = [str(dig(e, "path")) for e in listed if not dig(e, "exclude")]
    unwanted = [str(dig(e, "path")) for e in listed if dig(e, "exclude")]
    found = [
        f for f in sorted(renderer.folders | set(renderer.charts)) if f != "." and any(_globbed(f, p) for p in wanted)
    ]
    # Argo CD passes over hidden folders there.
    found = [folder for folder in found if hidden_folder(folder) is None]
    return [folder for folder in found if not any(_globbed(folder, pattern) for pattern in unwanted)]


def _matching_files(listed: Iterable[Any], renderer: Renderer) -> list[str]:
    patterns = [str(dig(e, "path")) for e in listed if not dig(e, "exclude")]
    return [file for file in renderer.files if any(_globbed(file, pattern) for pattern in patterns)]


def _globbed(path: str, pattern: str) -> bool:
    """Whether a path fits a pattern: * stays in one folder, ** does not, {a,b} is a choice."""
    choice = re.search(r"\{([^{}]*)\}", pattern)
    if choice:
        return any(
            _globbed(path, pattern[: choice.start()] + option + pattern[choice.end() :])
            for option in choice[1].split(",")
        )
    return globbed(path, pattern)


def _path(folder: str) -> dict[str, Any]:
    parts = folder.split("/")
    base = parts[-1]
    normalized = re.sub(r"[^a-z0-9.-]", "-", base.lower())
    return {"path": folder, "basename": base, "basenameNormalized": normalized, "segments": parts}


def _merged(template: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(template)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(found.get(key), Mapping)
        found[key] = _merged(found[key], value) if both else value
    return found


def _filled(value: Any, parameters: Mapping[str, Any], keep: bool = False) -> Any:
    """Templates with their parameters: {{path}} or {{ .path.path }}. `keep` leaves what has none as it is."""
    if isinstance(value, Mapping):
        return {key: _filled(inner, parameters, keep) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, parameters, keep) for inner in value]
    if not isinstance(value, str) or "{{" not in value:
        return value
    unknown: list[Unknown] = []

    def one(match: re.Match[str]) -> str:
        found = _parameter(match[1], parameters)
        if isinstance(found, Unknown):
            unknown.append(found)
            return match[0] if keep else "\0"
        return found

    text = _EXPRESSION.sub(one, value)
    if not unknown or keep:
        return text
    same = unknown[0].same
    return Unknown(
        unknown[0].field, shape=text.replace("\0", "*"), same=text.replace("\0", f"<{same}>") if same else None
    )


def _parameter(expression: str, parameters: Mapping[str, Any]) -> str | Unknown:
    missing = Unknown(f"parameter {expression} of an ApplicationSet", shape="*")
    if _CALL.search(expression):
        try:
            value = evaluate(expression, parameters)
        except (UnsupportedError, TypeError):
            return missing
        return value if isinstance(value, Unknown | str) else str(value) if isinstance(value, int | float) else missing
    indexed = _INDEX.match(expression)
    brackets = re.match(r"^([\w.]+)\[(\d+)\]$", expression)
    name, at = (indexed or brackets)[1] if indexed or brackets else expression, indexed or brackets  # type: ignore[index]
    found: Any = parameters
    steps = name.strip().lstrip(".").split(".")
    if steps == ["path"] and not expression.startswith("."):
        steps = ["path", "path"]
    if steps[0] not in parameters and len(steps) > 1 and name.lstrip(".") in parameters:
        steps = [name.lstrip(".")]
    for step in steps:
        found = mapping(found).get(step)
    if at:
        segments = items(found) or items(dig(parameters, "path", "segments"))
        found = segments[int(at[2])] if int(at[2]) < len(segments) else None
    if isinstance(found, Mapping) and "path" in found:
        found = found["path"]
    if isinstance(found, Unknown):
        return found
    return str(found) if isinstance(found, str | int | float) else missing


def _holds_unknown(value: Any) -> bool:
    return isinstance(value, Unknown)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _change(options: Any) -> Change:
    namespace = dig(options, "namespace")
    return Change(
        namespace=namespace if isinstance(namespace, str) else None,
        prefix=_text(dig(options, "namePrefix")),
        suffix=_text(dig(options, "nameSuffix")),
        patches=tuple(items(dig(options, "patches"))),
        components=tuple(str(component) for component in items(dig(options, "components"))),
    )


def _is(document: Document, kind: str) -> bool:
    api = document.content.get("apiVersion")
    return isinstance(api, str) and api.startswith(f"{GROUP}/") and document.content.get("kind") == kind
