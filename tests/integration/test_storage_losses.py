"""Vault's storage is lost, damaged or full: three real servers on Raft, or one; docs/runbooks/vault-storage.md.

What is left serves every value byte for byte, the engine's own unsealing is all that happens by itself, and workloads'
Secrets, which the real External Secrets reads again every second, never change and are never missing.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from secret_authority.contract.names import CLUSTER_PORT, pod_host
from secret_authority.core.errors import Unavailable
from tests.support.delivery_site import delivery_programs, external_secrets
from tests.support.runbook import files, section
from tests.support.seal_site import Site, answers
from tests.support.storage_losses import (
    SECONDS,
    Servers,
    Workloads,
    cluster_address,
    damaged,
    health,
    lose_volume,
    serving,
    workloads,
)
from tests.support.vault_process import Server, servers, vault_program, wait_for

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(vault_program() is None, reason="no vault program: run `make tools`"),
]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with servers(tmp_path_factory.mktemp("three"), count=3) as vaults:
        made = serving(Site(vaults))
        made.three_voters()
        yield made


@dataclass
class Everything:
    """Three servers, and the workloads whose Secrets come from them."""

    vault: Servers
    workloads: Workloads

    def whole(self) -> None:
        """All three serve every value, and no workload has noticed anything."""
        self.vault.three_voters()
        assert not self.vault.differences()
        self.workloads.noticed("True")
        self.workloads.unchanged()


@pytest.fixture(scope="module")
def everything(three: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everything]:
    if not delivery_programs():
        pytest.skip("no programs of the node: run `make tools`")
    folder = tmp_path_factory.mktemp("api")
    store = three.all[0]
    with (
        external_secrets(folder, store, three.token) as api,
        workloads(api, three.through(three.active())) as running,
    ):
        yield Everything(three, running)


@pytest.mark.nightly
def test_the_active_server_is_lost_with_its_volume_and_joins_again(three: Servers) -> None:
    lost = three.active()
    others = [one for one in three.all if one is not lost]
    lose_volume(lost)
    assert three.active(others) is not lost
    assert not three.differences(others)
    three.write("odd/written-meanwhile", {"key": "x"}, others)
    lost.start()
    three.unseal(three.all)
    three.three_voters()
    assert not three.differences()


@pytest.mark.nightly
def test_every_volume_is_lost_one_after_another(everything: Everything) -> None:
    """At the end no server has the storage that it began with."""
    for lost in everything.vault.all:
        lose_volume(lost)
        others = [one for one in everything.vault.all if one is not lost]
        everything.vault.active(others)
        assert not everything.vault.differences(others)
        lost.start()
        everything.vault.unseal(everything.vault.all)
        everything.whole()


@pytest.mark.nightly
def test_all_are_killed_at_once(everything: Everything) -> None:
    for server in everything.vault.all:
        server.kill()
    everything.workloads.noticed("False")
    everything.workloads.unchanged()
    for server in everything.vault.all:
        server.start()
    everything.vault.unseal(everything.vault.all)
    everything.whole()


def peers(survivor: Server) -> str:
    """peers.json of the runbook, for a server on the loopback device."""
    (found,) = json.loads(files(section("vault-storage.md", "The quorum is lost"))["peers.json"])
    # In the cluster it is what the pod calls itself.
    assert (found["id"], found["address"]) == (survivor.name, f"{pod_host(0)}:{CLUSTER_PORT}")
    return json.dumps([{**found, "address": cluster_address(survivor)}])


@pytest.mark.nightly
def test_a_lost_quorum_is_recovered_by_peers_json(everything: Everything) -> None:
    vault = everything.vault
    survivor, *lost = vault.all
    # Step 1: they come back empty, and wait for a leader.
    for server in lost:
        vault.replace_volume(server)
    wait_for(lambda: _serves_nothing(vault, survivor), "no quorum, no service", SECONDS)
    everything.workloads.noticed("False")
    everything.workloads.unchanged()
    # Step 2, while the survivor runs: it is restarted afterwards.
    (survivor.folder / "raft/raft/peers.json").write_text(peers(survivor))
    survivor.kill()
    survivor.start()
    vault.unseal([survivor])
    assert not vault.differences([survivor])
    assert not (survivor.folder / "raft/raft/peers.json").exists(), "it is read once"
    everything.workloads.noticed("True")
    # Step 3: they join by themselves.
    vault.unseal(vault.all)
    everything.whole()


def _serves_nothing(vault: Servers, server: Server) -> bool:
    try:
        vault.through(server).read("platform-data/data/odd/value-1")
    except Unavailable:
        return True
    return False


@pytest.mark.nightly
@pytest.mark.parametrize("file", ["vault.db", "raft/raft.db"])
def test_a_server_with_damaged_storage_ends_and_joins_again_with_an_empty_one(
    everything: Everything, file: str
) -> None:
    vault = everything.vault
    broken = vault.all[1]
    others = [one for one in vault.all if one is not broken]
    damaged(broken, file)
    broken.start()
    wait_for(lambda: _ended(broken) or health(broken) == 503, "it does not serve what is damaged", SECONDS)
    vault.unseal(others)
    assert not vault.differences(others) and health(broken) not in (200, 429)
    everything.workloads.unchanged()
    lose_volume(broken)
    broken.start()
    vault.unseal(vault.all)
    everything.whole()


def _ended(server: Server) -> bool:
    return server.process is not None and server.process.poll() is not None


@contextlib.contextmanager
def small_volume(server: Server, size: str) -> Iterator[Path]:
    """The server's storage on a file system of its own, in memory."""
    place = server.folder / "raft"
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)]
    if os.geteuid() != 0 or shutil.which("mount") is None or subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("no file system can be mounted here")
    try:
        yield place
    finally:
        server.kill()
        subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_loses_nothing_that_was_confirmed(tmp_path: Path) -> None:
    with servers(tmp_path, start=False) as (server,), small_volume(server, "6m") as place:
        server.start()
        wait_for(lambda: answers(server), "Vault answers", SECONDS)
        vault = serving(Site([server]))
        chunk = "x" * 200_000
        with pytest.raises(Unavailable):
            for number in range(100):
                path = f"large/value-{number}"
                vault.through(server).write(f"platform-data/data/{path}", {"data": {"key": chunk}})
                vault.values[path] = {"key": chunk}
        log = server.folder / "log"
        wait_for(lambda: "no space left on device" in log.read_text(), "Vault says that the disk is full", SECONDS)
        # Some failed writes end Vault, after others it stays and refuses. The volume is enlarged, Vault starts again.
        if not _ended(server):
            server.kill()
        subprocess.run(["mount", "-o", "remount,size=64m", str(place)], check=True)
        server.start()
        vault.unseal([server])
        assert not vault.differences()
        vault.write("odd/after", {"key": "y"})
