"""A cluster that is built again waits for its snapshot: what Pulumi builds meanwhile, and what it says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pulumi
import pytest

from components.preflight import rebuild
from components.preflight.rebuild import check_rebuild, waiting
from components.runtime_authority.runtime_authority import RuntimeAuthority, RuntimeAuthorityArgs
from components.settings.vault import VaultSettings
from secret_authority.access.cluster_state import ClusterState
from secret_authority.clients.object_store.folder import MARKER, FolderStore
from secret_authority.contract.engine_settings import EngineSettings
from secret_authority.core.errors import InvalidInputError
from secret_authority.core.phases import Phase
from secret_authority.core.restore.rebuild import WITHOUT, Await, Proceed
from secret_authority.core.restore.record import RestoreRecord
from secret_authority.repository.snapshot_settings import SnapshotSettings
from secret_authority.repository.trust.share_export import export_file
from tests.fakes.pulumi import Callbacks, Recorder, settings
from tests.support.fleets import Fleet, new_fleet
from tests.support.registrations import Registrations

NEW = "dev/2026/11/20261127T180000Z-60-0badcafe"
EMPTY = ClusterState(reachable=True)


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return new_fleet(tmp_path / "fleet")


@pytest.fixture
def store(tmp_path: Path) -> SnapshotSettings:
    folder = tmp_path / "store"
    folder.mkdir()
    (folder / MARKER).touch()
    FolderStore(folder).put_new(f"{NEW}/complete", b"")
    return SnapshotSettings.model_validate(
        {"apiVersion": "secret-authority.dev/v1", "kind": "Snapshots", "store": {"folder": str(folder)}}
    )


@pytest.fixture(autouse=True)
def record(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the cluster has on record of a restore."""
    found: dict[str, Any] = {"record": None}
    monkeypatch.setattr(rebuild, "read_restore_record", lambda _: found["record"])
    monkeypatch.setattr(pulumi, "get_stack", lambda: "test")
    return found


def check(fleet: Fleet, store: SnapshotSettings | None, wanted: str, cluster: ClusterState = EMPTY) -> Proceed | Await:
    return check_rebuild(settings(fleet, phase=Phase.CONSUMPTION), fleet.read(), cluster, store, wanted)


def test_a_store_with_a_snapshot_stops_the_run_until_somebody_decides(fleet: Fleet, store: SnapshotSettings) -> None:
    with pytest.raises(InvalidInputError) as refused:
        check(fleet, store, "")
    said = str(refused.value)
    assert "Pulumi.test.yaml: secret-authority:restore" in said and f"restore {NEW}`" in said and WITHOUT in said
    assert check(fleet, store, NEW) == Await(NEW)
    assert isinstance(check(fleet, store, WITHOUT), Proceed)


def test_it_continues_when_the_cluster_has_the_restore_on_record(
    fleet: Fleet, store: SnapshotSettings, record: dict[str, Any]
) -> None:
    record["record"] = begun = RestoreRecord(NEW, "kim", "2026-11-27T18:10:00+00:00")
    assert check(fleet, store, NEW) == Await(NEW)
    record["record"] = replace(begun, opened="2026-11-27T18:12:00+00:00")
    assert check(fleet, store, NEW) == Proceed()


def test_without_a_store_git_says_what_is_lost(fleet: Fleet) -> None:
    assert check(fleet, None, "") == Proceed(), "nothing says that there was a Vault"
    file = fleet.repository / export_file("dev")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("# of a Vault that was there\n")
    with pytest.raises(InvalidInputError, match="payment-api: enter again"):
        check(fleet, None, "")
    decided = check(fleet, None, WITHOUT)
    assert isinstance(decided, Proceed) and "session-key: minted anew" in decided.warning


def test_a_store_that_is_away_is_not_an_empty_one(fleet: Fleet, tmp_path: Path) -> None:
    away = SnapshotSettings.model_validate(
        {"apiVersion": "secret-authority.dev/v1", "kind": "Snapshots", "store": {"folder": str(tmp_path / "away")}}
    )
    (fleet.repository / export_file("dev")).write_text("# of a Vault that was there\n")
    with pytest.raises(InvalidInputError, match="cannot be listed from here"):
        check(fleet, away, "")


@pytest.mark.parametrize("wanted", ["yesterday", NEW.replace("dev/", "prod/", 1), f"{NEW}/complete"])
def test_what_is_no_snapshot_of_this_cluster_is_refused(fleet: Fleet, store: SnapshotSettings, wanted: str) -> None:
    with pytest.raises(InvalidInputError, match="is not a snapshot of cluster dev"):
        check(fleet, store, wanted)


def test_the_next_command_is_said() -> None:
    assert f"secret-authority restore --cluster NAME --snapshot {NEW}" in waiting(NEW)


def build(fleet: Fleet, restored: bool) -> Recorder:
    recorder = Recorder()
    monitor = Registrations(recorder)
    pulumi.runtime.set_mocks(recorder, project="secret-authority", stack="test", preview=False, monitor=monitor)
    pulumi.runtime.settings.SETTINGS.callbacks = Callbacks()  # type: ignore[attr-defined]

    @pulumi.runtime.test
    def run() -> pulumi.Output[Any]:
        chosen = settings(fleet, phase=Phase.RUNTIME_AUTHORITY)
        args = RuntimeAuthorityArgs(
            chosen, fleet.read(), VaultSettings(replicas=3, storage_class="fast", local_port=20001), NEW, restored
        )
        return RuntimeAuthority("runtime", args).phase

    run()
    return recorder


def engine_settings(recorder: Recorder) -> EngineSettings:
    texts = [data for config in recorder.kind("ConfigMap").values() for data in config["data"].values()]
    return next(EngineSettings.from_json(text) for text in texts if "awaitedSnapshot" in text)


def test_until_then_there_is_one_vault_pod_and_nothing_inside_of_it(fleet: Fleet) -> None:
    found = build(fleet, restored=False)
    (vault,) = found.kind("StatefulSet").values()
    assert vault["spec"]["replicas"] == 1
    assert engine_settings(found).awaited_snapshot == NEW and len(engine_settings(found).pods) == 1
    assert not found.kind("Mount") and not found.kind("AuthBackendRole") and not found.kind("Job")
    assert "runtime-authority-handover" not in json.dumps(list(found.inputs.values()), default=str)


def test_afterwards_everything_is_built_with_all_pods(fleet: Fleet) -> None:
    found = build(fleet, restored=True)
    (vault,) = found.kind("StatefulSet").values()
    assert vault["spec"]["replicas"] == 3
    assert len(engine_settings(found).pods) == 3
    assert len(found.kind("Mount")) == 2 and found.kind("Job")
