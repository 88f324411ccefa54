"""What a run says of a cluster that its state does not know; when Pulumi asks has an integration test of this name."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pulumi
import pytest

from components.preflight.forgotten_state import built, refuse_forgotten_state
from secret_authority.access.cluster_state import UNREACHABLE, ClusterState
from secret_authority.core.errors import InvalidInputError
from secret_authority.core.forgotten_state import Built
from secret_authority.core.phases import Phase
from tests.fakes.pulumi import Callbacks, settings
from tests.support.fleets import new_fleet
from tests.support.recorded_inputs import HOME, run

AT = datetime(2026, 11, 28, 5, 0, tzinfo=UTC)
NOW = {"reachable": True, "built": True}


@pytest.mark.parametrize(
    ("cluster", "found"),
    [
        (UNREACHABLE, Built(False)),
        (ClusterState(reachable=True), Built(True)),
        (ClusterState(**NOW), Built(True, None, ("Namespace secret-authority",))),
        (
            ClusterState(**NOW, recipient="age1own", recorded_recipient="age1own"),
            Built(True, None, ("the identity of age1own", "ConfigMap secret-authority/cluster-identity")),
        ),
        (
            ClusterState(**NOW, strange_records=("ConfigMap secret-authority/phase-x",)),
            Built(True, None, ("ConfigMap secret-authority/phase-x",)),
        ),
        (
            ClusterState(**NOW, since={Phase.GITOPS: AT, Phase.RUNTIME_AUTHORITY: AT}, vault_built=True),
            Built(
                True,
                Phase.RUNTIME_AUTHORITY,
                (
                    "the record of phase 1 of 2026-11-28 05:00",
                    "the record of phase 3 of 2026-11-28 05:00",
                    "Namespace vault",
                ),
            ),
        ),
    ],
)
def test_what_is_found_is_named(cluster: ClusterState, found: Built) -> None:
    assert built(cluster) == found


def hook(cluster: ClusterState, folder: Path, monkeypatch: pytest.MonkeyPatch, *, preview: bool) -> pulumi.ResourceHook:
    """The hook as Pulumi would call it."""
    monkeypatch.setattr(pulumi.runtime.settings.SETTINGS, "callbacks", Callbacks(), raising=False)
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: preview)
    hooks = refuse_forgotten_state(settings(new_fleet(folder / "fleet")), cluster)
    (found,) = hooks.before_create or []
    assert isinstance(found, pulumi.ResourceHook)
    return found


@pytest.mark.parametrize("preview", [False, True])
@pytest.mark.parametrize(
    ("cluster", "refused"),
    [
        (ClusterState(reachable=True), {False: False, True: False}),
        (ClusterState(**NOW), {False: True, True: True}),
        (UNREACHABLE, {False: True, True: False}),
    ],
)
def test_the_run_is_refused(
    cluster: ClusterState, refused: dict[bool, bool], preview: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = hook(cluster, tmp_path, monkeypatch, preview=preview)
    assert found.opts is not None and found.opts.on_dry_run
    if not refused[preview]:
        found.callback(cast(Any, None))
        return
    with pytest.raises(InvalidInputError, match="this stack's state has nothing of it"):
        found.callback(cast(Any, None))


def test_every_object_of_the_cluster_waits_for_the_resource_that_is_asked_about(tmp_path: Path) -> None:
    """The layer of GitOps is the first of all, so that nothing is made before the question."""
    found = run(HOME, tmp_path)
    layers = [name for name in found if "layer:GitOps::" in name]
    assert [found[name]["before_create"] for name in layers] == [["state-of-this-cluster"]]
    first = next(number for number, name in enumerate(found) if "kubernetes:" in name and "providers" not in name)
    assert list(found).index(layers[0]) < first
