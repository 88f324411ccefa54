"""docs/root-of-trust.md, "Without the root identity on a networked machine": files in, files out, no network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from components.root_of_trust import RootOfTrustArgs, open_identity
from secret_authority.access.cluster_state import UNREACHABLE
from secret_authority.clients.age import Identity, is_recipient, read_identity
from secret_authority.core.errors import InvalidInputError
from secret_authority.repository.trust.root_of_trust import read_trust
from tests.fakes.pulumi import settings
from tests.support.age_files import protect
from tests.support.fleets import Fleet, new_fleet

ROOT = Path(__file__).parents[2]
PASSPHRASE = "correct horse battery staple"
_NO_NETWORK = ["unshare", "--net"]


def _can_unshare() -> bool:
    return subprocess.run([*_NO_NETWORK, "true"], capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(
    shutil.which("unshare") is None or not _can_unshare(), reason="a network namespace needs root"
)


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return new_fleet(tmp_path / "online")


def offline(*arguments: str, cwd: Path, passphrase: str | None = PASSPHRASE) -> str:
    """A command on a machine without a network, which gets the passphrase through a pipe."""
    reading, writing = os.pipe()
    os.write(writing, f"{passphrase or ''}\n".encode())
    os.close(writing)
    more = ["--passphrase-fd", str(reading)] if passphrase is not None else []
    command = [*_NO_NETWORK, sys.executable, "-m", "cli.main", *arguments, *more]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(cwd)}
    done = subprocess.run(
        command, cwd=cwd, env=environment, pass_fds=(reading,), capture_output=True, text=True, check=False
    )
    os.close(reading)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_is_no_network(tmp_path: Path) -> None:
    probe = "import socket; socket.create_connection(('127.0.0.1', 1), 1)"
    done = subprocess.run([*_NO_NETWORK, sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert "Network is unreachable" in done.stderr


def test_a_cluster_is_built_with_a_root_identity_that_never_leaves_its_machine(fleet: Fleet, tmp_path: Path) -> None:
    machine, stick = tmp_path / "offline", tmp_path / "stick"
    machine.mkdir()
    stick.mkdir()
    # The new holder, offline: an identity that only the passphrase opens.
    out = offline("root", "new", "--out", "carol.age", "--holder", "carol", "--passphrase", cwd=machine)
    assert is_recipient(out.splitlines()[0])
    assert b"AGE-SECRET-KEY" not in (machine / "carol.age").read_bytes()
    # The same, with a work factor that does not depend on how busy this machine is.
    made = Identity.generate()
    carol, content = made.recipient, protect(made.as_file().encode(), PASSPHRASE)
    (machine / "carol.age").write_bytes(content)
    with pytest.raises(InvalidInputError, match="is protected by a passphrase"):
        read_identity(machine / "carol.age")

    # Online: carol is named. The present holder admits her, offline, with two files of the repository.
    online = [sys.executable, "-m", "cli.main"]
    name = ["root", "add", "--holder", "carol", "--recipient", carol, "--repository", str(fleet.repository)]
    subprocess.run([*online, *name], cwd=ROOT, check=True, capture_output=True)
    copied = ("root-of-trust.yaml", "clusters/dev/identity.age")
    for file in copied:
        (stick / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(fleet.repository / file, stick / file)
    shutil.copy(fleet.root_file, machine / "root.age")
    admit = ["--root-identity", "root.age", "--admit", carol]
    offline("cluster", "reseal", "dev", "--repository", str(stick), *admit, cwd=machine, passphrase=None)
    for file in copied:
        shutil.copy(stick / file, fleet.repository / file)
    assert carol in read_trust(fleet.repository).holders()

    # A run asks for the cluster's identity: a one-time recipient goes out, an answer comes back.
    once = tmp_path / "once.age"
    request = [*online, "cluster", "request", "--out", str(once)]
    recipient = subprocess.run(request, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
    shutil.copy(fleet.repository / "clusters/dev/identity.age", stick / "identity.age")
    files = ["--in", str(stick / "identity.age"), "--out", str(stick / "answer.age")]
    offline("root", "rewrap", *files, "--to", recipient, "--root-identity", "carol.age", cwd=machine)
    assert recipient == read_identity(once).recipient

    # The run itself, as `pulumi up` does it, holds the one-time identity and the cluster's, and no root identity.
    environment = {"SOPS_AGE_KEY_FILE": str(fleet.root_file), "PATH": os.environ["PATH"]}
    _update_keys(fleet, environment)
    chosen = replace(settings(fleet, root=False), root_identity=once, sealed_identity=stick / "answer.age")
    opened = open_identity(RootOfTrustArgs(chosen, fleet.read(), UNREACHABLE))
    assert opened == fleet.identity()


def _update_keys(fleet: Fleet, environment: dict[str, str]) -> None:
    from secret_authority.clients.sops import sops_program

    for file in sorted(fleet.bootstrap.glob("*.yaml")):
        command = [sops_program(), "updatekeys", "--yes", str(file)]
        subprocess.run(command, cwd=fleet.repository, env=environment, check=True, capture_output=True)


def test_a_wrong_passphrase_opens_nothing(tmp_path: Path) -> None:
    identity = Identity.generate()
    (tmp_path / "a.age").write_bytes(protect(identity.as_file().encode(), PASSPHRASE))
    (tmp_path / "a.age").chmod(0o600)
    with pytest.raises(InvalidInputError, match="does not open with this passphrase"):
        read_identity(tmp_path / "a.age", lambda _: "another")
    assert read_identity(tmp_path / "a.age", lambda _: PASSPHRASE) == identity
