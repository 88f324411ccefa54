"""Every resource that the program registers, under Pulumi's mocks: `python registered_program.py REPOSITORY`.

It runs `__main__.py` of the folder it is started in at phase 4, without a cluster, and prints URNs with inputs
as JSON. It imports nothing of the project, so that it can also run a program of an older commit.
"""

from __future__ import annotations

import asyncio
import json
import runpy
import sys
import tempfile
from pathlib import Path
from typing import Any

import pulumi
from pulumi.runtime.mocks import MockMonitor
from pulumi.runtime.stack import run_pulumi_func

ENGINE_IMAGE = f"engine@sha256:{'0' * 64}"
CONFIG = {
    "phase": "4",
    "cluster": "dev",
    "repositoryUrl": "https://git.example/fleet.git",
    "cataloguePath": "secret-authority/dev/catalogue.yaml",
    "bootstrapPaths": '["clusters/dev/bootstrap"]',
    "namespacesPath": "clusters/dev/namespaces",
    "engineImage": ENGINE_IMAGE,
    "demo": "true",
    "vault": '{"storageClass": "local"}',
}


class _Monitor(MockMonitor):
    """Keeps what a preview would compare: URN, older URNs, inputs, and the options that matter to it."""

    def __init__(self, mocks: pulumi.runtime.Mocks) -> None:
        super().__init__(mocks)
        self.found: dict[str, dict[str, Any]] = {}

    def RegisterResource(self, request: Any) -> Any:
        answer = super().RegisterResource(request)  # type: ignore[no-untyped-call]
        aliases = [self._alias(request, alias.spec) for alias in request.aliases]
        self.found[answer.urn] = {
            "aliases": sorted([*aliases, *request.aliasURNs]),
            "before_create": list(request.hooks.before_create),
            "options": {
                "protect": request.protect,
                "retain": request.retainOnDelete,
                "ignore": list(request.ignoreChanges),
                "deleteBeforeReplace": request.deleteBeforeReplace,
                "deletedWith": request.deletedWith,
            },
        }
        return answer

    def _alias(self, request: Any, spec: Any) -> str:
        return self.make_urn(request.parent, spec.type or request.type, spec.name or request.name)  # type: ignore[no-untyped-call, no-any-return]


class _Mocks(pulumi.runtime.Mocks):
    def __init__(self) -> None:
        self.inputs: dict[tuple[str, str], dict[str, Any]] = {}

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        self.inputs[args.typ, args.name] = args.inputs
        if args.typ == "pulumi:pulumi:StackReference":
            return args.name, {"outputs": {}, "secretOutputNames": []}
        if args.name.endswith("-vault-ca"):
            return args.resource_id, {"data": {"ca.crt": "-----BEGIN CERTIFICATE-----"}}
        return args.resource_id or f"{args.name}-id", args.inputs

    def call(self, args: pulumi.runtime.MockCallArgs) -> dict[str, Any]:
        raise AssertionError(f"no function call is wanted, not {args.token}")


class _Callbacks:
    """The engine's side of hooks and transformations, which the mocks lack."""

    def register_resource_hook(self, hook: object) -> None: ...

    register_error_hook = register_resource_hook


def registered(program: Path, repository: Path, config: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Run the program once in this process. Call it in a process of its own: Pulumi keeps global state."""
    mocks = _Mocks()
    monitor = _Monitor(mocks)
    pulumi.runtime.set_mocks(mocks, project="secret-authority", stack="recorded", preview=False, monitor=monitor)
    pulumi.runtime.settings.SETTINGS.callbacks = _Callbacks()  # type: ignore[attr-defined, assignment]
    with tempfile.TemporaryDirectory() as home:
        kubeconfig, ca = Path(home) / "kubeconfig", Path(home) / "git-ca.crt"
        kubeconfig.touch()
        ca.write_text("-----BEGIN CERTIFICATE-----")
        places = {"repositoryPath": repository, "kubeconfig": kubeconfig, "repositoryCaFile": ca}
        chosen = {**CONFIG, **{name: str(path) for name, path in places.items()}, **config}
        pulumi.runtime.set_all_config({f"secret-authority:{name}": value for name, value in chosen.items()})
        run = run_pulumi_func(lambda: runpy.run_path(str(program / "__main__.py")) and None)
        asyncio.get_event_loop_policy().get_event_loop().run_until_complete(run)
        for urn, entry in monitor.found.items():
            kind, name = urn.split("::")[2].split("$")[-1], urn.split("::", 3)[3]
            entry["inputs"] = mocks.inputs.get((kind, name), {})
        text = json.dumps(monitor.found, default=str).replace(str(kubeconfig), "<kubeconfig>")
    return json.loads(text)  # type: ignore[no-any-return]


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    print(json.dumps(registered(Path.cwd(), Path(sys.argv[1]), json.loads(sys.argv[2]) if sys.argv[2:] else {})))
