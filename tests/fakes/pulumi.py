"""Pulumi's engine in memory: it records what a program registers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pulumi

from components.settings.git import GitSettings
from components.settings.network import NetworkSettings
from components.settings.stack import HOME, Settings
from secret_authority.core.phases import Phase
from secret_authority.repository.layout import Layout
from tests.support.fleets import Fleet


class Recorder(pulumi.runtime.Mocks):
    """Keeps the inputs of every registered resource by kind and Pulumi name."""

    def __init__(self) -> None:
        self.inputs: dict[tuple[str, str], dict[str, Any]] = {}

    def kind(self, kind: str) -> dict[str, dict[str, Any]]:
        """The resources of a kind ("Role"), by Pulumi name."""
        return {name: inputs for (found, name), inputs in self.inputs.items() if found == kind}

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        self.inputs[args.typ.split(":")[-1], args.name] = args.inputs
        return args.resource_id or f"{args.name}-id", args.inputs

    def call(self, args: pulumi.runtime.MockCallArgs) -> dict[str, Any]:
        raise AssertionError(f"no function call is wanted, not {args.token}")


class Callbacks:
    """Stands in for the engine's side of hooks, which Pulumi's mocks lack: keeps them by name."""

    def __init__(self) -> None:
        self.hooks: dict[str, Any] = {}

    def register_resource_hook(self, hook: pulumi.ResourceHook) -> None:
        self.hooks[hook.name] = hook

    register_error_hook = register_resource_hook


def settings(fleet: Fleet, *, root: bool = True, phase: Phase = Phase.BOOTSTRAP) -> Settings:
    return Settings(
        phase=phase,
        layout=Layout.of("dev"),
        repository=fleet.repository,
        network=NetworkSettings(),
        git=GitSettings("https://git.example/fleet.git", ca="-----BEGIN CERTIFICATE-----"),
        namespaces_path="clusters/dev/namespaces",
        kubeconfig=Path("/nonexistent"),
        context=None,
        manifests=HOME / ".tools/manifests",
        engine_image="ghcr.io/secret-authority/engine:test",
        ready_timeout_seconds=300,
        root_identity=fleet.root_file if root else None,
    )
