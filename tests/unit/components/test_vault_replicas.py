"""Fewer Vault pods than run are refused before the first change."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kubernetes
import pytest
import urllib3

from components.preflight.vault_scale_down import refuse_fewer_replicas
from secret_authority.access.kubeconfig import ClusterConnection
from secret_authority.core.errors import InvalidInputError


def cluster(monkeypatch: pytest.MonkeyPatch, answer: int | Exception) -> None:
    def read(self: Any, name: str, namespace: str, **_: object) -> Any:
        assert (namespace, name) == ("vault", "vault")
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(spec=SimpleNamespace(replicas=answer))

    monkeypatch.setattr(ClusterConnection, "core_api", lambda _: SimpleNamespace(api_client=None))
    monkeypatch.setattr(kubernetes.client.AppsV1Api, "read_namespaced_stateful_set", read)


def test_fewer_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster(monkeypatch, 3)
    with pytest.raises(InvalidInputError, match="1 is less than the 3 pods that run"):
        refuse_fewer_replicas(ClusterConnection(Path("k")), 1)


@pytest.mark.parametrize(
    "answer",
    [1, 3, kubernetes.client.ApiException(status=404), urllib3.exceptions.HTTPError("away")],
)
def test_as_many_or_more_and_no_vault_are_fine(monkeypatch: pytest.MonkeyPatch, answer: int | Exception) -> None:
    cluster(monkeypatch, answer)
    refuse_fewer_replicas(ClusterConnection(Path("k")), 3)
