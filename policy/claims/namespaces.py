"""Which namespaces a Cluster... resource of External Secrets reaches.

Namespaces that stand in the inventory are judged by their labels. Of others only the name is known: then the
claim is kept with a doubt, so that the rules fail closed and say which Namespace to make known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from policy.inventory.inventory import Inventory
from policy.inventory.resource import Resource, dig, items, mapping, opaque
from secret_authority.core.claims.locations import Part, Unknown

_NAME_LABEL = "kubernetes.io/metadata.name"


@dataclass(frozen=True)
class Spread:
    """One namespace that is reached; with a `doubt` when its labels are not known."""

    namespace: Part
    doubt: Unknown | None = None


def selected_namespaces(inventory: Inventory, resource: Resource) -> Iterator[Spread]:
    """The namespaces that spec.namespaces, namespaceSelector and namespaceSelectors reach."""
    listed = resource.get("spec", "namespaces")
    for name in items(listed):
        yield Spread(name if isinstance(name, str | Unknown) else Unknown(f"spec.namespaces of {resource.label}"))
    selectors = [*items(resource.get("spec", "namespaceSelectors")), resource.get("spec", "namespaceSelector")]
    selectors = [selector for selector in selectors if selector is not None]
    if opaque(listed) or any(opaque(s) for s in selectors) or opaque(resource.get("spec", "namespaceSelectors")):
        yield Spread(Unknown(f"spec.namespaceSelectors of {resource.label}"))
        return
    yield from by_labels(inventory, resource, selectors)


def by_labels(inventory: Inventory, resource: Resource, selectors: Sequence[Any]) -> Iterator[Spread]:
    """The namespaces in use that any of the label selectors takes."""
    cluster = str(inventory.identities.cluster(resource))
    for namespace in inventory.namespaces_in_use:
        labels = inventory.namespaces.get((cluster, namespace))
        answers = [matches(selector, labels, namespace) for selector in selectors]
        if True in answers:
            yield Spread(namespace)
        elif None in answers:
            yield Spread(namespace, Unknown(f"the labels of Namespace {namespace}, selected by {resource.label}"))


_REQUIREMENT = re.compile(
    r"\s*(?:(?P<key>[\w./-]+)\s*(?:(?P<equals>==?|!=)\s*(?P<value>[\w.-]*)|(?P<in>in|notin)\s*\((?P<values>[^()]*)\))?"
    r"|!\s*(?P<absent>[\w./-]+))\s*(?:,|$)"
)


def parsed_selector(text: str) -> Mapping[str, Any] | None:
    """A label selector written as kubectl takes it (a=b,c!=d,e in (x,y),!f,g); None for what is none."""
    found: list[Mapping[str, Any]] = []
    at = 0
    while at < len(text):
        one = _REQUIREMENT.match(text, at)
        if one is None or one.end() == at:
            return None
        at = one.end()
        if one["absent"]:
            found.append({"key": one["absent"], "operator": "DoesNotExist"})
        elif one["equals"]:
            operator = "NotIn" if one["equals"] == "!=" else "In"
            found.append({"key": one["key"], "operator": operator, "values": [one["value"]]})
        elif one["in"]:
            values = [value.strip() for value in one["values"].split(",")]
            found.append({"key": one["key"], "operator": "In" if one["in"] == "in" else "NotIn", "values": values})
        else:
            found.append({"key": one["key"], "operator": "Exists"})
    return {"matchExpressions": found}


def matches(selector: Any, labels: Mapping[str, object] | None, name: str) -> bool | None:
    """Whether a label selector takes a namespace; None when its labels would have to be known."""
    known = labels is not None
    have: Mapping[str, object] = labels if labels is not None else {_NAME_LABEL: name}
    answers: list[bool | None] = []
    for key, wanted in mapping(dig(selector, "matchLabels")).items():
        answers.append(_compare(have.get(key), "In", [wanted]) if known or key == _NAME_LABEL else None)
    for expression in items(dig(selector, "matchExpressions")):
        key = str(dig(expression, "key"))
        if not known and key != _NAME_LABEL:
            answers.append(None)
            continue
        answers.append(_compare(have.get(key), str(dig(expression, "operator")), items(dig(expression, "values"))))
    if False in answers:
        return False
    return None if None in answers else True


def _compare(value: object, operator: str, wanted: Any) -> bool | None:
    if isinstance(value, Unknown) or any(isinstance(w, Unknown) for w in wanted):
        return None
    match operator:
        case "In":
            return value in wanted
        case "NotIn":
            return value not in wanted
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    return None
