"""The Applications that an ApplicationSet makes: one for each set of parameters that its generators find.

Argo CD, ApplicationSet specification: what list and git generators find is in the tree, and so is what matrix and merge
make of it. Which clusters there are is not: they count as one. What other generators ask is not in any tree.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from policy.inventory.resource import dig, items, mapping
from policy.readers.git.argocd.applications import GROUP, globbed_path, text_of
from policy.readers.git.argocd.go_expression import UnsupportedError, evaluate
from policy.readers.git.argocd.go_template import render, with_unknown
from policy.readers.git.files.checkout import repository_of as _repository_of
from policy.readers.git.files.hidden import hidden_folder
from policy.readers.git.files.manifests import Document, parse, read_text
from policy.readers.git.kustomize.renderer import Renderer
from secret_authority.core.claims.locations import Unknown

_EXPRESSION = re.compile(r"\{\{(?:-(?=\s))?\s*(.*?)\s*(?:(?<=\s)-)?\}\}")
_STATEMENT = re.compile(r"\{\{-?\s*(if|range|with|\$\w+\s*:=)\b")
# A call or a pipe, and not the index of an older ApplicationSet.
_CALL = re.compile(r"^[a-z]\w*\s+[(.\"`\w]|\|")
_INDEX = re.compile(r"^index\s+\.?([\w.]+)\s+(\d+)$")


def expand(document: Document, renderer: Renderer, own: frozenset[str]) -> tuple[list[Document], list[str]]:
    """The Applications that an ApplicationSet makes, and what of it cannot be expanded."""
    spec = mapping(document.content.get("spec"))
    reasons: list[str] = []
    found: list[Document] = []
    for parameters in _generate(items(spec.get("generators")), renderer, own, reasons):
        template = _merged(mapping(spec.get("template")), mapping(parameters.pop(_TEMPLATE, None)))
        content = _filled(template, parameters)
        try:
            content = _patched(content, spec.get("templatePatch"), parameters, document.file)
        except UnsupportedError:
            reasons.append("templatePatch cannot be evaluated here")
            if _DECIDES.search(text_of(spec.get("templatePatch"))):
                # What is applied, and where, depends on it.
                continue
        metadata = {"namespace": dig(document.content, "metadata", "namespace") or "argocd"}
        metadata = {**metadata, **mapping(content.get("metadata"))}
        application = {**content, "apiVersion": f"{GROUP}/v1alpha1", "kind": "Application", "metadata": metadata}
        if _holds_unknown(dig(application, "spec", "source", "path")):
            reasons.append("a parameter of the path is not known")
            continue
        found.append(replace(document, content=application))
    return found, list(dict.fromkeys(reasons))


def _patched(content: Any, patch: Any, parameters: Mapping[str, Any], file: str) -> Any:
    """An Application after templatePatch. Raises `UnsupportedError` when it cannot be evaluated here."""
    if not isinstance(patch, str) or not patch.strip():
        return content
    text, unknown = render(patch, parameters)
    documents, problems = parse(text, file)
    if problems or (not documents and text.strip()):
        raise UnsupportedError("not YAML")
    for document in documents:
        content = _over_template(content, with_unknown(document.content, unknown))
    return content


def _over_template(content: Any, patch: Mapping[str, Any]) -> dict[str, Any]:
    """A strategic merge patch of an Application, whose lists have no merge keys; null removes a field."""
    found = dict(mapping(content))
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = _over_template(found.get(key), value) if isinstance(value, Mapping) else value
    return found


_TEMPLATE = "\0template"
# Fields of an Application that decide what is applied, and where.
_DECIDES = re.compile(r"^\s*-?\s*(sources?|path|chart|repoURL|destination|namespace|name|server|kustomize|helm):", re.M)


def _generate(
    generators: Iterable[Any], renderer: Renderer, own: frozenset[str], reasons: list[str]
) -> Iterator[dict[str, Any]]:
    for generator in generators:
        for kind, given in mapping(generator).items():
            if kind in ("selector", "template"):
                continue
            template = mapping(given).get("template")
            for parameters in _parameters(kind, mapping(given), renderer, own, reasons):
                if not _selects(dig(generator, "selector"), parameters):
                    continue
                if template:
                    parameters[_TEMPLATE] = template
                yield parameters


def _selects(selector: Any, parameters: Mapping[str, Any]) -> bool:
    """Whether the selector of a generator lets a set of parameters pass; one that is not known passes."""
    for key, wanted in mapping(mapping(selector).get("matchLabels")).items():
        value = _labelled(parameters, str(key))
        if not isinstance(value, Unknown) and value != wanted:
            return False
    for expression in items(mapping(selector).get("matchExpressions")):
        value = _labelled(parameters, str(dig(expression, "key")))
        operator, values = dig(expression, "operator"), items(dig(expression, "values"))
        if isinstance(value, Unknown):
            continue
        fits = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not (isinstance(operator, str) and fits.get(operator, True)):
            return False
    return True


def _labelled(parameters: Mapping[str, Any], key: str) -> Any:
    """A parameter by its name, or the path of one in others, as text."""
    found: Any = parameters.get(key)
    if key not in parameters:
        found = parameters
        for step in key.split("."):
            found = found if isinstance(found, Unknown) else mapping(found).get(step)
    if isinstance(found, bool):
        return str(found).lower()
    return str(found) if isinstance(found, int | float) else found


def _parameters(
    kind: str, given: Mapping[str, Any], renderer: Renderer, own: frozenset[str], reasons: list[str]
) -> Iterator[dict[str, Any]]:
    if kind == "list":
        for element in [*items(given.get("elements")), *_elements(given.get("elementsYaml"), reasons)]:
            yield {**mapping(element)}
    elif kind == "git":
        repository = _repository_of(str(given.get("repoURL")))
        if repository and own and repository not in own:
            reasons.append("its git generator reads another repository")
            return
        for found in _of_git(given, renderer, reasons):
            yield _with_values(found, given)
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
        yield _with_values({"name": unknown, "nameNormalized": unknown, "server": _any_cluster(given)}, given)
    elif kind in _ASKS:
        reasons.append(f"its {kind} generator asks {_ASKS[kind]}, which the tree does not say")
    else:
        reasons.append(f"its {kind} generator is not expanded")


# What generators ask whose answers are not in any tree.
_ASKS = {
    "scmProvider": "a host of repositories",
    "pullRequest": "for pull requests",
    "clusterDecisionResource": "for objects of a cluster",
    "plugin": "a plugin",
}


def _with_values(found: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters with the `values` of their generator, which may be templates over them."""
    values = mapping(given.get("values"))
    return {**found, "values": _filled(values, found)} if values else {**found}


