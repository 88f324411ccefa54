"""Layer 5 under Pulumi's mocks, and its look before the first change."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pulumi
import pulumi_vault as vault
import pytest

from components.consumption.consumption import Consumption, ConsumptionArgs, read_consumption
from components.consumption.external_secret import external_secret_spec, value_template
from components.consumption.external_secrets import controller_rules
from components.consumption.foreign_secrets import owned_by_external_secrets
from components.kit.ownership import owner
from components.runtime_authority.runtime_authority import RuntimeAuthority
from components.runtime_authority.vault_objects import VaultConnection
from secret_authority.access.kubeconfig import ClusterConnection
from secret_authority.contract.names import CONSUMPTION_ACCOUNT, MANAGED_BY, VERSIONS_ROLE
from secret_authority.contract.vault_policies import consumption_policy, engine_policy, entry_policy
from secret_authority.core.catalogue.schema import SecretClass
from secret_authority.core.claims.serialization import decode_claim
from secret_authority.core.errors import InvalidInputError
from secret_authority.repository.catalogue.config_values import read_config_values
from secret_authority.repository.intent.intent import Intent
from tests.fakes.pulumi import Callbacks, Recorder, settings
from tests.support.fleets import Fleet, new_fleet
from tests.support.registrations import Registrations

NAMESPACES = ["data", "edge", "reports", "shop"]
CONFIG = {"orders-db-endpoint": {"host": "orders-db.data.svc", "port": "5432"}}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    return new_fleet(tmp_path_factory.mktemp("consumption"))


class WithCertificate(Recorder):
    """Answers the look at Vault's published CA."""

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        if args.name == "consumption-vault-ca":
            return args.resource_id, {"data": {"ca.crt": "-----BEGIN CERTIFICATE-----"}}
        return super().new_resource(args)


@pytest.fixture(scope="module")
def stack(fleet: Fleet) -> Recorder:
    return build(fleet, fleet.read())[0]


def build(fleet: Fleet, intent: Intent) -> tuple[Recorder, Registrations]:
    recorder = WithCertificate()
    monitor = Registrations(recorder)
    pulumi.runtime.set_mocks(recorder, project="secret-authority", stack="test", preview=False, monitor=monitor)
    pulumi.runtime.settings.SETTINGS.callbacks = Callbacks()  # type: ignore[attr-defined]

    @pulumi.runtime.test
    def run() -> pulumi.Output[Any]:
        provider = vault.Provider("vault", address="https://vault.example")
        namespaces = {consumer.namespace for secret in intent.catalogue for consumer in secret.consumers}
        roles = {namespace: f"consumer-{namespace}" for namespace in namespaces}
        runtime = SimpleNamespace(
            evidence=pulumi.Output.from_input("12 bootstrap secrets are handed over"),
            address=pulumi.Output.from_input("https://vault.vault.svc:8200"),
            roles=pulumi.Output.from_input(roles),
            configuration=SimpleNamespace(
                connection=VaultConnection(provider, pulumi.ResourceHook("vault-session", lambda _: None), provider, [])
            ),
        )
        args = ConsumptionArgs(settings(fleet), intent, cast(RuntimeAuthority, runtime), CONFIG)
        layer = Consumption("consumption", args)
        recorder.claims = layer.claims  # type: ignore[attr-defined]
        return pulumi.Output.all(layer.evidence, layer.claims)

    run()
    return recorder, monitor


def test_nothing_secret_is_an_input_and_pulumi_makes_no_secret(stack: Recorder) -> None:
    assert not stack.kind("Secret") and not stack.kind("SecretV2")


def test_every_consumer_of_the_catalogue_has_its_external_secret(stack: Recorder, fleet: Fleet) -> None:
    made = {(i["metadata"]["namespace"], i["spec"]["target"]["name"]) for i in stack.kind("ExternalSecret").values()}
    wanted = {(c.namespace, c.secret) for secret in fleet.read().catalogue for c in secret.consumers}
    assert made == wanted


