"""A Vault server for the length of one verification: storage in memory, on the loopback device, ended with its caller.

A restored server writes to the audit devices that the snapshot names. It runs as nobody where this process is root, so
that it cannot touch a file of this machine; its device on standard output, which goes nowhere, keeps it in service.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secret_authority.clients.vault import Vault
from secret_authority.core.errors import Unavailable
from secret_authority.engine.tls.ca import issue, new_ca

# Where files are memory on Linux. What is restored is encrypted; the shares never touch a file.
MEMORY = Path("/dev/shm")  # noqa: S108  a folder of its own is made in it
START_SECONDS = 60.0
_NOBODY = 65534
_POLL_SECONDS = 0.1
_PR_SET_PDEATHSIG = 1
# Loaded before any fork.
_LIBC = ctypes.CDLL(None)


class ThrowawayError(Exception):
    """The throwaway server cannot be used here. The message says why."""


@dataclass(frozen=True)
class Throwaway:
    """A server that is initialised and unsealed; `token` is its own root token."""

    vault: Vault
    token: str


@contextlib.contextmanager
def throwaway(program: str, node: str, shares: int, threshold: int) -> Iterator[Throwaway]:
    """Start a server with this Raft node and this seal: another threshold does not open until the process restarts.

    Raises `ThrowawayError` and `Unavailable`. Nothing of it is left afterwards.
    """
    if not MEMORY.is_dir():
        raise ThrowawayError(f"{MEMORY} is missing: there is no memory for the throwaway server's storage")
    folder = Path(tempfile.mkdtemp(prefix="secret-authority-verify-", dir=MEMORY))
    process: subprocess.Popen[bytes] | None = None
    try:
        ports = _free_ports()
        write_config(folder, node, *ports)
        process = _start(program, folder)
        yield initialised(folder, ports[0], shares, threshold, process)
    finally:
        if process is not None:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def initialised(
    folder: Path, port: int, shares: int, threshold: int, process: subprocess.Popen[bytes] | None = None
) -> Throwaway:
    """The empty server that runs with the configuration in `folder`, with this seal. Raises `Unavailable`."""
    vault = Vault(f"https://127.0.0.1:{port}", str(folder / "ca.crt"))
    await_status(vault, (501,), process)
    made = vault.write("sys/init", {"secret_shares": shares, "secret_threshold": threshold})
    for share in made["keys_base64"][:threshold]:
        vault.write("sys/unseal", {"key": share})
    await_status(vault, (200,), process)
    return Throwaway(vault, str(made["root_token"]))


def await_status(
    vault: Vault,
    wanted: tuple[int, ...],
    process: subprocess.Popen[bytes] | None = None,
    seconds: float = START_SECONDS,
) -> None:
    """Wait until sys/health answers one of these. Raises `Unavailable` after `seconds`, or when the process ended."""
    end = time.monotonic() + seconds
    while True:
        with contextlib.suppress(Unavailable):
            if vault.health() in wanted:
                return
        if process is not None and process.poll() is not None:
            raise Unavailable(f"the throwaway server ended with exit code {process.returncode}")
        if time.monotonic() > end:
            raise Unavailable(f"the throwaway server did not come to its state within {seconds:.0f} s")
        time.sleep(_POLL_SECONDS)


def write_config(folder: Path, node: str, port: int, cluster_port: int) -> None:
    """Configuration (config.json), certificate and storage of a server on the loopback device, as one Raft node."""
    authority = new_ca("throwaway")
    pair = issue(authority, ["127.0.0.1"])
    (folder / "raft").mkdir()
    listener = {
        "address": f"127.0.0.1:{port}",
        "cluster_address": f"127.0.0.1:{cluster_port}",
        "tls_cert_file": f"{folder}/tls.crt",
        "tls_key_file": f"{folder}/tls.key",
    }
    config = {
        # One node has nobody to wait for: Raft's own timing (1), not Vault's default of five times as long.
        "storage": {"raft": {"path": f"{folder}/raft", "node_id": node, "performance_multiplier": "1"}},
        "listener": [{"tcp": listener}],
        "api_addr": f"https://127.0.0.1:{port}",
        "cluster_addr": f"https://127.0.0.1:{cluster_port}",
        "disable_mlock": True,
    }
    files = {
        "ca.crt": authority.certificate,
        "tls.crt": pair.certificate,
        "tls.key": pair.key,
        "config.json": json.dumps(config),
    }
    for name, text in files.items():
        path = folder / name
        path.touch(0o600)
        path.write_text(text)
    if os.geteuid() == 0:
        for path in (folder, *folder.iterdir()):
            os.chown(path, _NOBODY, _NOBODY)


def _start(program: str, folder: Path) -> subprocess.Popen[bytes]:
    nobody: dict[str, Any] = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
    try:
        # By its open file: the program may be in a folder that nobody else can enter.
        with open(program, "rb") as file:  # noqa: PTH123
            return subprocess.Popen(
                [f"/proc/self/fd/{file.fileno()}", "server", f"-config={folder}/config.json"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=folder,
                env={"PATH": os.defpath, "HOME": str(folder)},
                pass_fds=[file.fileno()],
                preexec_fn=_end_with_parent,
                **nobody,
            )
    except (OSError, subprocess.SubprocessError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ThrowawayError(f"{program} cannot be started: {reason}") from None


def _end_with_parent() -> None:
    """Also a caller that is killed leaves no unsealed server behind (prctl(2), PR_SET_PDEATHSIG)."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]
