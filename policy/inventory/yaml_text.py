"""What is in YAML that is carried as text, such as a values file in a ConfigMap."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_STRING = "tag:yaml.org,2002:str"


def strings(text: str) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """(path, text) of every string in the documents of a text; of none when it is no YAML.

    Nodes are walked, not the data that they stand for: each one once, so aliases can neither multiply nor go round.
    """
    try:
        documents = list(yaml.compose_all(text, Loader=_LOADER))
    except yaml.YAMLError:
        return
    for document in documents:
        yield from _below(document, (), set())


def _below(
    node: yaml.Node | None, path: tuple[str | int, ...], seen: set[int]
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for key, inner in node.value:
            yield from _below(inner, (*path, str(key.value)), seen)
    elif isinstance(node, yaml.SequenceNode):
        for index, inner in enumerate(node.value):
            yield from _below(inner, (*path, index), seen)
    elif node.tag == _STRING:
        yield path, node.value
