"""Reads a Pulumi state: a `pulumi stack export`, or the checkpoint file of a self-managed backend.

Secrets in it are ciphertext; they become `HIDDEN`. Nothing is decrypted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from policy.inventory.resource import HIDDEN, Origin, Position, Provider, Resource
from policy.readers.lists import expand_lists
from secret_authority.core.errors import InvalidInputError, Problem

_SIGNATURE = "4dabf18193072939515e22adb298388d"


def read_state_file(path: Path, shown: str) -> list[Resource]:
    """The resources of a state file. Raises `InvalidInputError` when it is not a Pulumi state."""
    try:
        document = json.loads(path.read_text())
    except (OSError, UnicodeDecodeError):
        raise InvalidInputError([Problem(shown, "", "cannot be read", "check the path")]) from None
    except json.JSONDecodeError as error:
        problem = Problem(shown, f"line {error.lineno}", "is not valid JSON", "write it with `pulumi stack export`")
        raise InvalidInputError([problem]) from None
    return read_state(document, shown)


def read_state(document: Any, shown: str) -> list[Resource]:
    """The resources of a parsed state. Raises `InvalidInputError`."""
    inside = document if isinstance(document, Mapping) else {}
    deployment = inside.get("deployment")
    if deployment is None and isinstance(inside.get("checkpoint"), Mapping):
        # A stack that was never deployed has a checkpoint without `latest`.
        deployment = inside["checkpoint"].get("latest") or {}
    if not isinstance(deployment, Mapping):
        fix = "write it with `pulumi stack export --file`"
        raise InvalidInputError([Problem(shown, "deployment", "is missing: this is no Pulumi state", fix)])
    # What is being deleted makes no claim any more. What is external was only read (`Secret.get`): another system
    # makes it, so it is not of this stack, as in a preview.
    entries = [
        entry
        for entry in deployment.get("resources") or []
        if isinstance(entry, Mapping) and not (entry.get("delete") or entry.get("external"))
    ]
    providers = {
        f"{entry['urn']}::{entry.get('id')}": Provider(
            _name(entry["urn"]), entry["urn"], _reveal(entry.get("inputs") or {})
        )
        for entry in entries
        if str(entry.get("type", "")).startswith("pulumi:providers:")
    }
    return expand_lists(_resource(entry, providers) for entry in entries)


def _resource(entry: Mapping[str, Any], providers: Mapping[str, Provider]) -> Resource:
    urn = str(entry["urn"])
    # Outputs as a stack policy sees them. Those of a Kubernetes object are the live object, with keys that others
    # hold, so there the inputs count. A resource that was only imported or is pending has inputs alone.
    outputs, inputs = entry.get("outputs"), entry.get("inputs")
    kubernetes = str(entry.get("type", "")).startswith("kubernetes:")
    values = (inputs or outputs if kubernetes else outputs or inputs) or {}
    return Resource(
        str(entry.get("type", "")),
        _name(urn),
        Position(urn=urn),
        Origin.STACK,
        lambda: _reveal(values),
        parent=entry.get("parent"),
        dependencies=tuple(entry.get("dependencies") or ()),
        property_dependencies={
            key: tuple(urns or ()) for key, urns in (entry.get("propertyDependencies") or {}).items()
        },
        provider=providers.get(str(entry.get("provider", ""))),
    )


def _name(urn: str) -> str:
    return urn.split("::", 3)[-1]


def _reveal(value: Any) -> Any:
    if isinstance(value, Mapping):
        if _SIGNATURE in value:
            return HIDDEN
        return {key: _reveal(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_reveal(inner) for inner in value]
    return value