def test_an_external_secret_reads_all_keys_at_once_and_keeps_the_secret_when_vault_has_nothing(stack: Recorder) -> None:
    assert stack.inputs["ExternalSecret", "consumption-shop/orders-db"]["spec"] == {
        "refreshInterval": "10m0s",
        "secretStoreRef": {"kind": "SecretStore", "name": "platform-data"},
        "target": {
            "name": "orders-db",
            "creationPolicy": "Owner",
            "deletionPolicy": "Retain",
            "template": {
                "metadata": {"labels": MANAGED_BY},
                "data": {
                    "DB_PASSWORD": value_template("password", False),
                    "DB_USER": value_template("username", False),
                },
            },
        },
        "data": [{"secretKey": "entry", "remoteRef": {"key": "postgres/orders"}}],
    }


def test_an_external_secret_with_one_key_needs_no_template(stack: Recorder) -> None:
    spec = stack.inputs["ExternalSecret", "consumption-shop/session-key"]["spec"]
    assert "template" not in spec["target"]
    assert spec["data"] == [{"secretKey": "SESSION_KEY", "remoteRef": {"key": "sessions/shop", "property": "key"}}]


def test_places_that_a_dash_would_make_one_have_a_name_each_and_keep_their_state(fleet: Fleet) -> None:
    intent = fleet.read()
    orders = intent.catalogue.secrets[0]
    consumers = tuple(
        orders.consumers[0].model_copy(update={"namespace": namespace, "secret": secret})
        for namespace, secret in (("shop", "eu-db"), ("shop-eu", "db"))
    )
    catalogue = intent.catalogue.model_copy(update={"secrets": (orders.model_copy(update={"consumers": consumers}),)})
    recorder, monitor = build(fleet, replace(intent, catalogue=catalogue))
    assert set(recorder.kind("ExternalSecret")) == {"consumption-shop/eu-db", "consumption-shop-eu/db"}
    assert monitor.aliases["ExternalSecret", "consumption-shop/eu-db"] == {"consumption-shop-eu-db"}


def test_the_ca_of_a_store_is_the_engines_to_change(fleet: Fleet) -> None:
    recorder, monitor = build(fleet, fleet.read())
    for name, inputs in recorder.kind("SecretStore").items():
        (path,) = monitor.ignored["SecretStore", name]
        found: Any = inputs
        for field in path.split("."):
            found = found[field]
        assert found == "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t"


def test_binary_values_are_decoded_and_others_are_not(stack: Recorder, fleet: Fleet) -> None:
    spec = stack.inputs["ExternalSecret", "consumption-reports/broker-keystore"]["spec"]
    found = spec["target"]["template"]["data"]
    assert found == {
        "keystore.p12": value_template("keystore.p12", True),
        "password": value_template("password", False),
    }
    assert "b64dec" in found["keystore.p12"] and "b64dec" not in found["password"]
    entry = next(entry for entry in fleet.read().catalogue if entry.name == "broker-keystore")
    (consumer,) = entry.consumers
    alone = consumer.model_copy(update={"keys": {"store": "keystore.p12"}})
    (data,) = external_secret_spec(entry, alone, "10m0s")["data"]
    remote = {"key": "broker/platform", "property": "keystore.p12", "decodingStrategy": "Base64"}
    assert data == {"secretKey": "store", "remoteRef": remote}


def test_configuration_comes_from_the_configuration_mount_only(stack: Recorder) -> None:
    by_store: dict[str, set[str]] = {}
    for inputs in stack.kind("ExternalSecret").values():
        by_store.setdefault(inputs["spec"]["secretStoreRef"]["name"], set()).add(inputs["metadata"]["name"])
    assert by_store["platform-config"] == {"orders-db-endpoint"}
    assert "orders-db-endpoint" not in by_store["platform-data"]


def test_a_store_logs_in_as_its_namespace_with_a_token_for_vault_only(stack: Recorder) -> None:
    assert stack.inputs["SecretStore", "consumption-edge-platform-data"]["spec"]["provider"]["vault"] == {
        "server": "https://vault.vault.svc:8200",
        "path": "platform-data",
        "version": "v2",
        "caBundle": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t",
        "auth": {
            "kubernetes": {
                "mountPath": "kubernetes",
                "role": "consumer-edge",
                "serviceAccountRef": {"name": "secret-authority-reader", "audiences": ["vault"]},
            }
        },
    }
    assert not stack.kind("ClusterSecretStore")
    stores = {(i["metadata"]["namespace"], i["metadata"]["name"]) for i in stack.kind("SecretStore").values()}
    assert stores == {(n, "platform-data") for n in NAMESPACES} | {("shop", "platform-config")}


