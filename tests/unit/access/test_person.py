"""Who runs a command, by the API server's word."""

from __future__ import annotations

from typing import Any

import kubernetes
import pytest

from secret_authority.access.kubeconfig import ClusterConnection
from secret_authority.access.person import UNKNOWN, kubernetes_user
from secret_authority.clients.kubernetes import Api, ApiRefusedError
from secret_authority.core.errors import Unavailable


class Reviews(Api):
    """Answers a SelfSubjectReview."""

    def __init__(self, answer: dict[str, Any] | Exception) -> None:
        self.answer = answer

    def create(self, path: str, body: Any) -> dict[str, Any]:
        assert path == "apis/authentication.k8s.io/v1/selfsubjectreviews" and body["kind"] == "SelfSubjectReview"
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Connection(ClusterConnection):
    """A connection whose API server answers so."""

    def __init__(self, answer: dict[str, Any] | Exception) -> None:
        object.__setattr__(self, "answer", answer)

    def api(self) -> Api:
        return Reviews(self.answer)  # type: ignore[attr-defined]


def test_the_user_of_the_kubeconfig() -> None:
    assert kubernetes_user(Connection({"status": {"userInfo": {"username": "ada@example.org"}}})) == "ada@example.org"


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"status": {}},
        {"status": {"userInfo": {"username": ""}}},
        ApiRefusedError("POST", "x", 404, "NotFound"),
        Unavailable("away"),
        kubernetes.config.ConfigException("none"),
    ],
)
def test_a_server_that_does_not_say_holds_nothing_up(answer: dict[str, Any] | Exception) -> None:
    assert kubernetes_user(Connection(answer)) == UNKNOWN
