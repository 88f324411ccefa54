"""Layer 4 under Pulumi's mocks: what is made, with which rights, and nothing secret among the inputs."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pulumi
import pytest

from components.kit.evidence_job import status_evidence
from components.runtime_authority.runtime_authority import RuntimeAuthority, RuntimeAuthorityArgs
from components.runtime_authority.vault_config import certificate_names, vault_config
from components.settings.vault import VaultSettings
from secret_authority.contract.engine_settings import EngineSettings
from secret_authority.contract.vault_policies import reader_paths, reader_policy
from secret_authority.core.catalogue.schema import Catalogue, SecretClass
from secret_authority.core.claims.serialization import decode_claim
from secret_authority.core.errors import InvalidInputError
from secret_authority.core.phases import Phase
from secret_authority.repository.intent.intent import Intent
from tests.fakes.pulumi import Callbacks, Recorder, settings
from tests.support.fleets import Fleet, new_fleet
from tests.support.registrations import Registrations


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    return new_fleet(tmp_path_factory.mktemp("runtime"))


def build(fleet: Fleet, vault: VaultSettings) -> Recorder:
    recorder = Recorder()
    monitor = recorder.monitor = Registrations(recorder)  # type: ignore[attr-defined]
    pulumi.runtime.set_mocks(recorder, project="secret-authority", stack="test", preview=False, monitor=monitor)
    pulumi.runtime.settings.SETTINGS.callbacks = Callbacks()  # type: ignore[attr-defined]

    @pulumi.runtime.test
    def run() -> pulumi.Output[Any]:
        chosen, intent = settings(fleet, phase=Phase.RUNTIME_AUTHORITY), fleet.read()
        args = RuntimeAuthorityArgs(chosen, intent, vault)
        layer = RuntimeAuthority("runtime", args)
        recorder.claims = layer.claims  # type: ignore[attr-defined]
        return pulumi.Output.all(layer.evidence, layer.address, layer.roles)

    run()
    return recorder


@pytest.fixture(scope="module")
def stack(fleet: Fleet) -> Recorder:
    return build(fleet, VaultSettings(replicas=3, storage_class="fast", local_port=20001, spread="required"))


def test_nothing_secret_is_an_input_of_any_resource(stack: Recorder, fleet: Fleet) -> None:
    text = json.dumps(list(stack.inputs.values()), default=str)
    assert "AGE-SECRET-KEY" not in text and fleet.identity().secret not in text
    assert not stack.kind("Secret"), "Pulumi makes no Kubernetes Secret"
    assert not stack.kind("SecretV2"), "Pulumi writes no value to Vault"
    provider = next(inputs for (kind, _), inputs in stack.inputs.items() if kind == "vault")
    assert "token" not in provider and provider["authLoginTokenFile"].endswith('/token"}')


def pods(stack: Recorder) -> dict[str, dict[str, Any]]:
    return {
        name: inputs["spec"]["template"]["spec"]
        for kind in ("StatefulSet", "Deployment", "Job")
        for name, inputs in stack.kind(kind).items()
    }


def test_every_pod_is_restricted(stack: Recorder) -> None:
    found = pods(stack)
    assert len(found) == 3
    for name, pod in found.items():
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["seccompProfile"], name
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]
            assert not any("secretKeyRef" in json.dumps(env) for env in container.get("env", []))
    namespace = stack.kind("Namespace")["runtime-vault"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_beside_vault_nothing_has_its_token_or_the_key_of_its_certificate(stack: Recorder) -> None:
    pod = pods(stack)["runtime-vault"]
    assert pod["automountServiceAccountToken"] is False
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    server, reloader = pod["containers"]
    assert [mount["name"] for mount in reloader["volumeMounts"]] == ["certificate", "audit"]
    assert volumes["certificate"]["secret"]["items"] == [{"key": "tls.crt", "path": "tls.crt"}]
    (account,) = [mount for mount in server["volumeMounts"] if mount["name"] == "account"]
    assert account["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"


@pytest.mark.parametrize("protect", [True, False])
def test_what_cannot_be_made_again_is_protected_until_somebody_says_otherwise(fleet: Fleet, protect: bool) -> None:
    recorder = build(fleet, VaultSettings(local_port=20001, protect=protect))
    protected = recorder.monitor.protected  # type: ignore[attr-defined]
    assert protected == ({("Namespace", "runtime-vault"), ("StatefulSet", "runtime-vault")} if protect else set())


def test_three_replicas_stand_apart_and_join_each_other(stack: Recorder) -> None:
    spec = stack.kind("StatefulSet")["runtime-vault"]["spec"]
    assert spec["replicas"] == 3 and spec["podManagementPolicy"] == "Parallel"
    assert "requiredDuringSchedulingIgnoredDuringExecution" in spec["template"]["spec"]["affinity"]["podAntiAffinity"]
    assert {claim["spec"]["storageClassName"] for claim in spec["volumeClaimTemplates"]} == {"fast"}
    config = json.loads(stack.kind("ConfigMap")["runtime-vault-config"]["data"]["vault.json"])
    joins = config["storage"]["raft"]["retry_join"]
    assert [join["leader_tls_servername"] for join in joins] == [
        f"vault-{number}.vault-internal.vault.svc" for number in range(3)
    ]
    assert "tls_disable" not in config["listener"][0]["tcp"]
    assert stack.kind("PodDisruptionBudget")["runtime-vault-disruption"]["spec"]["maxUnavailable"] == 1


def test_one_replica_joins_nobody() -> None:
    assert json.loads(vault_config(1))["storage"]["raft"] == {"path": "/vault/data", "performance_multiplier": "1"}
    assert "*.vault-internal.vault.svc" in certificate_names()


def test_the_engine_may_touch_the_catalogued_secrets_only(stack: Recorder, fleet: Fleet) -> None:
    wanted = {
        (secret.bootstrap.namespace, secret.bootstrap.secret)
        for secret in fleet.read().catalogue
        if secret.bootstrap is not None
    }
    found = set()
    for role in stack.kind("Role").values():
        namespace = role["metadata"]["namespace"]
        for rule in role["rules"]:
            if "secrets" not in rule["resources"]:
                continue
            if namespace not in ("vault", "secret-authority"):
                assert not {"list", "watch", "*", "patch"} & set(rule["verbs"])
            assert rule.get("resourceNames") or rule["verbs"] == ["create"]
            found |= {(namespace, name) for name in rule.get("resourceNames", [])}
    own = {("secret-authority", "vault-ca"), ("vault", "vault-unseal-shares"), ("vault", "vault-tls")}
    assert found == wanted | own
    bindings = stack.kind("ClusterRoleBinding").values()
    assert [binding["roleRef"]["name"] for binding in bindings] == ["system:auth-delegator"]
    assert not stack.kind("ClusterRole")


def test_the_unseal_shares_go_to_the_cluster_and_every_root_holder(stack: Recorder, fleet: Fleet) -> None:
    text = stack.kind("ConfigMap")["runtime-engine-settings"]["data"]["settings.json"]
    admission = EngineSettings.from_json(text).admission
    assert set(admission.recipients) == fleet.read().trust.wanted("dev")
    assert admission.holds(fleet.identity().secret)


def test_a_data_mount_demands_check_and_set_and_is_never_deleted(stack: Recorder) -> None:
    mounts = stack.kind("SecretBackendV2")
    assert {m["mount"]: m["casRequired"] for m in mounts.values()} == {"platform-data": True, "platform-config": False}


def catalogue_of(fleet: Fleet) -> Catalogue:
    return fleet.read().catalogue


def test_each_consumer_namespace_reads_exactly_its_paths(stack: Recorder, fleet: Fleet) -> None:
    paths = reader_paths(catalogue_of(fleet))
    policies = {inputs["name"]: inputs["policy"] for inputs in stack.kind("Policy").values()}
    for namespace, wanted in paths.items():
        text = policies[f"consumer-{namespace}"]
        assert text == reader_policy(wanted) and "*" not in text
        others = {path for name, all_paths in paths.items() if name != namespace for path in all_paths} - set(wanted)
        assert not any(f'"{path}"' in text for path in others)
    roles = stack.kind("AuthBackendRole").values()
    for namespace in paths:
        (role,) = [role for role in roles if role["roleName"] == f"consumer-{namespace}"]
        assert role["boundServiceAccountNamespaces"] == [namespace] and role["tokenPolicies"]
        assert role["audience"] == "vault" and role["tokenNoDefaultPolicy"] is True


def test_vault_claims_every_catalogued_path(stack: Recorder, fleet: Fleet) -> None:
    found: list[Any] = []
    stack.claims.apply(found.extend)  # type: ignore[attr-defined]
    pulumi.runtime.test(lambda: stack.claims)()  # type: ignore[attr-defined]
    secrets = {claim.secret for claim in map(decode_claim, found)}
    assert secrets == {secret.name for secret in catalogue_of(fleet)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"replicas": 2}, "vault.replicas"),
        ({"data_size": "1 GB"}, "vault.dataSize"),
        ({"shares": 3, "threshold": 4}, "vault.threshold"),
        ({"shares": 3, "threshold": 1}, "threshold of 1"),
        ({"spread": "wide"}, "vault.spread"),
        ({"local_port": 80}, "vault.localPort"),
        ({"protect": "yes"}, "vault.protect"),
    ],
)
def test_settings_that_do_not_fit_are_named(change: dict[str, Any], words: str) -> None:
    (problem,) = VaultSettings(**{"local_port": 20001, **change}).check("Pulumi.test.yaml")
    assert words in str(problem) and "Fix:" in str(problem)


@pytest.mark.parametrize("secret_class", [SecretClass.BOOTSTRAP, SecretClass.EXTERNAL])
def test_two_secrets_on_one_path_are_refused_before_any_resource(fleet: Fleet, secret_class: SecretClass) -> None:
    intent = fleet.read()
    first, second, *_ = (secret for secret in intent.catalogue if secret.bootstrap is not None)
    target = second.bootstrap if secret_class is SecretClass.BOOTSTRAP else None
    twin = second.model_copy(update={"vault": first.vault, "secret_class": secret_class, "bootstrap": target})
    catalogue = intent.catalogue.model_copy(update={"secrets": (first, twin)})
    doubled = Intent(intent.root, intent.layout, intent.trust, catalogue, intent.encrypted)
    args = RuntimeAuthorityArgs(settings(fleet), doubled, VaultSettings(local_port=20001))
    with pytest.raises(InvalidInputError, match=f"two authorities over Vault {first.vault}, all keys") as refused:
        args.check()
    assert first.name in str(refused.value) and second.name in str(refused.value)


def test_a_phase_that_rises_asks_for_fresh_evidence_of_the_layer_below(fleet: Fleet) -> None:
    def job(phase: Phase, layer: Phase, image: str = "engine:1") -> str:
        recorder = Recorder()
        pulumi.runtime.set_mocks(recorder, project="secret-authority", stack="test", preview=False)
        pulumi.runtime.settings.SETTINGS.callbacks = Callbacks()  # type: ignore[attr-defined]
        chosen = replace(settings(fleet, phase=phase), engine_image=image)

        @pulumi.runtime.test
        def run() -> pulumi.Output[Any]:
            parent = pulumi.ComponentResource("test:layer:Layer", "layer")
            return status_evidence(chosen, "evidence", layer, ["orders-db"]).create("layer", parent, []).id

        run()
        return str(recorder.kind("Job")["layer-evidence"]["metadata"]["name"])

    for layer in (Phase.BOOTSTRAP, Phase.RUNTIME_AUTHORITY):
        above = Phase(layer + 1)
        assert job(layer, layer) == job(layer, layer) != job(above, layer)
        assert job(above, layer) != job(above, layer, "engine:2")
    assert job(Phase.RUNTIME_AUTHORITY, Phase.BOOTSTRAP) == job(Phase.CONSUMPTION, Phase.BOOTSTRAP), "two below"
