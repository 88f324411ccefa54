"""The stack of `make up`, for tests: every command's output is kept, and each run has a configuration of its own."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import yaml

from secret_authority.clients.age import Identity, open_sealed, read_identity
from secret_authority.contract.names import ENGINE_NAMESPACE, PHASE_LABEL
from secret_authority.core.phases import Phase
from secret_authority.repository.bootstrap.opened_secrets import open_all
from secret_authority.repository.layout import Layout
from secret_authority.repository.trust.root_of_trust import read_trust
from tests.support.cluster_objects import ClusterObjects, Key
from tests.support.pulumi_home import pulumi_home
from toolchain.local_stack import CHECKOUT, LocalStack
from toolchain.node import layout
from toolchain.node.api import ApiError

UP = ("up", "--yes", "--non-interactive", "--suppress-progress")
DESTROY = ("destroy", "--yes", "--non-interactive", "--suppress-progress")
# What a session has measured, for the report at its end.
MEASURED = pytest.StashKey[list[tuple[str, float]]]()


@dataclass(frozen=True)
class Run:
    """One run of pulumi: exit code, both outputs in one, and its duration in seconds."""

    code: int
    output: str
    seconds: float

    def passed(self) -> Run:
        assert self.code == 0, self.output
        return self

    def refused(self, *words: str) -> Run:
        """It failed, and the output has each of `words`, whatever the line breaks."""
        assert self.code != 0, self.output
        said = " ".join(self.output.split())
        missing = [text for text in words if text not in said]
        assert not missing, f"the output lacks {missing}:\n{self.output}"
        return self


class RecordedStack(LocalStack):
    """A node, a Git repository and a stack that tests may break."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        # The objects of the node before anything is built on it.
        self.bare_names: set[Key] = set()
        # When that was, in seconds of the epoch; 0 for a node that has been built upon before.
        self.bare_at = 0.0
        self.transcript: list[str] = []
        self._connected = threading.local()
        self.measured: list[tuple[str, float]] = []

    @cached_property
    def kubeconfig(self) -> Path:
        return super().kubeconfig

    def environment(self, *, root: bool = False) -> dict[str, str]:
        """That of the local stack, for less processor time."""
        return {**super().environment(root=root), "PULUMI_HOME": pulumi_home(self.state), "GOGC": "400"}

    @property
    def objects(self) -> ClusterObjects:
        """Over one connection a thread, for as long as the node is the same: a new one costs more than most looks."""
        node = layout.require(self.name)
        now = (node.address, (node.pki / "cluster-ca.crt").stat().st_mtime_ns)
        if getattr(self._connected, "to", None) != now:
            self._connected.to, self._connected.objects = now, ClusterObjects(self.name)
        objects: ClusterObjects = self._connected.objects
        return objects

    @property
    def home(self) -> str:
        """The cluster's folder in its repository."""
        return f"clusters/{self.name}"

    @property
    def intent_home(self) -> str:
        """The folder of the cluster's catalogue in its repository."""
        return Layout.of(self.name).home

    def publish(self, folder: Path | None = None) -> dict[str, Any]:
        """Put a folder onto the main branch: the fleet, or another state of it."""
        if folder is None:
            return super().publish()
        place = ("--repo", "fleet", "--from", str(folder))
        return {"commit": self.run_toolchain("gitserver", "publish", "--name", self.name, *place)}

    @contextlib.contextmanager
    def copied_fleet(self, parent: Path) -> Iterator[Path]:
        """A copy of the fleet to change and to publish. Afterwards Git is back at the fleet."""
        folder = parent / "fleet"
        shutil.copytree(self.fleet, folder)
        yield folder
        self.publish()

    def present_vault(self) -> dict[str, Any]:
        """The setting `vault` with as many pods as there are: fewer are refused."""
        found = self.objects.get("/apis/apps/v1/namespaces/vault/statefulsets/vault") or {}
        return {"storageClass": "local", "replicas": found["spec"]["replicas"], "protect": False}

    def git_server(self, command: str) -> None:
        """`start` or `stop` the Git server."""
        self.run_toolchain("gitserver", command, "--name", self.name)

    def lose_cluster(self) -> None:
        """The node and all that was on it are gone; what the team has stays: Git, root identity, Pulumi state."""
        self.git_server("stop")
        self.run_toolchain("node", "down", "--name", self.name)

    def replace_cluster(self) -> None:
        """An empty cluster of the same name in the place of one that is lost."""
        self.lose_cluster()
        self.cluster()
        # Another node, with pods of other names.
        self.note_bare()

    def note_bare(self) -> None:
        """Note what the node has before anything is built on it."""
        self.bare_names, self.bare_at = self.objects.names(), time.time()

    def start(
        self,
        *arguments: str,
        phase: object = 2,
        root: Path | bool = False,
        program: Sequence[str] = ("pulumi",),
        **settings: object,
    ) -> subprocess.Popen[str]:
        """Start pulumi in a process group of its own. `settings` are configuration of this run alone."""
        content = yaml.safe_load(self.config_file.read_text())
        # The image of this node: the checkout's note of it may change when another node is started.
        for key, value in {"phase": phase, "engineImage": self.engine_image, **settings}.items():
            content["config"][f"secret-authority:{key}"] = value if isinstance(value, list | dict) else str(value)
        config = self.state / "run.yaml"
        config.write_text(yaml.safe_dump(content, sort_keys=False))
        environment = {**os.environ, **self.environment(root=bool(root))}
        if isinstance(root, Path):
            environment["SECRET_AUTHORITY_ROOT_IDENTITY"] = str(root)
        return subprocess.Popen(
            [*program, *arguments, "--stack", self.name, "--config-file", str(config)],
            cwd=CHECKOUT,
            env=environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def finish(self, process: subprocess.Popen[str], begun: float, timeout: float = 600) -> Run:
        """Wait for a run, at most `timeout` seconds; then it ends with its whole group."""
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.kill(process)
            pytest.fail(f"not ended after {timeout:.0f} s:\n{self.transcript[-1]}")
        self.transcript.append(output)
        return Run(process.returncode, output, time.monotonic() - begun)

    def kill(self, process: subprocess.Popen[str]) -> None:
        """SIGKILL to pulumi, its program and its plugins at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        self.transcript.append(process.communicate()[0])

    def run(
        self,
        *arguments: str,
        phase: object = 2,
        root: Path | bool = False,
        timeout: float = 600,
        program: Sequence[str] = ("pulumi",),
        **settings: object,
    ) -> Run:
        """Run pulumi to its end."""
        begun = time.monotonic()
        process = self.start(*arguments, phase=phase, root=root, program=program, **settings)
        return self.finish(process, begun, timeout)

    def query(self, *arguments: str) -> str:
        """The answer of a command of pulumi that is about the stack, such as `stack output --json`."""
        done = subprocess.run(
            ["pulumi", *arguments, "--stack", self.name],
            cwd=CHECKOUT,
            env={**os.environ, **self.environment()},
            text=True,
            capture_output=True,
            check=False,
        )
        self.transcript += [done.stdout, done.stderr]
        assert done.returncode == 0, done.stderr
        return done.stdout

    def reach(self, phase: object, *more: str, root: Path | bool = False, **settings: object) -> Run:
        """`pulumi up` with the phase."""
        self.release_dead_lock()
        begun = time.monotonic()
        return self.finish(self.start(*UP, *more, phase=phase, root=root, **settings), begun)

    def set_up(self, phase: object, *more: str, root: Path | bool = False, **settings: object) -> Run:
        """`pulumi up` without its preview, half of its time: where a test starts from, or what it puts back."""
        return self.reach(phase, "--skip-preview", *more, root=root, **settings).passed()

    def at_least(self, phase: int, timeout: float = 600) -> Run | None:
        """The stack at this phase or above, with Git as the example fleet says. The run, when one was needed."""
        self.git_server("start")
        self.publish()
        if (self.reached() or 0) >= phase:
            return None
        self.release_dead_lock()
        return self.run(*UP, "--skip-preview", phase=phase, root=True, timeout=timeout).passed()

    def record(self, what: str, run: Run) -> Run:
        """Keep a duration for the report at the end of the session."""
        self.measured.append((what, run.seconds))
        return run

    def namespaces_of_git(self) -> set[str]:
        """Those that the repository declares. They outlive the stack: they hold the users' workloads."""
        files = (self.fleet / self.home / "namespaces").glob("*.yaml")
        return {doc["metadata"]["name"] for file in files for doc in yaml.safe_load_all(file.read_text())}

    def left(self) -> list[str]:
        """What is there that was not there before phase 1, and what is missing of that.

        Apart from Git's namespaces, with what Kubernetes itself puts into every namespace.
        """
        own = self.namespaces_of_git()
        everywhere = {("ServiceAccount", "default"), ("ConfigMap", "kube-root-ca.crt")}
        try:
            return sorted(
                str(key)
                for key in self.objects.names() ^ self.bare_names
                if not (key.kind == "Namespace" and key.name in own)
                and not (key.namespace in own and (key.kind, key.name) in everywhere)
            )
        except ApiError as error:
            # A group of the API whose last kind has just gone is found and cannot be listed.
            return [str(error)]

    def reached(self) -> Phase | None:
        """The highest phase on record in the cluster."""
        path = f"/api/v1/namespaces/{ENGINE_NAMESPACE}/configmaps?labelSelector={PHASE_LABEL}"
        items = (self.objects.get(path) or {}).get("items", [])
        return max((Phase(int(item["metadata"]["labels"][PHASE_LABEL])) for item in items), default=None)

    def identities(self) -> tuple[Identity, Identity]:
        """The root identity and the cluster's, opened as the root holder would."""
        root = read_identity(self.root_identity)
        entry = read_trust(self.fleet).cluster(self.name)
        return root, open_sealed(self.fleet / entry.identity, entry.identity, root)

    def wanted_values(self) -> dict[tuple[str, str], dict[str, bytes]]:
        """What Git's ciphertext decrypts to, for each (namespace, Secret)."""
        root, _ = self.identities()
        return open_all(self.fleet, (f"{self.home}/bootstrap",), [root.secret])

    def cluster_values(self) -> dict[tuple[str, str], dict[str, bytes]]:
        """What the bootstrap Secrets of the cluster hold; places without a Secret are left out."""
        found = {place: self.objects.secret(*place) for place in self.wanted_values()}
        return {
            place: {key: base64.b64decode(value) for key, value in secret["data"].items()}
            for place, secret in found.items()
            if secret
        }
