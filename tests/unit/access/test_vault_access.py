"""When the program opens its session with Vault: once, when Vault is there, and never in a preview."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pulumi
import pytest

from components.runtime_authority import vault_provider_session as vault_access
from components.runtime_authority.vault_provider_session import VaultProviderSession
from components.settings.stack import Settings
from secret_authority.access.kubeconfig import ClusterConnection
from secret_authority.access.vault_session import OPEN_VARIABLE, Session
from secret_authority.access.vault_tunnel import VaultSessionError
from tests.fakes.pulumi import Callbacks, Recorder

CHANGE = cast(pulumi.ResourceHookArgs, None)


class World:
    """What the access finds: whether Vault is ready, whether this is a preview; and the sessions it opened."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.ready, self.preview, self.fails = True, False, False
        self.opened: list[Session] = []
        patch.delenv(OPEN_VARIABLE, raising=False)
        patch.setattr(vault_access, "vault_is_ready", lambda *_: self.ready)
        patch.setattr(vault_access, "engine_address", lambda: "127.0.0.1:1")
        patch.setattr(vault_access, "open_session", self._open)
        patch.setattr(pulumi.runtime, "is_dry_run", lambda: self.preview)
        pulumi.runtime.set_mocks(Recorder(), project="secret-authority", stack="test", preview=False)
        pulumi.runtime.settings.SETTINGS.callbacks = Callbacks()  # type: ignore[attr-defined]

    def _open(self, session: Session) -> None:
        if self.fails:
            raise VaultSessionError("no Vault pod is ready")
        self.opened.append(session)

    def access(self) -> VaultProviderSession:
        settings: Any = SimpleNamespace(
            connection=ClusterConnection(Path("kubeconfig")), layout=SimpleNamespace(cluster="blue")
        )
        return VaultProviderSession(cast(Settings, settings), 21013)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_one_session_serves_the_whole_run(world: World) -> None:
    access = world.access()
    access.open_if_in_service()
    for _ in range(3):
        access.before_change(CHANGE)
    (session,) = world.opened
    assert session.address == access.address == "https://127.0.0.1:21013"
    assert str(session.folder).endswith("/.local/blue/vault-session") and session.engine == "127.0.0.1:1"


def test_a_vault_that_comes_up_in_this_run_is_reached_by_the_first_change(world: World) -> None:
    world.ready = False
    access = world.access()
    access.open_if_in_service()
    assert not world.opened
    access.before_change(CHANGE)
    assert len(world.opened) == 1


def test_a_preview_opens_nothing(world: World) -> None:
    world.preview = True
    world.access().open_if_in_service()
    assert not world.opened


def test_a_session_that_was_opened_before_pulumi_is_used(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OPEN_VARIABLE, "1")
    access = world.access()
    access.open_if_in_service()
    access.before_change(CHANGE)
    assert not world.opened


def test_a_failure_is_told_by_the_first_change_with_the_way_out(world: World) -> None:
    world.fails = True
    access = world.access()
    access.open_if_in_service()
    with pytest.raises(VaultSessionError, match=r"no Vault pod is ready\. Fix: see the pods of namespace vault"):
        access.before_change(CHANGE)
