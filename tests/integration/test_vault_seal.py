"""Initialisation, unseal and first configuration against real Vault processes."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pyrage import x25519

from secret_authority.clients.kubernetes import ApiRefusedError
from secret_authority.clients.vault import Vault, VaultRefusedError
from secret_authority.core.errors import LostRace, Unavailable
from secret_authority.engine.runtime_authority import seal as initialise
from secret_authority.engine.runtime_authority.initial_configuration import (
    FirstConfiguration,
    configure,
    generate_root,
    revoke_every_root,
)
from secret_authority.engine.runtime_authority.seal import Seal, SealProblem, Stage
from secret_authority.engine.runtime_authority.unseal_shares import SharesError, open_shares, seal_shares
from tests.support.seal_site import Site, answers, first_configuration
from tests.support.vault_process import servers, vault_program, wait_for

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(vault_program() is None, reason="no vault program: run `make tools`"),
]
ROUNDS = int(os.environ.get("CLUSTER_FORMATION_ROUNDS", "3"))


class Killed(BaseException):
    pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with servers(tmp_path) as vaults:
        wait_for(lambda: answers(vaults[0]), "Vault answers")
        yield Site(vaults)


def test_from_nothing_to_service_and_no_root_token_is_left(site: Site) -> None:
    state = site.in_service()
    assert state.stage is Stage.CONFIGURED and state.unsealed == 1
    # Break-glass with the root holder's identity alone, and look for any other root token.
    root = site.vaults[0].api.with_token(site.root_token())
    policies = [
        root.write("auth/token/lookup-accessor", {"accessor": accessor})["data"]["policies"]
        for accessor in root.list("auth/token/accessors")
    ]
    assert policies == [["root"]], "only the break-glass token itself"
    assert revoke_every_root(root) == 1
    with pytest.raises(VaultRefusedError, match="403"):
        root.read("auth/token/lookup-self")


def test_what_is_stored_is_ciphertext(site: Site) -> None:
    site.in_service()
    shares = open_shares(site.store.load(), str(site.root))
    stored = json.dumps(site.store.load().as_fields())
    assert len(shares) == 3 and not any(share in stored for share in shares)
    with pytest.raises(SharesError, match="opens 0 of the 3"):
        open_shares(site.store.load(), str(x25519.Identity.generate()))


def test_two_audit_devices_stand_before_anything_else(site: Site) -> None:
    site.in_service()
    root = site.vaults[0].api.with_token(site.root_token())
    assert set((root.read("sys/audit") or {})["data"]) == {"file/", "stdout/"}
    paths = [json.loads(line)["request"]["path"] for line in site.vaults[0].audit_file.read_text().splitlines()]
    real = [path for path in paths if path != "sys/audit/test"]
    assert real[:2] == ["sys/audit/file", "sys/audit"], "nothing happens between the two devices but a look"
    assert "sys/policies/acl/secret-authority-engine" in real


def test_unsealed_again_after_every_restart(site: Site) -> None:
    site.in_service()
    engine = site.engine()
    for _ in range(3):
        site.vaults[0].kill()
        with pytest.raises(Unavailable):
            site.vaults[0].api.health()
        assert engine.reconcile().unsealed == 0
        site.vaults[0].start()
        site.in_service(engine)


def test_sealed_by_hand_is_unsealed(site: Site) -> None:
    site.in_service()
    root = site.vaults[0].api.with_token(site.root_token())
    root.write("sys/seal", {})
    assert root.health() == 503
    site.in_service()


@pytest.mark.parametrize("point", ["claimed", "stored", "before configured"])
def test_a_run_killed_during_initialisation_is_taken_up(site: Site, point: str) -> None:
    site.store.break_at[point] = Killed()
    first = site.engine()
    with pytest.raises(Killed):
        site.in_service(first)
    # The dead run's root token is lost in memory; the next run finds and revokes it.
    site.in_service()
    root = site.vaults[0].api.with_token(site.root_token())
    assert revoke_every_root(root) == 1


def test_a_root_token_that_somebody_generates_is_not_cancelled(site: Site) -> None:
    site.store.break_at["before configured"] = Killed()
    with pytest.raises(Killed):
        site.in_service()
    vault = site.vaults[0].api
    begun = vault.write("sys/generate-root/attempt", {})
    share = open_shares(site.store.load(), str(site.root))[0]
    vault.write("sys/generate-root/update", {"key": share, "nonce": begun["nonce"]})
    state = site.engine().reconcile()
    assert state.problem is SealProblem.ROOT_ATTEMPT and not state.in_service and state.unsealed == 1
    standing = vault.read("sys/generate-root/attempt") or {}
    assert (standing["nonce"], standing["progress"]) == (begun["nonce"], 1)
    # The command of the condition.
    assert "generate-root -cancel" in str(state.problem)
    vault.delete("sys/generate-root/attempt")
    site.in_service()


def test_an_attempt_of_an_engine_that_was_killed_is_taken_up(site: Site) -> None:
    site.store.break_at["before configured"] = Killed()
    with pytest.raises(Killed):
        site.in_service()
    site.store.nonce = str(site.vaults[0].api.write("sys/generate-root/attempt", {})["nonce"])
    site.in_service()


def test_an_attempt_that_cannot_be_noted_does_not_stay(site: Site) -> None:
    site.store.break_at |= {"before configured": Killed(), "root attempt": Unavailable("away")}
    with pytest.raises(Killed):
        site.in_service()
    with pytest.raises(Unavailable):
        site.engine().reconcile()
    assert not (site.vaults[0].api.read("sys/generate-root/attempt") or {})["started"]
    site.in_service()


def test_a_token_that_ends_while_roots_are_looked_for_is_passed_over(site: Site) -> None:
    class Slow(Vault):
        """Answers a listing late: one of the tokens has ended meanwhile."""

        def list(self, path: str) -> list[str]:
            brief = self.write("auth/token/create", {"policies": ["default"], "ttl": "1h"})["auth"]["accessor"]
            found = super().list(path)
            self.write("auth/token/revoke-accessor", {"accessor": brief})
            assert brief in found
            return found

    site.in_service()
    plain = site.vaults[0]
    left = site.root_token()
    root = Slow(plain.api.address, plain.ca_file)
    root.token = site.root_token()
    assert revoke_every_root(root) == 2
    with pytest.raises(VaultRefusedError, match="403"):
        plain.api.with_token(left).read("auth/token/lookup-self")


@pytest.mark.parametrize("error", [Unavailable("away"), ApiRefusedError("POST", "secrets", 403, "Forbidden")])
def test_shares_that_cannot_be_stored_yet_are_not_lost(site: Site, error: Exception) -> None:
    """The engine shows that it is alive meanwhile: whoever restarts it loses the shares."""
    site.store.break_at["before store"] = error
    after_the_failure: list[bool] = []
    site.in_service(site.engine(lambda: after_the_failure.append(not site.store.break_at)))
    assert len(site.store.load().ciphertexts) == 5 and any(after_the_failure)


@pytest.mark.parametrize("error", [Unavailable("no audit device"), VaultRefusedError("POST", "sys/auth", 400, [])])
def test_a_first_configuration_that_fails_leaves_no_root_token(
    site: Site, error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failed = 0

    def fail(_root: Vault, _wanted: FirstConfiguration) -> None:
        nonlocal failed
        failed += 1
        raise error

    engine = site.engine()
    with monkeypatch.context() as broken:
        broken.setattr(initialise, "configure", fail)
        wait_for(lambda: _fails(engine) and failed == 3, "three first configurations have failed")
    assert caplog.messages.count("the first configuration failed; its root token is revoked") == 3
    root = site.vaults[0].api.with_token(site.root_token())
    assert revoke_every_root(root) == 1, "only the one of this look"


def _fails(engine: Seal) -> bool:
    with pytest.raises((Unavailable, VaultRefusedError)):
        engine.reconcile()
    return True


def test_a_root_token_that_cannot_be_revoked_is_told(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def lose_vault(_root: Vault, _wanted: FirstConfiguration) -> None:
        site.vaults[0].kill()
        raise Unavailable("gone")

    engine = site.engine()
    monkeypatch.setattr(initialise, "configure", lose_vault)
    told = "whether its root token works is not known"
    wait_for(lambda: _fails(engine) and any(told in text for text in caplog.messages), "it is told")


def test_killed_with_shares_in_memory_is_reported_and_never_initialised_over(site: Site) -> None:
    site.store.break_at["before store"] = Killed()
    with pytest.raises(Killed):
        site.in_service()
    assert site.engine().reconcile().problem is SealProblem.SHARES_LOST


def test_a_vault_of_a_stranger_is_not_touched(site: Site) -> None:
    site.vaults[0].api.write("sys/init", {"secret_shares": 1, "secret_threshold": 1})
    assert site.engine().reconcile().problem is SealProblem.STRANGER
    assert site.store.stage() is Stage.NOTHING


@pytest.mark.parametrize(
    ("record_too", "problem"), [(False, SealProblem.SHARES_UNUSABLE), (True, SealProblem.STRANGER)]
)
def test_shares_that_somebody_deletes_are_put_back_and_nothing_is_initialised_over(
    site: Site, record_too: bool, problem: SealProblem
) -> None:
    """The stored shares, or the record of the initialisation with them, of a Vault that holds a value."""
    site.in_service()
    (vault,), copy = site.vaults, site.store.load()
    root = vault.api.with_token(site.root_token())
    root.write("sys/mounts/kept", {"type": "kv", "options": {"version": "1"}})
    root.write("kept/one", {"key": "value"})
    revoke_every_root(root)
    site.store.shares = None
    if record_too:
        site.store.claimed = site.store.configured = False
    engine = site.engine()
    assert engine.reconcile().problem is problem and vault.api.health() == 200, "it serves until its next restart"
    vault.kill()
    vault.start()
    wait_for(lambda: answers(vault), "Vault answers")
    assert engine.reconcile().problem is problem and vault.api.health() == 503
    # `secret-authority cluster restore-shares`, with what Git has.
    site.store.store(copy)
    site.in_service(engine)
    wait_for(lambda: vault.api.health() == 200, "Vault is active")
    root = vault.api.with_token(site.root_token())
    assert (root.read("kept/one") or {})["data"] == {"key": "value"}
    revoke_every_root(root)


def test_empty_storage_with_stored_shares_is_reported(site: Site) -> None:
    keys = seal_shares(["a", "b", "c"], 3, [str(site.cluster.to_public())])
    site.store.claimed, site.store.shares = True, keys
    assert site.engine().reconcile().problem is SealProblem.STORAGE_LOST


def test_an_engine_identity_may_not_do_more_than_it_needs(site: Site) -> None:
    """Tokens with the engine's and the configurator's policies, against the real policy engine."""
    site.in_service()
    root = site.vaults[0].api.with_token(site.root_token())
    root.write("sys/mounts/platform-data", {"type": "kv", "options": {"version": "2"}})

    def as_policy(name: str) -> Vault:
        made = root.write("auth/token/create", {"policies": [name], "no_default_policy": True, "ttl": "5m"})
        return site.vaults[0].api.with_token(made["auth"]["client_token"])

    engine, configurator = as_policy("secret-authority-engine"), as_policy("secret-authority-configurator")
    wait_for(lambda: _written(root), "the mount is upgraded")
    engine.write("platform-data/data/a/b", {"options": {"cas": 0}, "data": {"k": "v"}})
    engine.patch("platform-data/metadata/a/b", {"custom_metadata": {"authority": "vault"}})
    limits: list[dict[str, object]] = [{"max_versions": 1}, {"delete_version_after": "1s"}, {"cas_required": False}]
    for limit in limits:
        # The next rotation would delete the values of others, or nobody would have to prove what they replace.
        for body in (limit, {**limit, "custom_metadata": {"authority": "vault"}}):
            with pytest.raises(VaultRefusedError, match="403"):
                engine.patch("platform-data/metadata/a/b", body)
    refused: list[tuple[Vault, str, str]] = [
        (engine, "write", "platform-data/data/a/b"),
        (engine, "delete", "platform-data/data/a/b"),
        (engine, "delete", "platform-data/metadata/a/b"),
        (engine, "write", "sys/policies/acl/consumer-x"),
        (engine, "read", "sys/raw/core"),
        (configurator, "read", "platform-data/data/a/b"),
        (configurator, "write", "sys/policies/acl/secret-authority-engine"),
        (configurator, "write", "auth/kubernetes/role/secret-authority-engine"),
        (configurator, "write", "sys/mounts/other"),
        (configurator, "delete", "sys/audit/file"),
        (configurator, "read", "platform-authority/data/digest-key"),
    ]
    for vault, verb, path in refused:
        with pytest.raises(VaultRefusedError, match="403"):
            vault.write(path, {"data": {"k": "w"}}) if verb == "write" else getattr(vault, verb)(path)
    configurator.write("sys/policies/acl/consumer-x", {"policy": 'path "a" { capabilities = ["read"] }'})


def _written(root: Vault) -> bool:
    try:
        root.write("platform-data/data/probe", {"data": {"k": "v"}})
    except (VaultRefusedError, Unavailable):
        return False
    return True


def test_the_first_configuration_can_be_done_again(site: Site) -> None:
    site.in_service()
    root = site.vaults[0].api.with_token(site.root_token())
    before = root.read("platform-authority/data/digest-key")
    configure(root, first_configuration(site.vaults[0]))
    after = root.read("platform-authority/data/digest-key")
    assert before is not None and after is not None and before["data"] == after["data"]


@pytest.mark.parametrize("number", range(ROUNDS))
def test_three_that_start_at_once_form_one_cluster(tmp_path: Path, number: int) -> None:
    """Two engines work at the same time as well; still one Vault is initialised."""
    with servers(tmp_path, count=3) as vaults:
        site = Site(vaults)
        rival = threading.Thread(target=lambda: _ticks(site.engine()), daemon=True)
        rival.start()
        site.in_service()
        rival.join()
        ids = {(server.api.read("sys/seal-status") or {})["cluster_id"] for server in vaults}
        assert len(ids) == 1
        active = [server for server in vaults if server.api.health() == 200]
        assert len(active) == 1
        token = generate_root(active[0].api, open_shares(site.store.load(), str(site.root)))
        peers = active[0].api.with_token(token).read("sys/storage/raft/configuration")
        assert peers is not None
        assert {peer["node_id"] for peer in peers["data"]["config"]["servers"]} == {v.name for v in vaults}


def test_a_server_that_joins_with_an_empty_volume_is_opened_once(tmp_path: Path) -> None:
    """Opened twice, Vault 1.21 has two loops that wait for leadership, and does not notice when it has lost it."""
    with servers(tmp_path, count=2) as vaults:
        site = Site(vaults)
        engine = site.engine()
        site.in_service(engine)
        root = vaults[0].api.with_token(site.root_token())
        # So much that the second one does not have all of it at once.
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: root.write(f"sys/policies/acl/p{number}", {"policy": LONG}), range(1000)))
        second = vaults[1]
        second.kill()
        shutil.rmtree(second.folder / "raft")
        (second.folder / "raft").mkdir()
        log = second.folder / "log"
        before = log.read_text().count(STANDBY)
        second.start()
        site.in_service(engine)
        # Whoever gives the shares a second time does it within a look or two.
        for _ in range(10):
            engine.reconcile()
        assert log.read_text().count(STANDBY) == before + 1 and before == 1


STANDBY = "core: entering standby mode"
LONG = "# nothing is allowed\n" * 200


def _ticks(engine: Seal) -> None:
    for _ in range(40):
        try:
            if engine.reconcile().in_service:
                return
        except (Unavailable, LostRace, VaultRefusedError):
            continue
