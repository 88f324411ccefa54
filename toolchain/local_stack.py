"""The whole stack on this machine: `python3 -m toolchain.local_stack --name dev up|preview|down|pulumi ...|env`.

`up` goes from a bare machine to a cluster on which the Pulumi program has built every layer: programs, one
real node, images, the example Git repository, `pulumi up`. Each step does nothing when it is done already.
`preview` shows what `up` would change in the stack, and leaves node and Git server as they are.
The same class serves the tests. State of a stack (repository, root identity, Pulumi backend) lies outside
of the checkout, in ${XDG_STATE_HOME:-~/.local/state}/secret-authority/NAME.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from secret_authority.contract.names import ENGINE_NAMESPACE, PHASE_LABEL
from toolchain.gitserver import server
from toolchain.node import api, layout
from toolchain.node.errors import NodeError
from toolchain.venv import PYTHON

CHECKOUT = Path(__file__).resolve().parents[1]
TEMPLATE = CHECKOUT / "Pulumi.dev.yaml"
REPOSITORY = "fleet"
# No questions and no dots: these runs have no terminal to ask on.
_PLAIN = ("--non-interactive", "--suppress-progress")
# Commands of pulumi that run or read the program's configuration.
_RUNS = frozenset({"up", "update", "preview", "refresh", "destroy", "watch", "import"})

# Which identities of the store of snapshots the cluster gets, and how a run is given their credentials.
_PLANTED = {"writer": "SECRET_AUTHORITY_SNAPSHOT_CREDENTIALS", "reader": "SECRET_AUTHORITY_SNAPSHOT_READER"}


class LocalStack:
    """One node, one Git repository and one Pulumi stack of the same name."""

    def __init__(self, name: str) -> None:
        self.name = name
        home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
        self.state = home / "secret-authority" / name
        self.fleet = self.state / "fleet"
        self.root_identity = self.state / "root.age"
        # Set by `cluster` and `preview`.
        self.engine_image = ""
        self.spent: dict[str, float] = {}

    @property
    def kubeconfig(self) -> Path:
        return Path(self.run_toolchain("node", "kubeconfig", "--name", self.name).strip())

    @property
    def config_file(self) -> Path:
        """The stack's configuration: what Pulumi.dev.yaml says, with this node's places and Pulumi's salt."""
        return self.state / f"Pulumi.{self.name}.yaml"

    def environment(self, *, root: bool = False) -> dict[str, str]:
        """The environment of `pulumi`: a backend in files, a passphrase file; with `root` also the root holder."""
        ours = {
            "PATH": f"{CHECKOUT / '.tools/bin'}:{PYTHON.parent}:{os.environ['PATH']}",
            # Without side files, which a killed pulumi leaves half written and then cannot read.
            "PULUMI_BACKEND_URL": f"{self.state.as_uri()}?metadata=skip",
            "PULUMI_CONFIG_PASSPHRASE_FILE": str(self.state / "passphrase"),
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "KUBECONFIG": str(self.kubeconfig),
        }
        if root:
            ours["SECRET_AUTHORITY_ROOT_IDENTITY"] = str(self.root_identity)
            for identity, variable in _PLANTED.items():
                if self.store_credentials(identity).exists() and not self._planted(identity).exists():
                    # Given in a later run, they would be written again, and that run would not be one without changes.
                    ours[variable] = str(self.store_credentials(identity))
        return ours

    def _planted(self, identity: str) -> Path:
        """There once a run has written the credentials of this identity of the store into the cluster."""
        return self.state / f"store-{identity}.planted"

    def tools(self, *, images: bool = False) -> None:
        """Every external program, the upstream manifests and the virtual environment.

        With `images` also the images of the programs, and what the engine's needs beside the project's code.
        """
        with self._timed("programs, Python environment"), ThreadPoolExecutor() as pool:
            # Builds take the processors; what is fetched meanwhile takes the network.
            fetched = pool.submit(self._fetch, images)
            self.run_toolchain("build", capture=False)
            if images:
                # Only nodes need them, and `cluster` says what is wrong if this cannot be done.
                with contextlib.suppress(SystemExit):
                    self.run_toolchain("images", "unpack", capture=False)
            fetched.result()

    def _fetch(self, images: bool) -> None:
        self.run_toolchain("venv", capture=False)
        self.run_toolchain("manifests", capture=False)
        if images and shutil.which("buildah"):
            with contextlib.suppress(SystemExit):  # as above
                self.run_toolchain("images", "prepare", capture=False)

    def cluster(self) -> None:
        """The node with its images, the Git server and the published example repository."""
        with self._timed("node"):
            self.run_toolchain("node", "up", "--name", self.name)
        with self._timed("images"):
            self.run_toolchain("images", "import", "--name", self.name)
            image = self.run_toolchain("images", "engine", "--name", self.name)
            self.engine_image = image.strip()
            self.run_toolchain("images", "database", "--name", self.name)
        with self._timed("Git repository"):
            self.run_toolchain("gitserver", "start", "--name", self.name)
            self._prepare_state()
            published = self.publish()
            self._write_config(str(published["url"]), str(published["ca"]))

    def object_store(self) -> None:
        """The S3 server outside of the node, and snapshots.yaml of the example, which names it."""
        with self._timed("S3 server"):
            facts = json.loads(self.run_toolchain("objectstore", "start", "--name", self.name))
        keys = json.loads(Path(facts["keys"]).read_text())
        for identity in ("writer", "reader", "deleter"):
            key, secret = keys[identity]
            text = json.dumps({"accessKeyId": key, "secretAccessKey": secret})
            _write(self.store_credentials(identity), text, mode=0o600)
        store = {"s3": {"endpoint": facts["endpoint"], "bucket": facts["bucket"], "ca": Path(facts["ca"]).read_text()}}
        # JSON is YAML.
        document = {"apiVersion": "secret-authority.dev/v1", "kind": "Snapshots", "store": store}
        _write(self.fleet / f"secret-authority/{self.name}/snapshots.yaml", json.dumps(document, indent=2) + "\n")
        self.publish()

    def store_credentials(self, identity: str) -> Path:
        """The credentials of one identity of the store of snapshots."""
        return self.state / f"store-{identity}.yaml"

    def publish(self) -> dict[str, Any]:
        """Put the repository's present content on the Git server's main branch."""
        answer = self.run_toolchain(
            "gitserver", "publish", "--name", self.name, "--repo", REPOSITORY, "--from", str(self.fleet), "--json"
        )
        published: dict[str, Any] = json.loads(answer)
        return published

    def pulumi(self, *arguments: str, root: bool = False, capture: bool = False) -> subprocess.CompletedProcess[str]:
        """Run `secret-authority pulumi` on the stack. Does not raise on failure."""
        place = ["--stack", self.name]
        if _RUNS & set(arguments):
            place += ["--config-file", str(self.config_file)]
        return subprocess.run(
            [str(PYTHON), "-m", "cli.main", "pulumi", *arguments, *place],
            cwd=CHECKOUT,
            env={**os.environ, **self.environment(root=root)},
            text=True,
            check=False,
            stdout=subprocess.PIPE if capture else None,
            stderr=subprocess.STDOUT if capture else None,
            stdin=subprocess.DEVNULL,
        )

    def up(self) -> subprocess.CompletedProcess[str]:
        """`pulumi up` with the policy pack, preview first. Only the first run needs the root holder."""
        self.release_dead_lock()
        begun = datetime.now(UTC)
        with self._timed("pulumi up"):
            done = self.pulumi("up", "--yes", *_PLAIN, root=True)
        for identity in _PLANTED:
            if done.returncode == 0 and self.store_credentials(identity).exists():
                self._planted(identity).touch()
        self.spent |= phase_seconds(begun, self._records())
        return done

    def preview(self) -> subprocess.CompletedProcess[str]:
        """`pulumi preview` with the configuration that `up` would write. Raises SystemExit without a node.

        Nothing is published and no image is built, so the cluster does not change.
        """
        node = layout.find(self.name)
        if node is None or not self.config_file.exists():
            raise SystemExit(f"there is no node {self.name} with a stack; run `make up NAME={self.name}`")
        self.tools()
        self.engine_image = self.run_toolchain("images", "engine-reference").strip()
        self._write_config(server.url(REPOSITORY), str(server.authority(node)))
        return self.pulumi("preview", *_PLAIN, root=True)

    def release_dead_lock(self) -> None:
        """Cancel an update whose `pulumi` was killed on this machine. A living one keeps its lock.

        What the killed update was just making is then read from the cluster, or made again by the next one.
        """
        locks = [json.loads(file.read_text()) for file in self.state.glob(f".pulumi/locks/*/*/{self.name}/*.json")]
        here = socket.gethostname()
        if locks and all(lock["hostname"] == here and not _runs_pulumi(int(lock["pid"])) for lock in locks):
            print("releasing the lock of an update that was killed", file=sys.stderr, flush=True)
            self._in_state("cancel", "--yes", "--stack", self.name)
            words = ("refresh", "--yes", "--skip-preview", "--clear-pending-creates", "--non-interactive")
            done = self.pulumi(*words, capture=True)
            if done.returncode:
                raise SystemExit(f"pulumi refresh failed for the stack {self.name}:\n{done.stdout}")

    def down(self) -> None:
        """Take away the node and everything of the stack, the example's root identity too."""
        self.run_toolchain("objectstore", "stop", "--name", self.name)
        self.run_toolchain("gitserver", "stop", "--name", self.name)
        self.run_toolchain("node", "down", "--name", self.name, capture=False)
        shutil.rmtree(self.state, ignore_errors=True)

    def report(self) -> str:
        """Where the time went, one line a step, in seconds."""
        return "\n".join(f"{seconds:8.1f} s  {step}" for step, seconds in self.spent.items())

    def _records(self) -> dict[int, datetime]:
        """When the cluster has recorded each phase; empty when it does not answer."""
        path = f"/api/v1/namespaces/{ENGINE_NAMESPACE}/configmaps?labelSelector={PHASE_LABEL}"
        try:
            items = (api.Client(layout.require(self.name)).get(path) or {}).get("items", [])
        except (NodeError, api.ApiError, OSError):
            return {}
        found = [item["metadata"] for item in items]
        return {int(m["labels"][PHASE_LABEL]): datetime.fromisoformat(m["creationTimestamp"]) for m in found}

    def _prepare_state(self) -> None:
        self.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        passphrase = self.state / "passphrase"
        if not passphrase.exists():
            _write(passphrase, secrets.token_urlsafe(32), mode=0o600)
        make = [str(PYTHON), "-m", "examples.make_fleet", str(self.fleet), "--root", str(self.root_identity)]
        subprocess.run([*make, "--cluster", self.name], cwd=CHECKOUT, check=True, stdout=subprocess.DEVNULL)
        # In the state's folder, because Pulumi writes its salt into the configuration that lies where it runs.
        shutil.copyfile(CHECKOUT / "Pulumi.yaml", self.state / "Pulumi.yaml")
        self._in_state("stack", "select", "--create", self.name)

    def _in_state(self, *arguments: str) -> None:
        """Run a command of pulumi that is about the stack, not about the program. Raises SystemExit on failure."""
        done = subprocess.run(
            ["pulumi", *arguments, "--non-interactive"],
            cwd=self.state,
            env={**os.environ, **self.environment()},
            text=True,
            check=False,
            capture_output=True,
        )
        if done.returncode:
            raise SystemExit(f"pulumi {arguments[0]} failed for the stack {self.name}:\n{done.stdout}{done.stderr}")

    def _write_config(self, url: str, ca: str) -> None:
        text = TEMPLATE.read_text()
        for old, new in {
            "cluster: dev": f"cluster: {self.name}",
            "~/.local/state/secret-authority/dev/fleet": str(self.fleet),
            "/var/lib/secret-authority/nodes/dev/pki/git-ca.crt": ca,
            "/var/lib/secret-authority/nodes/dev/kubeconfig": str(self.kubeconfig),
            "https://git.node.internal:8443/fleet.git": url,
        }.items():
            text = text.replace(old, new)
        text = text.replace("config:\n", f"config:\n  secret-authority:engineImage: {self.engine_image}\n", 1)
        salt = [line for line in self.config_file.read_text().splitlines() if line.startswith("encryptionsalt:")]
        _write(self.config_file, "\n".join([text.rstrip(), *salt, ""]))

    def run_toolchain(self, command: str, *arguments: str, capture: bool = True) -> str:
        """Run `python3 -m toolchain[.command]`; its progress goes to the terminal. Raises SystemExit on failure."""
        rooms = ("node", "images", "gitserver", "objectstore")
        module = f"toolchain.{command}" if command in rooms else "toolchain"
        words = arguments if command in rooms else (command, *arguments)
        done = subprocess.run(
            [sys.executable, "-m", module, *words],
            cwd=CHECKOUT,
            text=True,
            check=False,
            stdout=subprocess.PIPE if capture else None,
        )
        if done.returncode:
            raise SystemExit(done.returncode)
        return done.stdout or ""

    @contextlib.contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        print(f"== {step}", file=sys.stderr, flush=True)
        start = time.monotonic()
        try:
            yield
        finally:
            self.spent[step] = self.spent.get(step, 0.0) + time.monotonic() - start


