"""What Pulumi's mocks keep to themselves: on which resources a registration waits, its older names, and
the inputs whose changes are ignored."""

from __future__ import annotations

from typing import Any

import pulumi
from pulumi.runtime.mocks import MockMonitor


class Registrations(MockMonitor):
    """A mock monitor that keeps dependencies, aliases and ignored inputs of each resource by (kind, Pulumi name)."""

    def __init__(self, mocks: pulumi.runtime.Mocks) -> None:
        super().__init__(mocks)
        self.dependencies: dict[tuple[str, str], set[tuple[str, str]]] = {}
        self.aliases: dict[tuple[str, str], set[str]] = {}
        self.ignored: dict[tuple[str, str], list[str]] = {}
        self.protected: set[tuple[str, str]] = set()

    def RegisterResource(self, request: Any) -> Any:
        here = request.type.split(":")[-1], request.name
        self.dependencies[here] = {_kind_and_name(urn) for urn in request.dependencies}
        self.aliases[here] = {alias.spec.name for alias in request.aliases} | {
            _kind_and_name(urn)[1] for urn in request.aliasURNs
        }
        if request.protect:
            self.protected.add(here)
        self.ignored[here] = list(request.ignoreChanges)
        return super().RegisterResource(request)  # type: ignore[no-untyped-call]


def _kind_and_name(urn: str) -> tuple[str, str]:
    _, _, kind, name = urn.removeprefix("urn:pulumi:").split("::")
    return kind.split("$")[-1].split(":")[-1], name
