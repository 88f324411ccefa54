"""Runs the real Pulumi engine with the pack: previews of a scenario, and analysis of a state file."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.policy.stacks import KUBERNETES, UNKNOWN, VAULT, R, SecretMark, state_of
from tests.support.pulumi_home import pulumi_home

REPOSITORY = Path(__file__).parents[3]
PACK = REPOSITORY / "policy"
PROGRAM = Path(__file__).with_name("program")
TOOLS = REPOSITORY / ".tools" / "bin"
_VIOLATION = re.compile(r"- \[(mandatory|advisory)\]\s+(?:\[severity: \w+\]\s+)?(\S+)\s")
_TIMEOUT = 120  # seconds


@dataclass(frozen=True)
class Run:
    """What the engine said. `violations` maps a level to the rules, `text` is all output."""

    code: int
    text: str
    seconds: float

    @property
    def violations(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {"mandatory": set(), "advisory": set()}
        for level, rule in _VIOLATION.findall(self.text):
            found[level].add(rule)
        return found


class Engine:
    """One Pulumi home and backend of its own, below a folder of the test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "state").mkdir()
        self.environment = {
            "PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "PULUMI_HOME": pulumi_home(folder),
            "PULUMI_BACKEND_URL": f"file://{folder / 'state'}",
            "PULUMI_CONFIG_PASSPHRASE": "for these tests",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_IGNORE_AMBIENT_PLUGINS": "false",
            "NO_COLOR": "1",
        }
        # The program is copied, so that stack settings do not land in the repository.
        self._program = folder / "program"
        shutil.copytree(PROGRAM, self._program, ignore=shutil.ignore_patterns("__pycache__"))
        text = (self._program / "Pulumi.yaml").read_text()
        (self._program / "Pulumi.yaml").write_text(text.replace("../../../../.venv", str(REPOSITORY / ".venv")))
        self.pulumi("stack", "init", "dev", check=True)
        self.pulumi("config", "set", "scenario:run", "test", check=True)

    def pulumi(self, *arguments: str, check: bool = False, scenario: Path | None = None) -> Run:
        environment = {**self.environment, "SCENARIO": str(scenario or "")}
        command = [str(TOOLS / "pulumi"), *arguments, "--non-interactive"]
        start = time.monotonic()
        done = subprocess.run(
            command, cwd=self._program, env=environment, capture_output=True, text=True, check=False, timeout=_TIMEOUT
        )
        run = Run(done.returncode, done.stdout + done.stderr, time.monotonic() - start)
        if check and run.code:
            raise RuntimeError(f"pulumi {arguments[0]} failed: {run.text}")
        return run

    def scenario(self, resources: Iterable[R], kubeconfig: str | None = None) -> Path:
        """Write the resources for the program, with explicit providers."""
        listed = {resource.name: resource for resource in resources}
        kubernetes = R(KUBERNETES.token, KUBERNETES.name, {"kubeconfig": kubeconfig}) if kubeconfig else KUBERNETES
        entries = [_entry(kubernetes, None)]
        if any(resource.token.startswith("vault:") for resource in listed.values()):
            entries.append(_entry(VAULT, None))
        for resource in listed.values():
            package = resource.token.partition(":")[0]
            provider = resource.provider or {"kubernetes": kubernetes.name, "vault": VAULT.name}.get(package)
            entries.append(_entry(resource, provider))
        path = self._folder / "scenario.json"
        path.write_text(json.dumps(entries))
        return path

    def preview(
        self, resources: Iterable[R], *, pack: bool = True, config: Mapping[str, Any] | None = None, **options: Any
    ) -> Run:
        arguments = ["preview", *self._pack(config)] if pack else ["preview"]
        return self.pulumi(*arguments, scenario=self.scenario(resources, **options))

    def up(self, resources: Iterable[R], *flags: str, kubeconfig: str) -> Run:
        return self.pulumi("up", "--yes", *flags, *self._pack(None), scenario=self.scenario(resources, kubeconfig))

    def analyze(self, resources: Sequence[R], config: Mapping[str, Any] | None = None) -> Run:
        path = self._folder / "state.json"
        state = state_of(resources)
        # A passphrase that is not known here: secrets in the state stay closed.
        salt = "v1:3PPPHLZHKgM=:v1:pZ1TkN1kVZtmMFPk:vYHXPhLw3cZPvcfbDBvZQ0Vf+bp5Qw=="
        state["deployment"]["secrets_providers"] = {"type": "passphrase", "state": {"salt": salt}}
        path.write_text(json.dumps(state))
        return self.pulumi("policy", "analyze", "--file", str(path), *self._pack(config))

    def _pack(self, config: Mapping[str, Any] | None) -> list[str]:
        if not config:
            return ["--policy-pack", str(PACK)]
        from policy.rules.registry import RULES

        path = self._folder / "pack.json"
        path.write_text(json.dumps({rule.id: dict(config) for rule in RULES}))
        return ["--policy-pack", str(PACK), "--policy-pack-config", str(path)]


def _entry(resource: R, provider: str | None) -> dict[str, Any]:
    props = {key: _value(inner) for key, inner in resource.props.items()}
    for key, (source, *_) in resource.fed_by.items():
        props[key] = {inner: {"$from": source} for inner in resource.props[key]}
    return {
        "token": resource.token,
        "name": resource.name,
        "props": props,
        "parent": resource.parent,
        "provider": provider,
        "depends_on": list(resource.depends_on),
    }


def _value(value: Any) -> Any:
    if value is UNKNOWN:
        return {"$unknown": True}
    if isinstance(value, SecretMark):
        return {"$secret": _value(value.value)}
    if isinstance(value, Mapping):
        return {key: _value(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_value(inner) for inner in value]
    return value
