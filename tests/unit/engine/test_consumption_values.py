"""What a secret without a first value costs Vault's audit log, and how soon its value is noticed."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from secret_authority.clients.kubernetes import Api
from secret_authority.clients.vault import Vault
from secret_authority.contract.consumption_settings import ConsumptionSettings
from secret_authority.contract.names import VERSION_ANNOTATION
from secret_authority.core.catalogue.schema import parse_catalogue
from secret_authority.engine.common.backoff import Backoff
from secret_authority.engine.common.status import Status
from secret_authority.engine.consumption import controller
from secret_authority.engine.consumption.controller import VALUES, ConsumptionController
from secret_authority.engine.tls.secret_store_bundles import SecretStoreBundles
from tests.fakes.kv import KvVault

ENTRY = {
    "name": "payment-api",
    "class": "external",
    "owner": "payments",
    "vault": {"datasource": "payment", "consumer": "billing"},
    "rotation": {"type": "static"},
    "consumers": [{"namespace": "shop", "secret": "payment", "keys": {"KEY": "api-key"}}],
}
CATALOGUE = parse_catalogue(
    {
        "apiVersion": "secret-authority.dev/v1",
        "kind": "SecretCatalogue",
        "bootstrapNamespaces": ["bs"],
        "secrets": [ENTRY],
    },
    "catalogue",
)


class EmptyVault(Vault):
    """Holds nothing, and counts."""

    def __init__(self) -> None:
        super().__init__("https://vault.invalid")
        self.asked = 0

    def read(self, path: str) -> dict[str, Any] | None:
        self.asked += 1
        return None


def test_a_value_not_yet_entered_costs_next_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controller, "consumption_digest_key", lambda _: b"k" * 32)
    vault, status, now = EmptyVault(), Status(), 0.0
    task = ConsumptionSettings("dev", CATALOGUE, {})
    engine = ConsumptionController(task, cast(Api, None), vault, "ns", "run", status, Path("/nonexistent"))
    engine.pace = Backoff(lambda: now)
    for _ in range(1800):  # an hour of rounds
        engine.reconcile_values()
        now += 2.0
    assert "payment-api is not entered yet" in str(status.as_dict()[VALUES]["message"])
    assert vault.asked <= 25
    engine.pace.forget("payment-api")
    before = vault.asked
    engine.reconcile_values()
    assert vault.asked == before + 1


def test_a_thousand_secrets_that_are_due_again_at_once_do_not_hold_up_delivery(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controller, "consumption_digest_key", lambda _: b"k" * 32)
    now = 0.0

    class SlowVault(EmptyVault):
        def read(self, path: str) -> dict[str, Any] | None:
            nonlocal now
            now += 0.005
            return super().read(path)

    at = {"namespace": "shop", "keys": {"KEY": "api-key"}}
    entries = [
        {
            **ENTRY,
            "name": f"s{n}",
            "vault": {"datasource": "bench", "consumer": f"s{n}"},
            "consumers": [{**at, "secret": f"s{n}"}],
        }
        for n in range(1000)
    ]
    catalogue = parse_catalogue(
        {"apiVersion": "secret-authority.dev/v1", "kind": "SecretCatalogue", "bootstrapNamespaces": ["bs"]}
        | {"secrets": entries},
        "catalogue",
    )
    vault, status = SlowVault(), Status()
    task = ConsumptionSettings("dev", catalogue, {})
    engine = ConsumptionController(task, cast(Api, None), vault, "ns", "run", status, Path("/nonexistent"))
    engine.pace = Backoff(lambda: now)
    engine.reconcile_values()
    assert vault.asked == 1000, "the first time each is looked at, so that the condition is true of all"
    now += 300.0
    for _ in range(25):
        before = now
        engine.reconcile_values()
        assert now - before <= 0.3
        now += 2.0
    assert vault.asked >= 2000, "and each has its turn"


class ExternalSecrets(Api):
    """One ExternalSecret whose controller reads at once, and whatever else is created."""

    def __init__(self) -> None:
        self.looks = 0
        self.one: dict[str, Any] = {"metadata": {"name": "payment", "namespace": "shop", "resourceVersion": "1"}}

    def list(self, path: str, label_selector: str = "") -> list[dict[str, Any]]:
        self.looks += path.endswith("externalsecrets")
        return [copy.deepcopy(self.one)] if path.endswith("externalsecrets") else []

    def get(self, path: str) -> dict[str, Any] | None:
        return None

    def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return dict(body)

    def merge(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        annotations = self.one["metadata"].setdefault("annotations", {})
        annotations.update(body["metadata"].get("annotations", {}))
        ready = [{"type": "Ready", "status": "True"}]
        self.one["status"] = {"conditions": ready, "syncedResourceVersion": str(annotations)}
        return self.one


class Counting(KvVault):
    """Counts changes as Vault does."""

    def text(self, path: str) -> str:
        done = self.requests["write"] + self.requests["patch"]
        return f'vault_route_update_platform_data__count{{cluster="c"}} {done}'


def test_a_value_on_record_is_looked_at_ever_more_rarely_and_at_once_when_it_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(controller, "consumption_digest_key", lambda _: b"k" * 32)
    vault, now = Counting(), 0.0
    task = ConsumptionSettings("dev", CATALOGUE, {})
    engine = ConsumptionController(task, ExternalSecrets(), vault, "ns", "run", Status(), Path("/nonexistent"))
    engine.pace = Backoff(lambda: now)
    path = "platform-data/data/payment/billing"
    vault.write(path, {"options": {"cas": 0}, "data": {"api-key": "first"}})
    for _ in range(6):
        engine.reconcile()
        now += 20.0
    assert vault.held["platform-data/payment/billing"].custom["authority"] == "vault"
    before = vault.requests["read"]
    for _ in range(180):  # an hour
        engine.reconcile()
        now += 20.0
    assert vault.requests["read"] - before <= 20, "two reads a look"
    vault.write(path, {"options": {"cas": 1}, "data": {"api-key": "second"}})
    vault.held["platform-data/payment/billing"].custom.clear()
    engine.reconcile()
    engine.reconcile()
    assert vault.held["platform-data/payment/billing"].custom["authority"] == "vault", "its record was not made again"


def test_between_two_rounds_vault_is_asked_whether_something_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controller, "consumption_digest_key", lambda _: b"k" * 32)
    vault, api, now = Counting(), ExternalSecrets(), 1000.0
    monkeypatch.setattr(SecretStoreBundles, "reconcile", lambda _: iter(()))
    monkeypatch.setattr(controller, "time", SimpleNamespace(monotonic=lambda: now))
    task = ConsumptionSettings("dev", CATALOGUE, {})
    engine = ConsumptionController(task, api, vault, "ns", "run", Status(), Path("/nonexistent"))
    path = "platform-data/data/payment/billing"
    vault.write(path, {"options": {"cas": 0}, "data": {"api-key": "first"}})
    for _ in range(5):
        now += engine.round_if_due()
    looks, begun, before = api.looks, now, vault.requests["read"]
    while now < begun + 20:
        rest = engine.round_if_due()
        assert 0 < rest <= controller.PEEK_SECONDS
        now += rest
    assert 8 <= api.looks - looks <= 12, "a round takes place every other second"
    assert vault.requests["read"] - before <= 2, "no path is read"
    now += engine.round_if_due()
    looks = api.looks
    vault.write(path, {"options": {"cas": 1}, "data": {"api-key": "second"}})
    rest = engine.round_if_due()
    assert api.looks == looks + 1, "it waits for the next round"
    assert rest == controller.SOON_SECONDS, "what is written next waits"
    assert api.one["metadata"]["annotations"][VERSION_ANNOTATION].startswith("2@")


def test_what_is_written_is_delivered_before_anything_else_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controller, "consumption_digest_key", lambda _: b"k" * 32)
    vault, now, order = Counting(), 1000.0, list[str]()
    monkeypatch.setattr(SecretStoreBundles, "reconcile", lambda _: iter(()))
    monkeypatch.setattr(controller, "time", SimpleNamespace(monotonic=lambda: now))
    task = ConsumptionSettings("dev", CATALOGUE, {})
    engine = ConsumptionController(task, ExternalSecrets(), vault, "ns", "run", Status(), Path("/nonexistent"))
    step = controller.run_step
    monkeypatch.setattr(controller, "run_step", lambda *given: (order.append(given[1]), step(*given))[1])
    vault.write("platform-data/data/payment/billing", {"options": {"cas": 0}, "data": {"api-key": "first"}})
    engine.round_if_due()
    assert order.pop() == controller.DELIVERED and order, "a secret without a value gets one first"
    order.clear()
    vault.write("platform-data/data/payment/billing", {"options": {"cas": 1}, "data": {"api-key": "second"}})
    engine.round_if_due()
    assert order[0] == controller.DELIVERED and len(order) == 3


def test_versions_are_read_with_the_identity_for_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controller, "consumption_digest_key", lambda _: b"k" * 32)
    monkeypatch.setattr(SecretStoreBundles, "reconcile", lambda _: iter(()))
    vault, versions, api = EmptyVault(), Counting(), ExternalSecrets()
    versions.write("platform-data/data/payment/billing", {"options": {"cas": 0}, "data": {"api-key": "first"}})
    task = ConsumptionSettings("dev", CATALOGUE, {})
    engine = ConsumptionController(task, api, vault, "ns", "run", Status(), Path("/nonexistent"), versions=versions)
    engine.reconcile()
    assert api.one["metadata"]["annotations"][VERSION_ANNOTATION].startswith("1@")
