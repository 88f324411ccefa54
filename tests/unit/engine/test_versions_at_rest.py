"""When versions are taken for unchanged: what Vault counts a moment later is not missed."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from secret_authority.clients.vault import Vault
from secret_authority.core.errors import Unavailable
from secret_authority.engine.consumption import versions
from secret_authority.engine.consumption.versions import Versions

PLACE = ("platform-data", "postgres/orders")


class Late(Vault):
    """A Vault whose counters are behind what it has applied."""

    def __init__(self) -> None:
        super().__init__("https://vault.invalid")
        self.index: int | None = 5
        self.counted = self.version = 1
        self.away = False

    def read(self, path: str) -> dict[str, Any] | None:
        if self.away:
            raise Unavailable("sealed")
        if path == "sys/leader":
            return {} if self.index is None else {"leader_cluster_address": "a", "raft_applied_index": self.index}
        return {"data": {"current_version": self.version, "versions": {str(self.version): {}}}}

    def text(self, path: str) -> str:
        if self.away:
            raise Unavailable("sealed")
        return f"vault_route_update_platform_data__count {self.counted}"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Each look takes place half a second after the one before."""
    now = [1000.0]
    monkeypatch.setattr(versions.time, "monotonic", lambda: now[0])
    return now


def looked(found: Versions, clock: list[float], seconds: float) -> bool:
    """Whether a change was seen within so many seconds of looks."""
    end = clock[0] + seconds
    while clock[0] < end:
        clock[0] += 0.5
        if found.written():
            return True
    return False


@pytest.mark.parametrize("late", [0.0, 0.5, 1.0, 1.5])
def test_a_change_that_is_counted_late_is_seen(clock: list[float], late: float) -> None:
    vault = Late()
    found = Versions(vault)
    assert found.of([PLACE])[PLACE].number == 1
    assert not looked(found, clock, 10)
    vault.index, vault.version = 6, 2
    assert not late or not looked(found, clock, late)
    vault.counted = 2
    assert looked(found, clock, 1) and found.of([PLACE])[PLACE].number == 2


def test_without_an_index_the_counters_say_it(clock: list[float]) -> None:
    vault = Late()
    vault.index = None
    found = Versions(vault)
    found.of([PLACE])
    assert not looked(found, clock, 5)
    vault.counted, vault.version = 2, 2
    assert looked(found, clock, 1)


def test_a_vault_that_was_away_is_read_again(clock: list[float]) -> None:
    vault = Late()
    found = Versions(vault)
    found.of([PLACE])
    assert not looked(found, clock, 5)
    vault.away = True
    with pytest.raises(Unavailable):
        found.of([PLACE])
    vault.away, vault.version = False, 2
    assert found.of([PLACE])[PLACE].number == 2


def test_servers_that_are_asked_in_turn_hide_nothing(clock: list[float]) -> None:
    """A standby is a little behind, and a Service may lead to it every other time."""
    vault = Late()
    found = Versions(vault)
    found.of([PLACE])
    indices = itertools.cycle((6, 5))
    for _ in range(10):
        vault.index = next(indices)
        assert not looked(found, clock, 0.5)
    vault.counted, vault.version = 2, 2
    assert looked(found, clock, 1)
