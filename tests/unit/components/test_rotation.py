"""The component of rotation under Pulumi's mocks: who may do what, and who reaches whom."""

from __future__ import annotations

import json
from typing import Any, cast

import pulumi
import pulumi_vault as vault
import pytest

from components.rotation.rotation import Rotation, RotationArgs, check_rotators, needs_rotation, target_egress
from components.runtime_authority.vault_objects import VaultConnection
from secret_authority.contract.names import ROTATION_ACCOUNT, ROTATION_LOOKS_ROLE
from secret_authority.contract.rotation_settings import RotationSettings
from secret_authority.contract.vault_policies import events_policy, requests_policy, rotation_policy
from secret_authority.core.catalogue.schema import Catalogue
from secret_authority.core.errors import InvalidInputError
from tests.fakes.pulumi import Callbacks, Recorder, settings
from tests.support.fleets import Fleet, new_fleet

POSTGRESQL = {
    "kind": "postgresql",
    "host": "orders-db.data.svc",
    "database": "orders",
    "users": ["orders_a", "orders_b"],
    "admin": "reports-db",
}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    return new_fleet(tmp_path_factory.mktemp("rotation"))


def with_rotator(catalogue: Catalogue, name: str, rotator: dict[str, Any]) -> Catalogue:
    data = catalogue.model_dump(mode="json", by_alias=True, exclude_none=True)
    for secret in data["secrets"]:
        secret.pop("rotator", None)
        if secret["name"] == name:
            secret["rotator"] = rotator
    return Catalogue.model_validate(data)


@pytest.fixture(scope="module")
def catalogue(fleet: Fleet) -> Catalogue:
    return with_rotator(fleet.read().catalogue, "orders-db", POSTGRESQL)


@pytest.fixture(scope="module")
def stack(fleet: Fleet, catalogue: Catalogue) -> Recorder:
    recorder = Recorder()
    pulumi.runtime.set_mocks(recorder, project="secret-authority", stack="test", preview=False)
    pulumi.runtime.settings.SETTINGS.callbacks = Callbacks()  # type: ignore[attr-defined]

    @pulumi.runtime.test
    def run() -> pulumi.Output[Any]:
        provider = vault.Provider("vault", address="https://vault.example")
        hook = pulumi.ResourceHook("vault-session", lambda _: None)
        connection = VaultConnection(provider, hook, provider, [])
        layer = Rotation("rotation", RotationArgs(settings(fleet), "dev", catalogue, connection))
        return layer.deployment.metadata  # type: ignore[return-value]

    run()
    return recorder


def test_the_mount_asks_for_check_and_set_and_keeps_no_long_history(stack: Recorder) -> None:
    (mount,) = stack.kind("Mount").values()
    (config,) = stack.kind("SecretBackendV2").values()
    assert mount["path"] == "platform-rotation" and config["casRequired"] is True and config["maxVersions"] == 20


def test_the_engine_sees_consumers_and_reads_no_secret(stack: Recorder) -> None:
    rules = [rule for role in stack.kind("Role").values() for rule in role["rules"]]
    assert not [rule for rule in rules if "secrets" in rule["resources"]]
    shop = stack.kind("Role")["rotation-shop"]["rules"]
    assert {verb for rule in shop for verb in rule["verbs"]} == {"get", "list"}
    assert {name.removeprefix("rotation-") for name in stack.kind("Role")} == {"shop", "secret-authority"}


def test_only_what_has_a_rotator_may_be_written(catalogue: Catalogue) -> None:
    policy = rotation_policy(catalogue)
    assert 'path "platform-data/data/postgres/orders" {\n  capabilities = ["read", "update"]' in policy
    assert 'path "platform-data/data/postgres/reports" {\n  capabilities = ["read"]' in policy
    # What is issued elsewhere: its metadata, no value.
    assert 'path "platform-data/metadata/payment/billing" {\n  capabilities = ["read", "patch"]' in policy
    assert (
        "platform-data/data/payment" not in policy and "delete" not in policy and "platform-data/data/*" not in policy
    )
    assert "platform-data" not in requests_policy() and "docs" not in requests_policy()


def test_it_looks_as_another_role_of_the_same_account(stack: Recorder) -> None:
    looks = stack.kind("AuthBackendRole")["rotation-looks"]
    assert looks["roleName"] == ROTATION_LOOKS_ROLE and looks["boundServiceAccountNames"] == [ROTATION_ACCOUNT]
    (pod,) = (one["spec"]["template"]["spec"] for one in stack.kind("Deployment").values())
    assert f"--looks-role={ROTATION_LOOKS_ROLE}" in pod["containers"][0]["args"]


def test_the_engine_reaches_vault_and_its_targets(stack: Recorder) -> None:
    policies = stack.kind("NetworkPolicy")
    out = policies["rotation-allow-rotation"]["spec"]["egress"]
    assert [rule["ports"][0]["port"] for rule in out] == [8200, 5432]
    assert out[1]["to"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "data"}}}]
    into = policies["rotation-vault-allow-rotation"]["spec"]["ingress"]
    assert into[0]["from"][0]["podSelector"] == {"matchLabels": {"app": "secret-authority-rotation"}}
    assert target_egress("db.example.com", 6432) == {"ports": [{"protocol": "TCP", "port": 6432}]}