def phase_seconds(begun: datetime, reached: Mapping[int, datetime]) -> dict[str, float]:
    """How long each phase took that was reached after `begun`, in seconds, by the cluster's own records."""
    spent: dict[str, float] = {}
    before = begun
    for phase, at in sorted(reached.items()):
        if at >= begun.replace(microsecond=0):
            spent[f"  of that to phase {phase}"] = max((at - before).total_seconds(), 0.0)
            before = max(at, begun)
    return spent


def _runs_pulumi(pid: int) -> bool:
    """Whether the process lives and is pulumi; its number may belong to another program by now."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == "pulumi"
    except OSError:
        return False


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a small file whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.touch(mode=mode)
    partial.write_text(text)
    partial.replace(path)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m toolchain.local_stack", description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["tools", "cluster", "up", "preview", "down", "pulumi", "env"])
    parser.add_argument("--name", default="dev")
    options, rest = parser.parse_known_args()
    if rest and options.command != "pulumi":
        parser.error(f"{options.command} takes no {' '.join(rest)}")
    stack = LocalStack(options.name)
    if options.command == "tools":
        stack.tools(images=True)
    elif options.command == "down":
        stack.down()
    elif options.command == "preview":
        return stack.preview().returncode
    elif options.command == "pulumi":
        return stack.pulumi(*rest).returncode
    elif options.command == "env":
        print("\n".join(f"export {key}={value}" for key, value in stack.environment().items()))
    else:
        stack.tools(images=True)
        stack.cluster()
        stack.object_store()
        code = stack.up().returncode if options.command == "up" else 0
        print(f"\nWhere the time went:\n{stack.report()}\nkubeconfig: {stack.kubeconfig}")
        return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
