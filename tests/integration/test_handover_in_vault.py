"""A handover with a real Vault and the engine's own policy: what is create-only there, and what a reader may see."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from secret_authority.clients.vault import Vault, VaultRefusedError
from secret_authority.clients.vault_trail import read_records, read_trail
from secret_authority.contract.engine_settings import Identities
from secret_authority.contract.names import AUDITOR_ACCOUNT, ENGINE_ACCOUNT
from secret_authority.core.catalogue.admission import admitted_entries
from secret_authority.core.catalogue.schema import Catalogue
from secret_authority.core.digest import value_digest
from secret_authority.core.errors import Unavailable
from secret_authority.core.handover.runner import Result
from secret_authority.core.handover.state_machine import Blocked, Done, InGit, Reason, Step
from secret_authority.core.ledger.consistency import trail_mismatches
from secret_authority.engine.common.audit_events import trail_signer
from secret_authority.engine.handover.controller import Handover
from secret_authority.engine.handover.git_state import GitState
from secret_authority.engine.runtime_authority.initial_configuration import FirstConfiguration, configure
from tests.fakes.handover import MemoryApi, catalogue, entry, secret, secret_path
from tests.support.vault_process import servers, vault_program, wait_for

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(vault_program() is None, reason="no vault program: run `make tools`"),
]
VALUE = {"password": b"one", "blob": b"\xff\x00"}
KEYS = ("password", "blob")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vault]:
    """A configured Vault, as root."""
    with servers(tmp_path_factory.mktemp("handover")) as (server,):
        wait_for(lambda: _health(server.api) == 501, "Vault answers")
        made = server.api.write("sys/init", {"secret_shares": 1, "secret_threshold": 1})
        server.api.write("sys/unseal", {"key": made["keys"][0]})
        wait_for(lambda: server.api.health() == 200, "Vault is active")
        found = server.api.with_token(made["root_token"])
        nobody = ("none", "none")
        ca = Path(server.ca_file).read_text()
        configure(
            found, FirstConfiguration(Identities(nobody, nobody, nobody), str(server.audit_file), kubernetes_ca=ca)
        )
        found.write("sys/mounts/platform-data", {"type": "kv", "options": {"version": "2"}})
        wait_for(lambda: _takes(found), "the mount takes its configuration")
        yield found


def _takes(root: Vault) -> bool:
    with contextlib.suppress(VaultRefusedError, Unavailable):
        root.write("platform-data/config", {"cas_required": True})
        return True
    return False


def _health(vault: Vault) -> int | None:
    with contextlib.suppress(Unavailable):
        return vault.health()
    return None


def as_account(root: Vault, name: str) -> Vault:
    made = root.write("auth/token/create", {"policies": [name], "no_default_policy": True, "no_parent": True})
    return root.with_token(made["auth"]["client_token"])


def hand_over(root: Vault, api: MemoryApi, given: Catalogue) -> Result:
    handover = Handover("dev", api, as_account(root, ENGINE_ACCOUNT), "run-1", admitted_entries(given), 1)
    key = handover.key()
    known = {e.name: InGit(value_digest(key, e.name, str(e.vault), VALUE)) for e in given}
    (result,) = handover.run(GitState("main@sha1:1", given, known), key).results
    return result


def flux(api: MemoryApi, name: str) -> None:
    api.put(secret_path(name), secret(name, VALUE))


def test_every_step_has_the_right_that_it_needs_and_happens_once(root: Vault) -> None:
    api, given = MemoryApi(), catalogue(entry("a", "a", KEYS, binary=["blob"]))
    flux(api, "a")
    result = hand_over(root, api, given)
    assert isinstance(result.end, Done), result.end
    assert result.steps == (Step.BEGIN, Step.WRITE, Step.RECORD, Step.CONSUME, Step.AUDIT)
    flux(api, "a")
    again = hand_over(root, api, given)
    assert isinstance(again.end, Done) and again.steps == (Step.CONSUME,) and again.notices == ()
    moved = catalogue(entry("a", "a", KEYS, "elsewhere", binary=["blob"]))
    flux(api, "a")
    blocked = hand_over(root, api, moved)
    assert isinstance(blocked.end, Blocked) and blocked.end.reason is Reason.HANDED_OVER_BEFORE
    assert root.read("platform-data/data/d/elsewhere") is None


@pytest.mark.parametrize("path", ["handovers/b", "trail-key", "digest-key"])
def test_the_engine_changes_neither_notes_nor_keys(root: Vault, path: str) -> None:
    api = MemoryApi()
    flux(api, "b")
    hand_over(root, api, catalogue(entry("b", "b", KEYS, binary=["blob"])))
    engine = as_account(root, ENGINE_ACCOUNT)
    with pytest.raises(VaultRefusedError):
        engine.write(f"platform-authority/data/{path}", {"data": {"id": "x", "place": "y"}})
    with pytest.raises(VaultRefusedError):
        engine.delete(f"platform-authority/metadata/{path}")


def test_the_auditor_sees_trail_and_records_and_no_key(root: Vault) -> None:
    api = MemoryApi()
    flux(api, "c")
    hand_over(root, api, catalogue(entry("c", "c", KEYS, binary=["blob"])))
    auditor = as_account(root, AUDITOR_ACCOUNT)
    records, trail = read_records(auditor), read_trail(auditor)
    assert "platform-data/d/c" in records.ids and not records.broken and not trail.malformed
    assert trail_mismatches(trail.events, records.ids, None) == []
    for path in ("platform-authority/data/trail-key", "platform-authority/data/digest-key", "platform-data/data/d/c"):
        with pytest.raises(VaultRefusedError):
            auditor.read(path)
    assert trail_signer(as_account(root, ENGINE_ACCOUNT)).public_key.startswith("ed25519:")
