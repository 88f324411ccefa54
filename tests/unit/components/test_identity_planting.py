"""When the cluster's identity is planted: with the root holder; without one only the right identity will do."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pulumi
import pytest

from components.gitops import cluster_identity
from components.gitops.gitops import GitOps, GitOpsArgs
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