def test_no_single_object_is_awaited_so_a_sealed_vault_holds_nothing_up(stack: Recorder) -> None:
    for token in ("ExternalSecret", "SecretStore"):
        for inputs in stack.kind(token).values():
            assert "annotations" not in inputs["metadata"]


def test_a_controller_sees_its_namespace_only(stack: Recorder) -> None:
    assert not stack.kind("ClusterRole") and not stack.kind("ClusterRoleBinding")
    controllers = {n: i for n, i in stack.kind("Deployment").items() if "-eso-" in n}
    assert sorted(i["metadata"]["name"] for i in controllers.values()) == [f"external-secrets-{n}" for n in NAMESPACES]
    for deployment in controllers.values():
        pod = deployment["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        namespace = deployment["metadata"]["name"].removeprefix("external-secrets-")
        assert f"--namespace={namespace}" in container["args"]
        assert pod["serviceAccountName"] == f"external-secrets-{namespace}"
        assert container["image"] == "ghcr.io/external-secrets/external-secrets:v0.20.4"


def test_a_controller_can_delete_no_secret_and_change_only_named_ones() -> None:
    rules = controller_rules(["orders-db", "broker"])
    on_secrets = [rule for rule in rules if rule["resources"] == ["secrets"]]
    assert not any("delete" in rule["verbs"] or "*" in rule["verbs"] for rule in rules)
    changing = [rule for rule in on_secrets if {"update", "patch"} & set(rule["verbs"])]
    assert [rule["resourceNames"] for rule in changing] == [["broker", "orders-db"]]
    (tokens,) = [rule for rule in rules if rule["resources"] == ["serviceaccounts/token"]]
    assert tokens["resourceNames"] == ["secret-authority-reader"]


def test_only_the_crds_in_use_are_installed(stack: Recorder) -> None:
    names = {i["metadata"]["name"] for i in stack.kind("CustomResourceDefinition").values()}
    assert names == {
        "externalsecrets.external-secrets.io",
        "secretstores.external-secrets.io",
        "generatorstates.generators.external-secrets.io",
    }


def test_the_engine_may_read_no_secret(stack: Recorder) -> None:
    roles = [i for n, i in stack.kind("Role").items() if "-engine-" in n]
    resources = {resource for role in roles for rule in role["rules"] for resource in rule["resources"]}
    assert resources == {
        "configmaps", "leases", "externalsecrets", "secretstores", "deployments", "statefulsets", "daemonsets",
    }  # fmt: skip


def test_the_evidence_covers_every_secret_that_has_consumers(stack: Recorder, fleet: Fleet) -> None:
    names = stack.inputs["ConfigMap", "consumption-engine-evidence-task"]["data"]["secrets"].split()
    assert names == sorted(secret.name for secret in fleet.read().catalogue if secret.consumers)


def test_the_layer_registers_the_claims_of_external_secrets(stack: Recorder, fleet: Fleet) -> None:
    @pulumi.runtime.test
    def check() -> pulumi.Output[None]:
        def compare(found: list[dict[str, Any]]) -> None:
            places = {str(decode_claim(claim).location) for claim in found}
            assert "Secret shop/orders-db" in places and len(places) == len(found)

        return stack.claims.apply(compare)  # type: ignore[attr-defined,no-any-return]

    check()


def rules_of(policy: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for block in policy.split('path "')[1:]:
        path, _, rest = block.partition('"')
        found[path] = json.loads(rest.partition("= ")[2].partition("]")[0] + "]")
    return found


def test_layer_5_reads_no_value_of_a_bootstrap_secret_and_overwrites_no_secret(fleet: Fleet) -> None:
    catalogue = fleet.read().catalogue
    rules = rules_of(consumption_policy(catalogue, CONFIG))
    for secret in catalogue.of_class(SecretClass.BOOTSTRAP):
        assert f"platform-data/data/{secret.vault.path}" not in rules
    assert rules["platform-data/data/sessions/shop"] == ["create", "read"]
    assert rules["platform-data/metadata/sessions/shop"] == ["read", "patch"]
    assert rules["platform-config/data/postgres/orders"] == ["create", "read", "update"]
    updating = [path for path, verbs in rules.items() if "update" in verbs]
    assert updating == ["platform-config/data/postgres/orders"]
    assert not any("*" in path for path in rules if not path.startswith("platform-authority/data/events/"))


def test_versions_are_read_as_another_role_of_the_same_account(stack: Recorder) -> None:
    roles = stack.kind("AuthBackendRole")
    versions, own = roles["consumption-roles-versions"], roles["consumption-roles-consumption"]
    assert versions["roleName"] == VERSIONS_ROLE and versions["boundServiceAccountNames"] == [CONSUMPTION_ACCOUNT]
    assert versions["boundServiceAccountNamespaces"] == own["boundServiceAccountNamespaces"]
    (pod,) = (
        one["spec"]["template"]["spec"]
        for one in stack.kind("Deployment").values()
        if one["metadata"]["name"] == CONSUMPTION_ACCOUNT
    )
    assert {f"--role={own['roleName']}", f"--versions-role={VERSIONS_ROLE}"} <= set(pod["containers"][0]["args"])


def test_the_engine_of_consumption_cannot_test_guesses_of_bootstrap_secrets(fleet: Fleet) -> None:
    """It sees their digests in the metadata. With the key of those it would find a short value in no time."""
    rules = rules_of(consumption_policy(fleet.read().catalogue, CONFIG))
    keys = {path for path in rules if path.endswith("-key")}
    assert keys == {"platform-authority/data/consumption-digest-key"}
    assert "platform-authority/data/digest-key" in rules_of(engine_policy())


def test_entering_writes_what_is_entered_and_reads_no_value(fleet: Fleet) -> None:
    rules = rules_of(entry_policy(fleet.read().catalogue, CONFIG))
    assert rules == {
        "platform-data/data/payment/billing": ["create", "update"],
        "platform-data/metadata/payment/billing": ["read"],
        "platform-authority/data/events/payment-api/en-*": ["create"],
        "auth/token/revoke-self": ["update"],
        # Of what has a rotator: no version beside a rotation, and no value that can be read again.
        "platform-data/metadata/postgres/orders": ["read"],
        "platform-rotation/data/given-values/orders-db/en-*": ["create"],
        "platform-rotation/data/rotation-requests/orders-db/en-*": ["create", "read"],
        "platform-data/metadata/sessions/shop": ["read"],
        "platform-rotation/data/given-values/session-key/en-*": ["create"],
        "platform-rotation/data/rotation-requests/session-key/en-*": ["create", "read"],
    }


OWNER = {"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "name": "orders-db", "controller": True}


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"labels": {"kustomize.toolkit.fluxcd.io/name": "apps"}}, r"Flux \(Kustomization apps\)"),
        ({"annotations": {"meta.helm.sh/release-name": "shop"}}, r"Helm \(release shop\)"),
        ({"managedFields": [{"manager": "pulumi-kubernetes-1a2b"}]}, "Pulumi"),
        ({"ownerReferences": [{"kind": "SealedSecret", "name": "orders-db"}]}, "SealedSecret orders-db"),
        ({"managedFields": [{"manager": "kubectl-create"}]}, "field manager kubectl-create"),
        # Labels of External Secrets without its ownership, as after a restore.
        ({"labels": {"reconcile.external-secrets.io/managed": "true"}}, "an unknown hand"),
        ({"ownerReferences": [{**OWNER, "name": "other"}]}, "ExternalSecret other"),
    ],
)
def test_a_secret_of_somebody_else_is_refused_with_its_owner_and_the_way_out(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, metadata: dict[str, Any], words: str
) -> None:
    found = {"shop": [{"metadata": {"name": "orders-db", **metadata}}]}
    monkeypatch.setattr(ClusterConnection, "core_api", lambda _: None)
    monkeypatch.setattr(
        "components.consumption.foreign_secrets.secrets_of", lambda _, namespace: found.get(namespace, [])
    )
    chosen = settings(fleet, phase=list(type(settings(fleet).phase))[4])
    with pytest.raises(InvalidInputError, match=rf"Secret shop/orders-db exists and belongs to {words}.*delete it"):
        read_consumption(chosen, fleet.read())