def test_an_issuer_is_reached_at_the_port_of_its_url(fleet: Fleet, catalogue: Catalogue) -> None:
    keys = {"id": "client-id", "secret": "client-secret"}
    issuer = {"kind": "issuer", "url": "https://issuer.edge.svc:8443/v1", "keys": keys, "admin": "dns-token"}
    connection = cast(VaultConnection, None)
    args = RotationArgs(settings(fleet), "dev", with_rotator(catalogue, "oidc-client", issuer), connection)
    assert args.targets == [("issuer.edge.svc", 8443)]


SENDERS = [
    {"name": "pay", "key": "payment-api", "secrets": ["orders-db"], "from": "edge"},
    {"name": "scanner", "key": "reports-db", "secrets": ["orders-db"], "from": "security", "compromise": True},
]


@pytest.fixture(scope="module")
def with_events(fleet: Fleet, catalogue: Catalogue) -> tuple[Recorder, Catalogue]:
    data = catalogue.model_dump(mode="json", by_alias=True, exclude_none=True)
    events = Catalogue.model_validate({**data, "events": {"senders": SENDERS}})
    recorder = Recorder()
    pulumi.runtime.set_mocks(recorder, project="secret-authority", stack="test", preview=False)
    pulumi.runtime.settings.SETTINGS.callbacks = Callbacks()  # type: ignore[attr-defined]

    @pulumi.runtime.test
    def run() -> pulumi.Output[Any]:
        provider = vault.Provider("vault", address="https://vault.example")
        connection = VaultConnection(provider, pulumi.ResourceHook("vault-session", lambda _: None), provider, [])
        layer = Rotation("rotation", RotationArgs(settings(fleet), "dev", events, connection))
        return layer.deployment.metadata  # type: ignore[return-value]

    run()
    return recorder, events


def test_without_senders_nothing_listens(stack: Recorder) -> None:
    assert stack.kind("Service") == {} and "secret-authority-events" not in str(stack.kind("Deployment"))


def test_the_receiver_is_reached_by_senders_and_reaches_vault(with_events: tuple[Recorder, Catalogue]) -> None:
    policies = with_events[0].kind("NetworkPolicy")
    spec = policies["rotation-events-allow-events"]["spec"]
    (into,) = spec["ingress"]
    assert [peer["namespaceSelector"]["matchLabels"] for peer in into["from"]] == [
        {"kubernetes.io/metadata.name": "edge"},
        {"kubernetes.io/metadata.name": "security"},
    ]
    assert into["ports"] == [{"protocol": "TCP", "port": 8081}]
    assert [rule["ports"][0]["port"] for rule in spec["egress"]] == [8200]
    (service,) = with_events[0].kind("Service").values()
    assert service["spec"]["ports"][0]["targetPort"] == 8081
    vaults = policies["rotation-events-vault-allow-events"]["spec"]["ingress"]
    assert vaults[0]["from"][0]["podSelector"] == {"matchLabels": {"app": "secret-authority-events"}}


def test_the_receiver_may_create_requests_and_read_the_keys_of_its_senders(
    with_events: tuple[Recorder, Catalogue],
) -> None:
    policy = events_policy(with_events[1])
    paths = {line.split('"')[1] for line in policy.splitlines() if line.startswith("path")}
    assert paths == {
        "platform-data/data/payment/billing",
        "platform-data/data/postgres/reports",
        "platform-rotation/data/rotation-requests/orders-db/ev-*",
        "auth/token/revoke-self",
    }
    requests = policy.partition("rotation-requests")[2].partition("}")[0]
    assert '["create", "read"]' in requests and policy.count('"update"') == 1
    rules = with_events[0].kind("Role")["rotation-events-shop"]["rules"]
    assert rules == [{"apiGroups": ["external-secrets.io"], "resources": ["externalsecrets"], "verbs": ["get"]}]


def test_settings_go_there_and_back(stack: Recorder, catalogue: Catalogue) -> None:
    data = stack.kind("ConfigMap")["rotation-engine-settings"]["data"]["settings.json"]
    assert RotationSettings.from_json(data) == RotationSettings("dev", catalogue)
    assert json.loads(data)["cluster"] == "dev"


def test_a_wrong_rotator_is_refused_before_the_first_change(catalogue: Catalogue) -> None:
    assert needs_rotation(catalogue)
    check_rotators(catalogue, "catalogue.yaml")
    wrong = with_rotator(catalogue, "orders-db", {**POSTGRESQL, "users": ["orders_a"]})
    with pytest.raises(InvalidInputError, match=r"secrets\[orders-db\].rotator.users: names one user"):
        check_rotators(wrong, "catalogue.yaml")
    none = with_rotator(catalogue, "nobody", {})
    assert needs_rotation(none), "payment-api is issued elsewhere: its end is watched"
    left = none.model_copy(update={"secrets": tuple(one for one in none if one.name != "payment-api")})
    assert not needs_rotation(left)
