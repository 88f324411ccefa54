"""300 secrets that were handed over in one minute, and are all due when the engine comes back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest

from secret_authority.contract.rotation_settings import RotationSettings
from secret_authority.core.errors import Unavailable
from secret_authority.core.rotation.document import Request, RequestKind
from secret_authority.core.rotation.schedule import MOST_IN_FLIGHT
from secret_authority.engine.common.status import Status
from secret_authority.engine.rotation import controller
from secret_authority.engine.rotation.controller import RotationController
from secret_authority.engine.rotation.rotators import registry
from tests.fakes.kv import KvVault
from tests.support.rotation_herd import HerdCluster, hand_over, herd_catalogue, name_of

SECRETS, OF_A_WORKLOAD = 300, 10
# Of a round: the status, and for each rotation that ends or begins the looks at its ExternalSecret and its pods.
MOST_API_REQUESTS = 2 + 4 * 2 * MOST_IN_FLIGHT
# Of a round: the time, the requests, and a rotation's own; without them the round reads nothing.
MOST_VAULT_REQUESTS = 4 + 60 * MOST_IN_FLIGHT


def test_three_hundred_due_at_once_are_taken_a_few_at_a_time(
    record_property: Callable[[str, object], None],
) -> None:
    vault, catalogue = KvVault(), herd_catalogue(SECRETS)
    hand_over(vault, catalogue, timedelta(hours=2))
    cluster = HerdCluster(vault, SECRETS, OF_A_WORKLOAD)
    settings = RotationSettings("dev", catalogue)
    engine = RotationController(settings, cluster, vault, "ns", "run-1", Status())  # type: ignore[arg-type]
    most = {"in flight": 0, "api": 0, "vault": 0}
    for number in range(2 * SECRETS):
        before, asked = cluster.requests, sum(vault.requests.values())
        engine.reconcile()
        shown = json.loads(cluster.objects["api/v1/namespaces/ns/configmaps/rotation-status"]["data"]["secrets"])
        in_flight = sum(entry["state"] != "idle" for entry in shown.values())
        most["in flight"] = max(most["in flight"], in_flight)
        if number:  # the first round looks at every secret once
            most["api"] = max(most["api"], cluster.requests - before)
            most["vault"] = max(most["vault"], sum(vault.requests.values()) - asked)
        cluster.settle()
        if not in_flight and all(entry["generation"] == 1 for entry in shown.values()):
            break
    else:
        raise AssertionError("they are not rotated")
    assert 1 < most["in flight"] <= MOST_IN_FLIGHT
    assert most["api"] <= MOST_API_REQUESTS and most["vault"] <= MOST_VAULT_REQUESTS, most
    # Each workload has ten new values: never more restarts than that.
    assert max(cluster.restarts.values()) <= OF_A_WORKLOAD, cluster.restarts
    figures = (
        f"{SECRETS} in {number + 1} rounds; at most {most['in flight']} in flight, {most['api']} requests to the API "
        f"server and {most['vault']} to Vault in a round, {max(cluster.restarts.values())} restarts of a workload with "
        f"{OF_A_WORKLOAD} new values"
    )
    record_property("figures", figures)
    print(figures)
    quiet, asked = cluster.requests, sum(vault.requests.values())
    engine.reconcile()
    assert cluster.requests - quiet <= 2 and sum(vault.requests.values()) - asked <= 4, "at rest it asks for everything"


def test_at_rest_a_round_costs_the_same_however_many_secrets_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Metrics, due times and status are made again for what has changed; what is installed is read once."""
    vault, catalogue, status = KvVault(), herd_catalogue(SECRETS, "8760h"), Status()
    hand_over(vault, catalogue, timedelta(hours=1))
    cluster = HerdCluster(vault, SECRETS, OF_A_WORKLOAD)
    calls = Counter[str]()

    def counted(place: Any, name: str) -> None:
        original = getattr(place, name)

        def call(*given: Any, **more: Any) -> Any:
            calls[name] += 1
            return original(*given, **more)

        monkeypatch.setattr(place, name, call)

    registry.installed.cache_clear()
    counted(registry, "entry_points")
    engine = RotationController(RotationSettings("dev", catalogue), cluster, vault, "ns", "run-1", status)  # type: ignore[arg-type]
    engine.reconcile()
    assert calls["entry_points"] == 1
    for place, name in ((status, "number"), (controller, "shown"), (controller, "candidate"), (controller, "due_at")):
        counted(place, name)
    engine.reconcile()
    assert calls.total() - calls["entry_points"] <= 20, calls
    # It is not blind for that: what is due is seen at its time, and what changes is shown.
    record = {"custom_metadata": {"handover_at": "2020-01-01T00:00:00+00:00"}}
    vault.patch(f"platform-data/metadata/herd/{name_of(7)}", record)
    engine.look_again()
    engine.reconcile()
    shown = json.loads(cluster.objects["api/v1/namespaces/ns/configmaps/rotation-status"]["data"]["secrets"])
    assert [name for name, entry in shown.items() if entry["state"] != "idle"] == [name_of(7)]


def test_a_look_at_every_secret_reads_its_document_and_its_metadata_and_no_more() -> None:
    vault, catalogue = KvVault(), herd_catalogue(SECRETS, "8760h")
    hand_over(vault, catalogue, timedelta(hours=1))
    cluster = HerdCluster(vault, SECRETS, OF_A_WORKLOAD)
    engine = RotationController(RotationSettings("dev", catalogue), cluster, vault, "ns", "run-1", Status())  # type: ignore[arg-type]
    engine.reconcile()
    vault.requests.clear()
    engine.look_again()
    engine.reconcile()
    assert vault.requests["read"] <= 2 * SECRETS + 4 and vault.requests["list"] <= 4, vault.requests


class LosesAnswers(KvVault):
    """Takes one write, and is away from then on for some requests: the answer does not arrive."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at, self.writes, self.away = at, 0, 0

    def _pass(self) -> None:
        if self.away:
            self.away -= 1
            raise Unavailable("cut")

    def read(self, path: str) -> dict[str, Any] | None:
        self._pass()
        return super().read(path)

    def write(self, path: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        self._pass()
        answer = super().write(path, data)
        self.writes += 1
        if self.writes == self.at:
            self.away = 4
            raise Unavailable("cut")
        return answer


@pytest.mark.parametrize("after", range(1, 8))
def test_an_answer_that_is_lost_costs_a_round_and_not_the_five_minutes_of_a_full_look(after: int) -> None:
    vault, catalogue = LosesAnswers(0), herd_catalogue(1, "8760h")
    hand_over(vault, catalogue, timedelta(hours=1))
    vault.at = vault.writes + 1 + after  # the request itself is filed undisturbed
    cluster = HerdCluster(vault, 1, 1)
    settings = RotationSettings("dev", catalogue)
    engine = RotationController(settings, cluster, vault, "ns", "run-1", Status())  # type: ignore[arg-type]
    engine.reconcile()
    request = Request("r1", RequestKind.ROTATE, "a test", at="2026-01-01T00:00:00+00:00")
    path = f"platform-rotation/data/rotation-requests/{name_of(0)}/r1"
    vault.write(path, {"options": {"cas": 0}, "data": request.fields()})
    for _ in range(20):
        engine.reconcile()
        cluster.settle()
    shown = json.loads(cluster.objects["api/v1/namespaces/ns/configmaps/rotation-status"]["data"]["secrets"])
    assert vault.writes >= vault.at, "nothing was lost"
    assert (shown[name_of(0)]["state"], shown[name_of(0)]["result"]) == ("idle", "done")
