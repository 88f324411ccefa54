"""The watch over Vault's first minutes lasts from when Pulumi begins to wait for Vault until it has it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pulumi
import pytest

from components.runtime_authority import vault_clearing
from components.runtime_authority.vault_clearing import ClearingWatch, Expected, VaultClearing
from secret_authority.access.kubeconfig import ClusterConnection
from secret_authority.core.errors import Unavailable
from secret_authority.core.phases import Phase
from secret_authority.repository.trust.share_export import export_file
from tests.fakes.kubernetes import FakeApi
from tests.fakes.pulumi import Callbacks, Recorder
from tests.support.fleets import Fleet, new_fleet

WAY = ClusterConnection(Path("/nonexistent"))
NOBODY = cast(Any, None)


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return new_fleet(tmp_path)


class Watches:
    """Stands for `VaultClearing`: notes what is expected, and whether the watch has ended."""

    def __init__(self) -> None:
        self.expected: list[Expected] = []
        self.ended = threading.Event()
        self.begun = threading.Event()

    def __call__(self, way: ClusterConnection, expected: Expected, vaults: object, say: object) -> Watches:
        assert way == WAY and say is pulumi.log.warn
        self.expected.append(expected)
        return self

    def watch(self, ended: threading.Event) -> None:
        self.begun.set()
        assert ended.wait(60)
        self.ended.set()


@contextmanager
def no_tunnels(_: ClusterConnection) -> Iterator[None]:
    yield


def hooks(fleet: Fleet, stack: Phase | None) -> dict[str, Any]:
    pulumi.runtime.set_mocks(Recorder(), project="secret-authority", stack="test", preview=False)
    callbacks = pulumi.runtime.settings.SETTINGS.callbacks = Callbacks()  # type: ignore[attr-defined]

    @pulumi.runtime.test
    def run() -> None:
        ClearingWatch(WAY, 3, (5, 3), fleet.read(), pulumi.Output.from_input(stack))

    run()
    return {name: hook.callback for name, hook in callbacks.hooks.items()}


@pytest.mark.parametrize("reached", [None, Phase.BOOTSTRAP, Phase.CONSUMPTION])
def test_it_begins_and_ends_with_pulumis_wait(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, reached: Phase | None
) -> None:
    watches = Watches()
    monkeypatch.setattr(vault_clearing, "VaultClearing", watches)
    monkeypatch.setattr(vault_clearing, "tunnels", no_tunnels)
    found = hooks(fleet, reached)
    assert not watches.begun.is_set(), "nothing happens while resources are only declared"
    # `asyncio.run` would leave this thread without an event loop, which Pulumi needs.
    loop = asyncio.new_event_loop()
    loop.run_until_complete(found["watch-first-minutes"](NOBODY))
    loop.close()
    assert watches.begun.wait(60) and not watches.ended.is_set()
    found["end-watch-of-first-minutes"](NOBODY)
    assert watches.ended.wait(60)
    assert watches.expected == [Expected(3, (5, 3), (), reached)]


def test_what_git_has_of_an_earlier_vault_is_known(fleet: Fleet) -> None:
    file = export_file(fleet.read().layout.cluster)
    (fleet.repository / file).parent.mkdir(parents=True, exist_ok=True)
    (fleet.repository / file).write_text("shares")
    assert vault_clearing.in_git(fleet.read()) == (file,)


@pytest.mark.parametrize("error", [Unavailable("away"), ValueError("a record of somebody"), KeyError("initialized")])
def test_what_cannot_be_seen_or_understood_is_looked_at_again(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    looks, ended = [0], threading.Event()

    def look(_: object) -> None:
        looks[0] += 1
        if looks[0] == 5:
            ended.set()
        raise error

    monkeypatch.setattr(vault_clearing, "read_cluster_state", look)
    monkeypatch.setattr(vault_clearing, "LOOK_SECONDS", 0.01)
    way = cast(Any, SimpleNamespace(api=FakeApi))
    VaultClearing(way, Expected(1, (5, 3), (), None), pytest.fail, pytest.fail).watch(ended)
    assert looks[0] == 5
