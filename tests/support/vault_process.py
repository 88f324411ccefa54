"""Real Vault processes on the loopback device, with Raft storage and TLS, for tests of the engine."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from secret_authority.clients.vault import Vault
from secret_authority.engine.tls.ca import issue, new_ca

ROOT = Path(__file__).parents[2]
DEADLINE_SECONDS = 120


def vault_program() -> str | None:
    """The vault program of the toolchain, else of PATH."""
    built = ROOT / ".tools" / "bin" / "vault"
    return str(built) if built.exists() else shutil.which("vault")


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def wait_for(condition: Callable[[], bool], what: str, seconds: float = DEADLINE_SECONDS) -> None:
    """Poll until `condition` holds; fail with `what` after the deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not in time: {what}")
        time.sleep(0.05)


@dataclass
class Server:
    """One Vault process. Killing and starting keeps its data."""

    name: str
    folder: Path
    port: int
    ca_file: str
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def api(self) -> Vault:
        return Vault(self.address, self.ca_file)

    @property
    def audit_file(self) -> Path:
        return self.folder / "audit.log"

    def start(self) -> None:
        program = vault_program()
        assert program is not None
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [program, "server", f"-config={self.folder}/config.json"], stdout=log, stderr=log
            )

    def open_files(self) -> set[str]:
        """What the process has open, by path."""
        assert self.process is not None
        found: set[str] = set()
        for descriptor in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed since
                found.add(str(descriptor.readlink()))
        return found

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None


@contextlib.contextmanager
def servers(folder: Path, count: int = 1, start: bool = True) -> Iterator[list[Server]]:
    """`count` Vault processes that may find each other by retry_join; all are ended afterwards."""
    ports = free_ports(2 * count)
    authority = new_ca("test")
    pair = issue(authority, ["127.0.0.1", "localhost"])
    for name, text in (("ca.crt", authority.certificate), ("tls.crt", pair.certificate), ("tls.key", pair.key)):
        (folder / name).write_text(text)
    made: list[Server] = []
    for number in range(count):
        home = folder / f"vault-{number}"
        (home / "raft").mkdir(parents=True)
        api, cluster = ports[2 * number], ports[2 * number + 1]
        joins = [
            {"leader_api_addr": f"https://127.0.0.1:{ports[2 * other]}", "leader_ca_cert_file": str(folder / "ca.crt")}
            for other in range(count)
            if other != number
        ]
        raft: dict[str, object] = {"path": str(home / "raft"), "node_id": home.name}
        # One server alone waits for nobody: with Vault's default it takes five times as long to become active.
        alone = {"performance_multiplier": "1"}
        config = {
            "storage": {"raft": raft | ({"retry_join": joins} if joins else alone)},
            "listener": [
                {
                    "tcp": {
                        "address": f"127.0.0.1:{api}",
                        "cluster_address": f"127.0.0.1:{cluster}",
                        "tls_cert_file": str(folder / "tls.crt"),
                        "tls_key_file": str(folder / "tls.key"),
                    }
                }
            ],
            "api_addr": f"https://127.0.0.1:{api}",
            "cluster_addr": f"https://127.0.0.1:{cluster}",
            "disable_mlock": True,
        }
        (home / "config.json").write_text(json.dumps(config))
        made.append(Server(home.name, home, api, str(folder / "ca.crt")))
    try:
        if start:
            for server in made:
                server.start()
        yield made
    finally:
        for server in made:
            server.kill()
