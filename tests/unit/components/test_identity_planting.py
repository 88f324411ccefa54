"""When the cluster's identity is planted: with the root holder; without one only the right identity will do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import kubernetes
import pulumi
import pytest

from components.gitops import cluster_identity
from components.gitops.cluster_identity import planted_again
from components.gitops.gitops import GitOps, GitOpsArgs
from secret_authority.access.cluster_state import ClusterState
from secret_authority.clients.age import Identity
from secret_authority.contract.names import ENGINE_NAMESPACE, FLUX_NAMESPACE
from secret_authority.core.errors import InvalidInputError
from secret_authority.core.recipients import TrustRecord
from tests.fakes.pulumi import Callbacks, Recorder, settings
from tests.support.fleets import new_fleet


@pytest.fixture
def hook(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Calls the hook as Pulumi does, with what is planted already; gives the namespaces that were planted."""
    fleet = new_fleet(tmp_path)
    planted: list[str] = []
    monkeypatch.setattr(cluster_identity, "plant", lambda _c, namespace, _i: planted.append(namespace))

    def call(*, root_holder: bool, right: bool) -> list[str]:
        monkeypatch.setattr(cluster_identity, "is_planted", lambda *_: right)
        pulumi.runtime.set_mocks(Recorder(), project="secret-authority", stack="test", preview=False)
        callbacks = Callbacks()
        pulumi.runtime.settings.SETTINGS.callbacks = callbacks  # type: ignore[attr-defined]

        @pulumi.runtime.test
        def build() -> pulumi.Output[Any]:
            identity = Identity.generate() if root_holder else None
            root = SimpleNamespace(identity=identity, record=TrustRecord("age1wanted", frozenset()))
            return GitOps("gitops", GitOpsArgs(settings(fleet), cast(Any, root), "age1wanted")).evidence

        build()
        callbacks.hooks["plant-cluster-identity"].callback(cast(Any, None))
        return planted

    return call


def test_the_root_holder_plants_it_whatever_is_there(hook: Callable[..., list[str]]) -> None:
    assert hook(root_holder=True, right=True) == [FLUX_NAMESPACE, ENGINE_NAMESPACE]


def test_the_right_identity_needs_nobody(hook: Callable[..., list[str]]) -> None:
    assert hook(root_holder=False, right=True) == []


def test_another_identity_needs_the_root_holder(hook: Callable[..., list[str]]) -> None:
    with pytest.raises(InvalidInputError, match="SECRET_AUTHORITY_ROOT_IDENTITY"):
        hook(root_holder=False, right=False)


CLUSTER = ClusterState(reachable=True, recorded_recipient="age1wanted", planted_again="before")


@pytest.mark.parametrize(
    ("holder", "cluster", "there", "says"),
    [
        (True, CLUSTER, True, "before"),
        (True, CLUSTER, False, "now"),
        (True, replace(CLUSTER, planted_again=""), False, "now"),
        (False, CLUSTER, False, "before"),
        # Nothing is on record: it is planted with the record.
        (True, ClusterState(reachable=True), False, ""),
        (True, CLUSTER, kubernetes.client.ApiException(status=403), "before"),
    ],
)
def test_a_deleted_identity_changes_its_record(
    monkeypatch: pytest.MonkeyPatch, holder: bool, cluster: ClusterState, there: bool | Exception, says: str
) -> None:
    def planted(*_: object) -> bool:
        if isinstance(there, Exception):
            raise there
        return there

    monkeypatch.setattr(cluster_identity, "is_planted", planted)
    identity = Identity.generate() if holder else None
    found = planted_again(cast(Any, None), identity, cluster)
    assert found == says if says != "now" else datetime.fromisoformat(found) <= datetime.now(UTC)


def test_the_record_says_it_only_where_it_happened(fleet_record: Callable[[str], dict[str, str]]) -> None:
    assert "secret-authority.dev/planted-again" not in fleet_record("")
    assert fleet_record("2026-01-01T00:00:00Z")["secret-authority.dev/planted-again"] == "2026-01-01T00:00:00Z"


@pytest.fixture
def fleet_record(tmp_path: Any) -> Callable[[str], dict[str, str]]:
    """The annotations of the record."""
    fleet = new_fleet(tmp_path)

    def annotations(again: str) -> dict[str, str]:
        recorder = Recorder()
        pulumi.runtime.set_mocks(recorder, project="secret-authority", stack="test", preview=False)
        pulumi.runtime.settings.SETTINGS.callbacks = Callbacks()  # type: ignore[attr-defined]

        @pulumi.runtime.test
        def build() -> pulumi.Output[Any]:
            root = SimpleNamespace(identity=None, record=TrustRecord("age1wanted", frozenset()))
            args = GitOpsArgs(settings(fleet), cast(Any, root), "age1wanted", None, again)
            return GitOps("gitops", args).evidence

        build()
        found: dict[str, str] = recorder.inputs["ConfigMap", "gitops-cluster-identity"]["metadata"]["annotations"]
        return found

    return annotations
