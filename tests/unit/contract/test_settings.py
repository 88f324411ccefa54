"""What the program writes with `to_json` the engine reads with `from_json`, field by field."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

from secret_authority.contract.consumption_settings import ConsumptionSettings, SyncTarget
from secret_authority.contract.engine_settings import EngineSettings, GitPlaces, Identities
from secret_authority.contract.evidence_task import EvidenceTask
from secret_authority.core.catalogue.schema import parse_catalogue
from secret_authority.core.errors import InvalidInputError
from secret_authority.core.recipients import Admission

CATALOGUE = parse_catalogue(
    {
        "apiVersion": "secret-authority.dev/v1",
        "kind": "SecretCatalogue",
        "bootstrapNamespaces": ["bootstrap-data"],
        "secrets": [
            {
                "name": "orders-db",
                "class": "bootstrap",
                "owner": "orders",
                "bootstrap": {"namespace": "bootstrap-data", "secret": "orders-db", "keys": ["password", "store"]},
                "vault": {"datasource": "postgres", "consumer": "orders"},
                "binary": ["store"],
                "rotation": {"type": "static"},
                "consumers": [{"namespace": "shop", "secret": "db", "keys": {"P": "password", "S": "store"}}],
            }
        ],
    },
    "catalogue",
)
ENGINE = EngineSettings(
    cluster="dev",
    namespace="ns",
    vault_namespace="vault-ns",
    pods=("https://vault-0:8200", "https://vault-1:8200"),
    service="https://vault:8200",
    certificate_names=("vault", "*.vault"),
    shares=5,
    threshold=3,
    admission=Admission("dev", "age1a", ("age1b", "age1c"), "sha256:1", "hmac-sha256:2"),
    identities=Identities(("a", "engine"), ("b", "configurator"), ("c", "auditor")),
    git=GitPlaces("flux-system", "fleet", "catalogue.yaml", ("one", "two")),
    identity_file=Path("/identity/key"),
    vault_token_file=Path("/token"),
    ca_file=Path("/ca"),
    admitted={"orders-db": "d1gest"},
    awaited_snapshot="dev/2026/11/20261127T180000Z-60-0badcafe",
)
TASK = EvidenceTask("fleet", ("bootstrap", "namespaces"), "catalogue.yaml", ("one", "two"), "d1g", 300)
CONSUMPTION = ConsumptionSettings("dev", CATALOGUE, {"endpoint": {"url": "https://db"}})


@pytest.mark.parametrize("given", [ENGINE, TASK, CONSUMPTION], ids=lambda given: type(given).__name__)
def test_what_is_written_is_read(given: EngineSettings | EvidenceTask | ConsumptionSettings) -> None:
    assert type(given).from_json(given.to_json()) == given
    # No two fields of the example are alike, so an exchanged pair would show.
    values = [str(getattr(given, field.name)) for field in fields(given)]
    assert len(values) == len(set(values))


@pytest.mark.parametrize("given", [ENGINE, TASK, CONSUMPTION], ids=lambda given: type(given).__name__)
def test_a_missing_field_is_named(given: EngineSettings | EvidenceTask | ConsumptionSettings) -> None:
    whole = json.loads(given.to_json())
    for name in whole:
        with pytest.raises(KeyError, match=name):
            type(given).from_json(json.dumps({key: value for key, value in whole.items() if key != name}))


def test_a_wrong_catalogue_is_bad_input() -> None:
    broken = {**json.loads(CONSUMPTION.to_json()), "catalogue": {"kind": "Other"}}
    with pytest.raises(InvalidInputError):
        ConsumptionSettings.from_json(json.dumps(broken))


def test_a_consumer_reads_its_keys_and_knows_the_binary_ones() -> None:
    assert CONSUMPTION.consumers == [
        SyncTarget(
            "orders-db",
            "shop",
            "db",
            "platform-data",
            "postgres/orders",
            frozenset({"password", "store"}),
            frozenset({"store"}),
        )
    ]
