"""Layers 1 to 3 under Pulumi's mocks: exact inputs of their children, and nothing secret among them."""

from __future__ import annotations

import json
from typing import Any

import pulumi
import pytest

from components.bootstrap.bootstrap_secrets import BootstrapSecrets, BootstrapSecretsArgs
from components.gitops.gitops import GitOps, GitOpsArgs
from components.kit.phase_record import phase_record
from components.root_of_trust import RootOfTrust, RootOfTrustArgs
from secret_authority.access.cluster_state import UNREACHABLE, ClusterState
from secret_authority.core.claims.serialization import decode_claim
from secret_authority.core.errors import InvalidInputError
from secret_authority.core.phases import Phase
from tests.fakes.pulumi import Callbacks, Recorder, settings
from tests.support.fleets import Fleet, new_fleet

NAMESPACES = ["bootstrap-data", "bootstrap-edge", "bootstrap-messaging"]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    return new_fleet(tmp_path_factory.mktemp("components"))


@pytest.fixture(scope="module")
def stack(fleet: Fleet) -> Recorder:
    """The resources of a phase 2 stack."""
    recorder = Recorder()
    pulumi.runtime.set_mocks(recorder, project="secret-authority", stack="test", preview=False)
    recorder.callbacks = Callbacks()  # type: ignore[attr-defined]
    pulumi.runtime.settings.SETTINGS.callbacks = recorder.callbacks  # type: ignore[attr-defined]

    @pulumi.runtime.test
    def build() -> pulumi.Output[Any]:
        chosen, intent = settings(fleet), fleet.read()
        root = RootOfTrust("root", RootOfTrustArgs(chosen, intent, UNREACHABLE))
        recipient = intent.trust.cluster("dev").recipient
        gitops = GitOps("gitops", GitOpsArgs(chosen, root, recipient), pulumi.ResourceOptions(depends_on=[root]))
        bootstrap = BootstrapSecrets("bootstrap", BootstrapSecretsArgs(chosen, intent, ClusterState(True), gitops))
        record = phase_record(Phase.BOOTSTRAP, bootstrap, [bootstrap.job])
        recorder.claims = bootstrap.claims  # type: ignore[attr-defined]
        return pulumi.Output.all(bootstrap.evidence, record.urn, gitops.evidence)

    build()
    return recorder


def test_nothing_secret_is_an_input_of_any_resource(stack: Recorder, fleet: Fleet) -> None:
    text = json.dumps(list(stack.inputs.values()), default=str)
    assert fleet.identity().secret not in text
    assert fleet.root().secret not in text
    assert "AGE-SECRET-KEY" not in text
    assert list(stack.kind("Secret")) == ["gitops-git-ca"], (
        "Pulumi makes no Secret but the public certificate of the Git server"
    )


def test_children_are_named_from_their_layer(stack: Recorder) -> None:
    layers = ("gitops", "bootstrap", "root", "phase-")
    assert all(name.startswith(layers) for _, name in stack.inputs)


def test_the_bootstrap_kustomization_decrypts_with_the_cluster_identity(stack: Recorder) -> None:
    spec = stack.kind("Kustomization")["bootstrap-0-bootstrap-secrets"]["spec"]
    assert spec == {
        "sourceRef": {"kind": "GitRepository", "name": "fleet"},
        "serviceAccountName": "reconcile-bootstrap-secrets",
        "interval": "10m",
        "retryInterval": "30s",
        "timeout": "3m",
        "path": "./clusters/dev/bootstrap",
        "prune": True,
        "wait": True,
        "decryption": {"provider": "sops", "secretRef": {"name": "sops-age"}},
        "commonMetadata": {
            "labels": {"app.kubernetes.io/part-of": "secret-authority", "secret-authority.dev/class": "bootstrap"}
        },
    }


def test_only_the_bootstrap_kustomization_decrypts(stack: Recorder) -> None:
    decrypting = [name for name, inputs in stack.kind("Kustomization").items() if "decryption" in inputs["spec"]]
    assert decrypting == ["bootstrap-0-bootstrap-secrets"]


def test_flux_may_write_secrets_in_the_bootstrap_namespaces_only(stack: Recorder) -> None:
    assert list(stack.kind("ClusterRole")) == ["gitops-reconcile-namespaces"]
    for namespace in NAMESPACES:
        role = stack.kind("Role")[f"bootstrap-{namespace}-reconcile"]
        assert role["metadata"]["namespace"] == namespace
        assert [rule["resources"] for rule in role["rules"]] == [["secrets"]]
    (rule,) = stack.kind("ClusterRole")["gitops-reconcile-namespaces"]["rules"]
    assert rule["resources"] == ["namespaces"]


def test_the_controllers_watch_their_namespace_only_and_run_upstream_images(stack: Recorder) -> None:
    deployments = stack.kind("Deployment")
    assert len(deployments) == 2
    for deployment in deployments.values():
        template = deployment["spec"]["template"]["spec"]
        (container,) = template["containers"]
        assert container["image"].startswith("ghcr.io/fluxcd/")
        assert "--watch-all-namespaces=false" in container["args"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_the_evidence_job_reads_named_secrets_and_nothing_else(stack: Recorder, fleet: Fleet) -> None:
    for namespace in NAMESPACES:
        (rule,) = stack.kind("Role")[f"bootstrap-{namespace}-evidence"]["rules"]
        wanted = sorted(s.name for s in fleet.read().encrypted if s.namespace == namespace)
        assert rule == {"apiGroups": [""], "resources": ["secrets"], "resourceNames": wanted, "verbs": ["get"]}
    pod = stack.kind("Job")["bootstrap-evidence"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == "ghcr.io/secret-authority/engine:test"
    assert "env" not in container
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_the_guard_names_every_bootstrap_secret(stack: Recorder, fleet: Fleet) -> None:
    (variable,) = stack.kind("ValidatingAdmissionPolicy")["bootstrap-guard-policy"]["spec"]["variables"]
    names, _ = json.JSONDecoder().raw_decode(variable["expression"])
    listed = {(namespace, name) for namespace, found in names.items() for name in found}
    assert listed == {(secret.namespace, secret.name) for secret in fleet.read().encrypted}


def test_the_layer_registers_the_claims_of_git(stack: Recorder, fleet: Fleet) -> None:
    @pulumi.runtime.test
    def check() -> pulumi.Output[None]:
        def compare(found: list[dict[str, Any]]) -> None:
            assert [decode_claim(claim) for claim in found] == list(fleet.read().claims)

        return stack.claims.apply(compare)  # type: ignore[attr-defined,no-any-return]

    check()


def test_a_cluster_without_identity_needs_the_root_holder(fleet: Fleet) -> None:
    args = RootOfTrustArgs(settings(fleet, root=False), fleet.read(), ClusterState(reachable=True))
    with pytest.raises(InvalidInputError, match="SECRET_AUTHORITY_ROOT_IDENTITY"):
        RootOfTrust("refused", args)


def test_a_cluster_with_another_identity_is_refused(fleet: Fleet) -> None:
    state = ClusterState(reachable=True, recipient="age1other")
    args = RootOfTrustArgs(settings(fleet, root=False), fleet.read(), state)
    with pytest.raises(InvalidInputError, match="holds the identity of age1other"):
        RootOfTrust("refused", args)


def test_phase_0_needs_no_cluster_and_no_key(fleet: Fleet) -> None:
    args = RootOfTrustArgs(settings(fleet, root=False, phase=Phase.ROOT_OF_TRUST), fleet.read(), UNREACHABLE)
    assert RootOfTrust("phase-0", args).identity is None
