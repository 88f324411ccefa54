"""Every namespace of the platform is closed in both directions, and each way in or out names who and where."""

from __future__ import annotations

from functools import cache
from typing import Any

import pulumi
import pytest

from components.consumption.external_secrets import ExternalSecrets, ExternalSecretsArgs
from components.gitops.network import engine_policies, flux_policies
from components.runtime_authority.vault_network import network_policy_spec
from components.settings.git import GitSettings
from components.settings.network import NetworkSettings, read_network_settings
from components.settings.stack import HOME
from secret_authority.contract.names import ENGINE_NAMESPACE, SNAPSHOT_VERIFIER
from secret_authority.core.platform_namespaces import PLATFORM_NAMESPACES
from tests.fakes.pulumi import Recorder

GIT = GitSettings("ssh://git@git.example:2222/fleet")
SET = NetworkSettings(("10.0.0.1/32",), ("192.0.2.7/32",), ("169.254.20.10/32",), ("monitoring",))


@cache
def policies(network: NetworkSettings) -> dict[str, list[dict[str, Any]]]:
    """The specifications of all policies by namespace."""
    recorder = Recorder()
    pulumi.runtime.set_mocks(recorder, project="secret-authority", stack="test", preview=False)

    @pulumi.runtime.test
    def run() -> pulumi.Output[Any]:
        parent = pulumi.ComponentResource("test:layer:Layer", "layer")
        namespace = pulumi.ComponentResource("test:layer:Namespace", "namespace")
        made = [
            *flux_policies("gitops", parent, network, GIT, namespace),
            *engine_policies("gitops", parent, network, namespace),
        ]
        eso = ExternalSecrets("eso", ExternalSecretsArgs(HOME / ".tools/manifests", {}, network))
        return pulumi.Output.all(eso.urn, *(policy.id for policy in made))

    run()
    found: dict[str, list[dict[str, Any]]] = {"vault": [network_policy_spec(network)]}
    for inputs in recorder.kind("NetworkPolicy").values():
        found.setdefault(inputs["metadata"]["namespace"], []).append(inputs["spec"])
    return found


@pytest.mark.parametrize("network", [NetworkSettings(), SET])
def test_every_pod_of_every_platform_namespace_is_closed_in_both_directions(network: NetworkSettings) -> None:
    found = policies(network)
    assert set(found) == set(PLATFORM_NAMESPACES)
    for specs in found.values():
        closed = {kind for spec in specs if spec["podSelector"] == {} for kind in spec["policyTypes"]}
        assert closed == {"Ingress", "Egress"}


@pytest.mark.parametrize("network", [NetworkSettings(), SET])
def test_every_way_in_names_who_may_come(network: NetworkSettings) -> None:
    for specs in policies(network).values():
        for spec in specs:
            assert all(rule["from"] for rule in spec.get("ingress", []))


def test_every_way_out_names_where_to_when_the_addresses_are_set() -> None:
    for specs in policies(SET).values():
        for spec in specs:
            assert all(rule["to"] for rule in spec.get("egress", []))


def test_without_addresses_only_the_ports_of_the_api_server_and_of_git_are_open() -> None:
    anywhere = {
        tuple(port["port"] for port in rule["ports"])
        for specs in policies(NetworkSettings()).values()
        for spec in specs
        for rule in spec.get("egress", [])
        if "to" not in rule
    }
    assert anywhere == {(443, 6443), (2222,)}


def test_metrics_are_for_the_scrapers_that_are_named() -> None:
    def scraped(network: NetworkSettings) -> int:
        return sum(
            8080 in [port["port"] for port in rule.get("ports", [])]
            for specs in policies(network).values()
            for spec in specs
            for rule in spec.get("ingress", [])
        )

    assert scraped(NetworkSettings()) == 0 and scraped(SET) == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"apiServer": ["10.0.0.1/99"]}', "10.0.0.1/99 is not a CIDR"),
        ('{"apiServer": "10.0.0.1/32"}', "is unknown or no list"),
        ('{"api": []}', "is unknown or no list"),
        ("[]", ""),
        ("[1]", "is not a mapping"),
    ],
)
def test_addresses_that_are_none_are_refused(text: str, words: str) -> None:
    pulumi.runtime.set_mocks(Recorder(), project="secret-authority", stack="test")
    pulumi.runtime.set_all_config({"secret-authority:network": text})
    found: list[str] = []
    read_network_settings(pulumi.Config("secret-authority"), lambda *said: found.append(" ".join(said)))
    assert len(found) == bool(words) and all(words in line for line in found)


@pytest.mark.parametrize("network", [NetworkSettings(), SET])
def test_who_verifies_snapshots_has_no_way_that_other_pods_of_the_namespace_have(network: NetworkSettings) -> None:
    """Its own way to the store comes with the snapshots: tests/unit/components/test_snapshots.py."""
    label = SNAPSHOT_VERIFIER
    for spec in policies(network)[ENGINE_NAMESPACE]:
        if not spec.get("egress"):
            continue
        (chosen,) = spec["podSelector"]["matchExpressions"]
        assert chosen["key"] == "app"
        assert (label in chosen["values"]) == (chosen["operator"] == "NotIn"), spec