def test_secrets_that_external_secrets_made_pass(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"shop": [{"metadata": {"name": "orders-db", "ownerReferences": [OWNER]}}, {"metadata": {"name": "other"}}]}
    monkeypatch.setattr(ClusterConnection, "core_api", lambda _: None)
    monkeypatch.setattr(
        "components.consumption.foreign_secrets.secrets_of", lambda _, namespace: found.get(namespace, [])
    )
    chosen = settings(fleet, phase=list(type(settings(fleet).phase))[4])
    assert read_consumption(chosen, fleet.read()) == CONFIG


def test_the_owner_must_control_the_secret() -> None:
    assert owned_by_external_secrets({"ownerReferences": [OWNER]}, "orders-db")
    assert not owned_by_external_secrets({"ownerReferences": [{**OWNER, "controller": False}]}, "orders-db")
    assert not owned_by_external_secrets({"ownerReferences": [{**OWNER, "apiVersion": "v1"}]}, "orders-db")
    assert owner({}) == "an unknown hand"


def config_problems(home: Path, files: Mapping[str, str], fleet: Fleet) -> str:
    (home / "config").mkdir()
    for name, text in files.items():
        (home / "config" / name).write_text(text)
    with pytest.raises(InvalidInputError) as caught:
        read_config_values(home, "config", fleet.read().catalogue)
    return str(caught.value)


