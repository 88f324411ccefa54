"""Registers the resources that SCENARIO (a JSON file) lists, with real providers.

A value {"$unknown": true} is an output that no preview knows, {"$secret": x} a Pulumi secret, and {"$from": name}
the output of another resource.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pulumi
import pulumi_random

SCENARIO: list[dict[str, Any]] = json.loads(Path(os.environ["SCENARIO"]).read_text())
made: dict[str, pulumi.Resource] = {}
never_known = pulumi_random.RandomString("never-known", length=12).result


class Component(pulumi.ComponentResource):
    def __init__(self, token: str, name: str, outputs: Any, opts: pulumi.ResourceOptions) -> None:
        super().__init__(token, name, {}, opts)
        self.register_outputs(outputs)


class Any_(pulumi.CustomResource):
    """A resource of any type, with the props as they are written."""


class Provider(pulumi.ProviderResource):
    pass


def value(given: Any) -> Any:
    if isinstance(given, list):
        return [value(inner) for inner in given]
    if not isinstance(given, dict):
        return given
    match list(given.items()):
        case [("$unknown", True)]:
            return never_known
        case [("$secret", inner)]:
            return pulumi.Output.secret(value(inner))
        case [("$from", name)]:
            return made[name].result
    return {key: value(inner) for key, inner in given.items()}


def register(entry: dict[str, Any]) -> pulumi.Resource:
    token, name, props = entry["token"], entry["name"], value(entry["props"])
    opts = pulumi.ResourceOptions(
        depends_on=[made[other] for other in entry["depends_on"]],
        parent=made.get(entry["parent"]),
        provider=made.get(entry["provider"]),
    )
    if token.startswith("pulumi:providers:"):
        return Provider(token.removeprefix("pulumi:providers:"), name, props)
    if token.startswith("secret-authority:"):
        return Component(token, name, props, opts)
    if token == "random:index/randomPassword:RandomPassword":
        return pulumi_random.RandomPassword(name, length=20)
    return Any_(token, name, props, opts)


for entry in SCENARIO:
    made[entry["name"]] = register(entry)
