"""The component of snapshots under Pulumi's mocks: one identity, which reads no value, and who it reaches."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pulumi
import pulumi_vault as vault
import pytest

from components.runtime_authority.vault_objects import VaultConnection
from components.snapshots import store_credentials
from components.snapshots.snapshots import Snapshots, SnapshotsArgs
from components.snapshots.store_credentials import READER, WRITER, read_given
from secret_authority.clients.object_store.s3 import S3Credentials
from secret_authority.contract.names import (
    IDENTITY_SECRET,
    SNAPSHOT_ACCOUNT,
    SNAPSHOT_READER,
    SNAPSHOT_ROLE,
    SNAPSHOT_STATUS,
    SNAPSHOT_VERIFIER,
    SNAPSHOT_WRITER,
    UNSEAL_SHARES,
)
from secret_authority.contract.snapshot_settings import SnapshotEngineSettings
from secret_authority.contract.vault_policies import snapshot_policy
from secret_authority.core.errors import InvalidInputError
from secret_authority.repository.snapshot_settings import SnapshotSettings
from tests.fakes.pulumi import Callbacks, Recorder, settings
from tests.support.fleets import Fleet, new_fleet

SECRET = "hunter2-of-the-writer"
VAULT_IMAGE = "vault:of-the-cluster"
S3 = {"s3": {"endpoint": "https://store.example:9000", "bucket": "b"}}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    return new_fleet(tmp_path_factory.mktemp("snapshots"))


def build(fleet: Fleet, store: dict[str, Any], given: bool = True) -> tuple[Recorder, Callbacks]:
    recorder, callbacks = Recorder(), Callbacks()
    pulumi.runtime.set_mocks(recorder, project="secret-authority", stack="test", preview=False)
    pulumi.runtime.settings.SETTINGS.callbacks = callbacks  # type: ignore[attr-defined]
    wanted = SnapshotSettings.model_validate(
        {"apiVersion": "secret-authority.dev/v1", "kind": "Snapshots", "store": store}
    )

    @pulumi.runtime.test
    def run() -> pulumi.Output[Any]:
        provider = vault.Provider("vault", address="https://vault.example")
        hook = pulumi.ResourceHook("vault-session", lambda _: None)
        connection = VaultConnection(provider, hook, provider, [])
        writer, reader = S3Credentials("key", SECRET), S3Credentials("key-2", SECRET)
        args = SnapshotsArgs(settings(fleet), wanted, ("age1b", "age1a"), writer, reader, VAULT_IMAGE, connection)
        if not given:
            args = dataclasses.replace(args, writer=None, reader=None)
        made = Snapshots("snapshots", args)
        return made.deployment.metadata if made.deployment else made.urn  # type: ignore[return-value]

    run()
    return recorder, callbacks


@pytest.fixture(scope="module")
def stack(fleet: Fleet) -> Recorder:
    return build(fleet, S3)[0]


def test_one_account_logs_in_as_the_identity_and_gets_its_policy_alone(stack: Recorder) -> None:
    (policy,) = stack.kind("Policy").values()
    (role,) = stack.kind("AuthBackendRole").values()
    account, verifier = sorted(stack.kind("ServiceAccount").values(), key=lambda one: len(one["metadata"]["name"]))
    assert policy["policy"] == snapshot_policy() and policy["name"] == role["roleName"] == SNAPSHOT_ROLE
    assert role["boundServiceAccountNames"] == [account["metadata"]["name"]] == [SNAPSHOT_ACCOUNT]
    assert role["tokenPolicies"] == [SNAPSHOT_ROLE] and role["tokenNoDefaultPolicy"] is True
    assert account["automountServiceAccountToken"] is verifier["automountServiceAccountToken"] is False


def test_in_the_cluster_it_reads_the_sealed_shares_and_no_other_secret(stack: Recorder) -> None:
    rules = [(name, rule) for name, role in stack.kind("Role").items() for rule in role["rules"]]
    secrets = [(name, rule) for name, rule in rules if "secrets" in rule["resources"]]
    ((place, only),) = secrets
    assert place == "snapshots-vault" and only["resourceNames"] == [UNSEAL_SHARES] and only["verbs"] == ["get"]
    assert {verb for _, rule in rules for verb in rule["verbs"]} == {"create", "get", "update", "patch", "list"}
    assert [rule["resources"] for _, rule in rules if "list" in rule["verbs"]] == [["pods"]]
    subjects = {one["name"] for binding in stack.kind("RoleBinding").values() for one in binding["subjects"]}
    assert subjects == {SNAPSHOT_ACCOUNT}, "who verifies has no right at all"


def test_it_reaches_vault_and_the_port_of_the_store(stack: Recorder) -> None:
    policies = stack.kind("NetworkPolicy")
    out = policies["snapshots-allow-snapshots"]["spec"]["egress"]
    assert [rule["ports"][0]["port"] for rule in out] == [8200, 9000]
    (into,) = policies["snapshots-vault-allow-snapshots"]["spec"]["ingress"]
    assert into["from"][0]["podSelector"] == {"matchLabels": {"app": SNAPSHOT_ACCOUNT}}


def test_settings_go_there_and_back_and_no_credential_is_an_input(stack: Recorder) -> None:
    text = stack.kind("ConfigMap")["snapshots-engine-settings"]["data"]["settings.json"]
    wanted = SnapshotEngineSettings("dev", ("age1a", "age1b"), "https://store.example:9000", "b", "us-east-1", "", True)
    assert SnapshotEngineSettings.from_json(text) == wanted
    assert SECRET not in json.dumps([str(inputs) for inputs in stack.inputs.values()])
    (pod,) = (one["spec"]["template"]["spec"] for one in stack.kind("Deployment").values())
    mounted = {volume["name"]: volume for volume in pod["volumes"]}[SNAPSHOT_WRITER]
    assert mounted["secret"]["secretName"] == SNAPSHOT_WRITER


def test_a_folder_is_written_by_the_command_alone(fleet: Fleet) -> None:
    stack, _ = build(fleet, {"folder": "/mnt/snapshots"})
    assert (
        stack.kind("AuthBackendRole")
        and not stack.kind("Deployment")
        and not stack.kind("Role")
        and not stack.kind("CronJob")
    )


def test_credentials_are_planted_once_they_are_given(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted: list[tuple[Any, ...]] = []
    monkeypatch.setattr(store_credentials, "plant_secret", lambda _, *more: planted.append(more))
    _, callbacks = build(fleet, S3)
    for identity, key in ((WRITER, "key"), (READER, "key-2")):
        callbacks.hooks[identity.hook].callback(None)
        assert planted.pop() == (
            "secret-authority",
            identity.secret,
            {"accessKeyId": key, "secretAccessKey": SECRET},
        )
        monkeypatch.delenv(identity.variable, raising=False)
        assert read_given(identity) is None
        monkeypatch.setenv(identity.variable, str(tmp_path / "missing"))
        with pytest.raises(InvalidInputError, match="cannot be read"):
            read_given(identity)


def test_a_cluster_without_credentials_says_what_to_give(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_credentials, "own_secret_exists", lambda *_: False)
    _, callbacks = build(fleet, S3, given=False)
    for identity in (WRITER, READER):
        with pytest.raises(InvalidInputError, match=f"no {identity.role}'s credentials.*{identity.variable}"):
            callbacks.hooks[identity.hook].callback(None)


def test_who_verifies_has_no_token_and_no_way_but_to_the_store(stack: Recorder) -> None:
    (job,) = stack.kind("CronJob").values()
    assert job["spec"]["schedule"] == "17 */6 * * *" and job["spec"]["concurrencyPolicy"] == "Forbid"
    template = job["spec"]["jobTemplate"]["spec"]["template"]
    pod = template["spec"]
    assert pod["serviceAccountName"] == SNAPSHOT_VERIFIER and pod["automountServiceAccountToken"] is False
    assert pod["restartPolicy"] == "Never" and not any("projected" in volume for volume in pod["volumes"])
    network = stack.kind("NetworkPolicy")["snapshots-verifier-allow-snapshot-verifier"]["spec"]
    assert network["podSelector"] == {"matchLabels": {"app": template["metadata"]["labels"]["app"]}}
    assert network["policyTypes"] == ["Egress"] and "ingress" not in network
    assert [[port["port"] for port in rule["ports"]] for rule in network["egress"]] == [[53, 53], [9000]]


def test_the_server_beside_it_gets_no_secret(stack: Recorder) -> None:
    (job,) = stack.kind("CronJob").values()
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    prepare, server = pod["initContainers"]
    (verify,) = pod["containers"]
    assert server["image"] == VAULT_IMAGE and server["restartPolicy"] == "Always"
    ((mount,), folders) = server["volumeMounts"], {one["name"]: one["value"] for one in server["env"]}
    assert mount == {"name": "throwaway", "mountPath": "/throwaway"}
    assert folders == {"HOME": "/throwaway", "TMPDIR": "/throwaway"}, "Vault writes nowhere else"
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["throwaway"]["emptyDir"]["medium"] == "Memory"
    assert {v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v} == {IDENTITY_SECRET, SNAPSHOT_READER}
    common = ["--settings=/settings/settings.json", f"--credentials=/{SNAPSHOT_READER}"]
    common += ["--identity=/identity/age.agekey", "--folder=/throwaway"]
    assert prepare["args"] == ["prepare-verification", *common]
    assert verify["args"] == ["verify-snapshot", *common, "--seal=/seal/seal"]
    # The engine publishes what is compared; the settings are its own.
    assert volumes["seal"]["configMap"] == {
        "name": SNAPSHOT_STATUS,
        "items": [{"key": "seal", "path": "seal"}],
        "optional": True,
    }
    config = stack.kind("ConfigMap")["snapshots-engine-settings"]["metadata"]["name"]
    assert volumes["settings"]["configMap"]["name"] == config
    for container in (prepare, server, verify):
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
