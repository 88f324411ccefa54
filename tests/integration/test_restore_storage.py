"""Vault's storage comes back from a snapshot: of a server whose file is damaged, and into one that others join."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyrage import x25519

from secret_authority.contract.names import INITIALISATION, ROTATION_MOUNT, UNSEAL_SHARES, VAULT_NAMESPACE
from secret_authority.core.errors import LostRace, Unavailable
from secret_authority.core.restore.runner import restore
from secret_authority.core.restore.state_machine import Done
from secret_authority.engine.runtime_authority.seal import Seal, SealProblem, SealSettings
from tests.support.restore_site import (
    CANARY,
    NAME,
    Cluster,
    answers,
    bundle_of,
    cluster,
    fill,
    read,
    restorer,
    write,
)
from tests.support.storage_losses import SECONDS, damaged, health, lose_volume
from tests.support.vault_process import servers, vault_program, wait_for

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(vault_program() is None, reason="no vault program: run `make tools`"),
]
OBJECTS = (f"secrets/{UNSEAL_SHARES}", f"configmaps/{INITIALISATION}")


def test_a_damaged_file_of_the_only_server_is_answered_by_a_restore(tmp_path: Path) -> None:
    """docs/runbooks/restore.md, "Vault's volumes are lost, the cluster is not"."""
    with cluster(tmp_path / "vault") as site:
        fill(root := site.as_root())
        bundle = bundle_of(site, root)
        write(root, "stripe/payment", f"{CANARY}-later", cas=1)
        server = site.server
        damaged(server, "vault.db")
        server.start()
        wait_for(lambda: server.process is not None and server.process.poll() is not None, "Vault ends", SECONDS)
        assert "invalid database" in (server.folder / "log").read_text()
        lose_volume(server)
        server.start()
        wait_for(lambda: answers(server), "Vault answers", SECONDS)
        # Nothing is initialised over it until a person has said that it is lost.
        assert site.engine().reconcile().problem is SealProblem.STORAGE_LOST
        for one in OBJECTS:
            del site.api.objects[f"api/v1/namespaces/{VAULT_NAMESPACE}/{one}"]
        site.serve()
        assert isinstance(restore(NAME, restorer(site, bundle, str(site.root))).end, Done)
        found = site.as_root()
        assert read(found, "postgres/orders") == f"{CANARY}-2" and read(found, "stripe/payment") == f"{CANARY}-3"
        # What was opened is stored: the engine opens it after a restart.
        site.restart()
        site.serve()


@pytest.mark.nightly
def test_two_more_servers_join_a_restored_one_and_have_everything(tmp_path: Path) -> None:
    """vault#31933: a node of a restored cluster may find itself removed from it."""
    identities = {"cluster": x25519.Identity.generate(), "root": x25519.Identity.generate()}
    with cluster(tmp_path / "lost", **identities) as source:
        fill(root := source.as_root())
        bundle = bundle_of(source, root)
    (tmp_path / "three").mkdir()
    with servers(tmp_path / "three", count=3, start=False) as (first, *others):
        first.start()
        wait_for(lambda: answers(first), "Vault answers", SECONDS)
        site = Cluster(first, **identities)
        site.serve()
        assert isinstance(restore(NAME, restorer(site, bundle, str(site.root))).end, Done)
        for server in others:
            server.start()
        pods = [server.api for server in (first, *others)]
        settings = SealSettings(*site.numbers, lambda _: site.recipients, site.first)
        engine = Seal(pods, site.store, settings, lambda: str(site.cluster), lambda _: None)

        def serve() -> bool:
            try:
                return engine.reconcile().in_service
            except (Unavailable, LostRace):
                return False

        wait_for(serve, "three servers are unsealed", SECONDS)
        as_root = site.as_root()

        def voters() -> bool:
            found = (as_root.read("sys/storage/raft/autopilot/state") or {})["data"]
            return bool(found["healthy"]) and len(found["voters"]) == 3

        wait_for(voters, "three voters", SECONDS)
        token = as_root.token
        assert token is not None
        # The one that was restored is lost with its volume: the others have everything.
        lose_volume(first)
        wait_for(lambda: any(health(server) == 200 for server in others), "another one serves", SECONDS)
        active = next(server for server in others if health(server) == 200).api.with_token(token)
        assert read(active, "postgres/orders") == f"{CANARY}-2" and read(active, "stripe/payment") == f"{CANARY}-3"
        assert active.list(f"{ROTATION_MOUNT}/metadata/docs/postgres") == ["orders"]
