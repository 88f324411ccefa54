"""A wrong entry of the catalogue: a new one is left out, one that is built, or may be, stops the run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kubernetes
import pulumi
import pytest
import urllib3

from components.preflight.left_out import check_left_out
from secret_authority.access.cluster_state import UNREACHABLE, ClusterState
from secret_authority.access.kubeconfig import ClusterConnection
from secret_authority.contract.consumption_settings import ConsumptionSettings
from secret_authority.core.errors import InvalidInputError
from secret_authority.core.phases import Phase
from secret_authority.repository.intent.intent import Intent
from tests.fakes.pulumi import settings
from tests.support.fleets import CLUSTER, Fleet, new_fleet

CATALOGUE = f"secret-authority/{CLUSTER}/catalogue.yaml"
BARE = ClusterState(reachable=True)
BUILT = ClusterState(reachable=True, built=True, since=dict.fromkeys(Phase, None))  # type: ignore[arg-type]
ABSENT = kubernetes.client.ApiException(status=404)


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return new_fleet(tmp_path)


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", said.append)
    return said


def spoil(fleet: Fleet, name: str) -> Intent:
    def change(document: Any) -> None:
        next(entry for entry in document["secrets"] if entry["name"] == name)["owner"] = ""

    fleet.edit(CATALOGUE, change)
    return fleet.read(leave_out=True)


def task(monkeypatch: pytest.MonkeyPatch, answer: str | Exception) -> None:
    """What the ConfigMap of the engine of consumption holds."""

    def read(name: str, namespace: str, **_: object) -> Any:
        assert (namespace, name) == ("secret-authority", "secret-authority-consumption-task")
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(data={"task.json": answer})

    api = SimpleNamespace(read_namespaced_config_map=read)
    monkeypatch.setattr(ClusterConnection, "core_api", lambda _: api)


@pytest.mark.parametrize("phase", [Phase.ROOT_OF_TRUST, Phase.BOOTSTRAP, Phase.RUNTIME_AUTHORITY])
def test_before_consumption_an_entry_has_nothing_to_lose(fleet: Fleet, warnings: list[str], phase: Phase) -> None:
    intent = spoil(fleet, "billing-db")
    check_left_out(settings(fleet, phase=phase), intent, UNREACHABLE)
    (said,) = warnings
    assert said.startswith("billing-db is left out") and f"{CATALOGUE}: secrets[billing-db].owner" in said


def test_a_new_entry_is_left_out_and_a_built_one_stops_the_run(
    fleet: Fleet, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    old = fleet.read().catalogue
    here = settings(fleet, phase=Phase.CONSUMPTION)
    without = old.model_copy(update={"secrets": tuple(entry for entry in old if entry.name != "billing-db")})
    intent = spoil(fleet, "billing-db")
    task(monkeypatch, ConsumptionSettings(CLUSTER, without, {}).to_json())
    check_left_out(here, intent, BUILT)
    assert len(warnings) == 1
    task(monkeypatch, ConsumptionSettings(CLUSTER, old, {}).to_json())
    with pytest.raises(InvalidInputError, match=r"secrets\[billing-db\]\.owner"):
        check_left_out(here, intent, BUILT)
    # A lower phase in the configuration is refused for another reason, and does not hide this one.
    with pytest.raises(InvalidInputError):
        check_left_out(settings(fleet, phase=Phase.BOOTSTRAP), intent, BUILT)


def test_a_cluster_on_which_nothing_is_built_leaves_it_out(
    fleet: Fleet, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    task(monkeypatch, ABSENT)
    check_left_out(settings(fleet, phase=Phase.CONSUMPTION), spoil(fleet, "billing-db"), BARE)
    assert len(warnings) == 1


@pytest.mark.parametrize("answer", [ABSENT, "", "{}", "{", urllib3.exceptions.HTTPError("away")])
def test_what_was_built_and_cannot_be_told_stops_the_run(
    fleet: Fleet, warnings: list[str], monkeypatch: pytest.MonkeyPatch, answer: str | Exception
) -> None:
    here, intent = settings(fleet, phase=Phase.CONSUMPTION), spoil(fleet, "billing-db")
    task(monkeypatch, answer)
    with pytest.raises(InvalidInputError, match="billing-db"):
        check_left_out(here, intent, BUILT)
    with pytest.raises(InvalidInputError, match="billing-db"):
        check_left_out(here, intent, UNREACHABLE)
    assert not warnings


def test_nothing_is_asked_when_nothing_is_left_out(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    task(monkeypatch, AssertionError())
    check_left_out(settings(fleet, phase=Phase.CONSUMPTION), fleet.read(leave_out=True), BUILT)