def _elements(text: Any, reasons: list[str]) -> list[Any]:
    """The elements that a list generator has as the text of a YAML list."""
    if not isinstance(text, str) or not text.strip():
        return []
    documents, _ = parse("elements:\n" + "\n".join(f"  {line}" for line in text.splitlines()), "elements.yaml")
    found = documents[0].content.get("elements") if len(documents) == 1 else None
    if "{{" in text or not isinstance(found, list):
        reasons.append("elementsYaml of its list generator cannot be evaluated here")
        return []
    return found


def _of_git(given: Mapping[str, Any], renderer: Renderer, reasons: list[str]) -> Iterator[dict[str, Any]]:
    """A set of parameters for each folder, and each object of each file, that a git generator finds."""
    prefix = given.get("pathParamPrefix")

    def placed(folder: str) -> dict[str, Any]:
        path = {"path": _path(folder)}
        return {prefix: path, **path} if isinstance(prefix, str) and prefix else path

    for folder in _directories(items(given.get("directories")), renderer):
        yield placed(folder)
    for file in _matching_files(items(given.get("files")), renderer):
        # A file with a list has a set of parameters in each of its elements.
        text, _ = read_text(renderer.root, file)
        documents, problems = parse(text, file)
        found = [document.content for document in documents]
        if not found and not problems and text.strip():
            found = [mapping(element) for element in _elements(text.removeprefix("---"), [])]
        if not found and text.strip():
            reasons.append(f"{file} of its git generator cannot be read as parameters")
        for content in found:
            yield {**content, **placed(os.path.dirname(file) or ".")}  # noqa: PTH120


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
        f
        for f in sorted(renderer.folders | set(renderer.charts))
        if f != "." and any(globbed_path(f, p) for p in wanted)
    ]
    # Argo CD passes over hidden folders there.
    found = [folder for folder in found if hidden_folder(folder) is None]
    return [folder for folder in found if not any(globbed_path(folder, pattern) for pattern in unwanted)]


def _matching_files(listed: Iterable[Any], renderer: Renderer) -> list[str]:
    patterns = [str(dig(e, "path")) for e in listed if not dig(e, "exclude")]
    unwanted = [str(dig(e, "path")) for e in listed if dig(e, "exclude")]
    found = [file for file in renderer.files if any(globbed_path(file, pattern) for pattern in patterns)]
    return [file for file in found if not any(globbed_path(file, pattern) for pattern in unwanted)]


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
    if _STATEMENT.search(value) and not keep:
        try:
            return with_unknown(*render(value, parameters))
        except UnsupportedError:
            return Unknown("a template of an ApplicationSet", shape="*")
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