def test_configuration_behind_a_link_is_refused(tmp_path: Path, fleet: Fleet) -> None:
    """A link may lead out of the repository, and Flux leaves it out."""
    (tmp_path / "outside.yaml").write_text("host: hunter2\nport: '1'\n")
    home = tmp_path / "repository"
    (home / "config").mkdir(parents=True)
    (home / "config/orders-db-endpoint.yaml").symlink_to(tmp_path / "outside.yaml")
    with pytest.raises(InvalidInputError, match=r"config/orders-db-endpoint.yaml: is a symbolic link") as caught:
        read_config_values(home, "config", fleet.read().catalogue)
    assert "hunter2" not in str(caught.value)
    (home / "config").rename(tmp_path / "elsewhere")
    (home / "config").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidInputError, match="config: is a symbolic link"):
        read_config_values(home, "config", fleet.read().catalogue)


def test_a_consumer_secret_has_the_type_of_its_bootstrap_secret_or_the_one_named(fleet: Fleet) -> None:
    entry = next(entry for entry in fleet.read().catalogue if entry.name == "edge-tls")
    (consumer,) = entry.consumers
    plain = external_secret_spec(entry, consumer, "10m0s")
    assert "type" not in plain["target"]["template"]
    typed = external_secret_spec(entry, consumer, "10m0s", "kubernetes.io/tls")
    assert typed["target"]["template"] == {**plain["target"]["template"], "type": "kubernetes.io/tls"}
    pull = consumer.model_copy(update={"keys": {".dockerconfigjson": "config"}})
    alone = external_secret_spec(entry, pull, "10m0s", "kubernetes.io/dockerconfigjson")["target"]["template"]
    assert alone == {"type": "kubernetes.io/dockerconfigjson", "metadata": {"labels": MANAGED_BY}}
    named = consumer.model_copy(update={"type": "Opaque"})
    assert external_secret_spec(entry, named, "10m0s", "kubernetes.io/tls") == plain


def test_a_secret_in_the_clear_among_the_configuration_is_refused(tmp_path: Path, fleet: Fleet) -> None:
    said = config_problems(tmp_path, {"payment-api.yaml": "api-key: hunter2"}, fleet)
    assert "payment-api has class external" in said and "hunter2" not in said


def test_configuration_that_does_not_fit_is_refused_with_every_problem(tmp_path: Path, fleet: Fleet) -> None:
    said = config_problems(tmp_path, {"orders-db-endpoint.yaml": "port: 5432", "nobody.yaml": "a: b"}, fleet)
    for part in ("nobody is not in the catalogue", "port: is not a text", "host: is missing"):
        assert part in said


@pytest.mark.parametrize(("secret", "keys"), [("session-key", ["key"]), ("broker-keystore", ["keystore"])])
def test_only_keys_of_a_bootstrap_secret_can_be_binary(tmp_path: Path, secret: str, keys: list[str]) -> None:
    copy = new_fleet(tmp_path)

    def change(document: Any) -> None:
        next(entry for entry in document["secrets"] if entry["name"] == secret)["binary"] = keys

    copy.edit("secret-authority/dev/catalogue.yaml", change)
    with pytest.raises(InvalidInputError, match=f"{secret}.*binary names {keys[0]}: name keys of the bootstrap target"):
        copy.read()
