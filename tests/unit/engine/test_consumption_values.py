"""What a secret without a first value costs Vault's audit log, and how soon its value is noticed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from secret_authority.clients.kubernetes import Api
from secret_authority.clients.vault import Vault
from secret_authority.contract.consumption_settings import ConsumptionSettings
from secret_authority.core.catalogue.schema import parse_catalogue
from secret_authority.engine.common.backoff import Backoff
from secret_authority.engine.common.status import Status
from secret_authority.engine.consumption import controller
from secret_authority.engine.consumption.controller import VALUES, ConsumptionController

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
