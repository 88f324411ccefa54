"""One cluster, one server: several providers and several spellings of an address."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from policy.inventory.identity import reduce_address
from secret_authority.core.claims.conflicts import Conflict, find_conflicts
from tests.support.policy.cases import plain, push, store
from tests.support.policy.stacks import CANARY, UNKNOWN, R, context_of_state, verdicts


def kubeconfig(server: str, context: str = "c") -> str:
    return json.dumps(
        {
            "clusters": [
                {"name": "other", "cluster": {"server": "https://other.example"}},
                {"name": "c", "cluster": {"server": server}},
            ],
            "contexts": [{"name": context, "context": {"cluster": "c", "user": "u"}}],
            "current-context": context,
            "users": [{"name": "u", "user": {"token": CANARY}}],
        }
    )


def two_secrets(first: dict[str, Any], second: dict[str, Any]) -> list[R]:
    """One Secret written through two providers."""
    kind = "pulumi:providers:kubernetes"
    return [
        R(kind, "one", first),
        R(kind, "two", second),
        replace(plain("shop/db"), name="a", provider="one"),
        replace(plain("shop/db"), name="b", provider="two"),
    ]


def conflicts(first: dict[str, Any], second: dict[str, Any]) -> list[Conflict]:
    return find_conflicts(context_of_state(two_secrets(first, second)).claims)


def test_two_providers_of_one_api_server_are_one_cluster() -> None:
    (conflict,) = conflicts(
        {"kubeconfig": kubeconfig("https://api.example:6443")},
        {"kubeconfig": kubeconfig("https://API.example:6443/", "admin"), "namespace": "shop"},
    )
    assert conflict.certain


def test_two_api_servers_are_two_clusters() -> None:
    assert not conflicts(
        {"kubeconfig": kubeconfig("https://a.example:6443")}, {"kubeconfig": kubeconfig("https://b.example:6443")}
    )


def test_a_name_for_a_cluster_counts_before_its_address() -> None:
    one = {"kubeconfig": kubeconfig("https://a.example"), "clusterIdentifier": "prod"}
    other = {"kubeconfig": kubeconfig("https://b.example"), "clusterIdentifier": "prod"}
    (conflict,) = conflicts(one, other)
    assert conflict.certain


@pytest.mark.parametrize("hidden", [{}, {"kubeconfig": "/home/me/.kube/config"}, {"kubeconfig": "clusters: ["}])
def test_a_cluster_that_cannot_be_known_could_be_the_other_one(hidden: dict[str, Any]) -> None:
    (conflict,) = conflicts({"kubeconfig": kubeconfig("https://a.example")}, hidden)
    assert not conflict.certain
    assert "kubeconfig (or clusterIdentifier) of provider two" in str(conflict)
    assert CANARY not in str(conflict)


def test_an_unknown_kubeconfig_fails_closed_in_the_pack() -> None:
    found = verdicts(two_secrets({"kubeconfig": kubeconfig("https://a.example")}, {"kubeconfig": UNKNOWN}))
    (message,) = found["undecided-authority"]
    assert "Make known: kubeconfig" in message
    assert CANARY not in str(found)


@pytest.mark.parametrize(
    ("address", "short"),
    [
        ("https://vault.vault.svc.cluster.local:8200", "vault/vault"),
        ("https://vault.vault.svc:8200/", "vault/vault"),
        ("http://vault.vault:8200", "vault/vault"),
        ("https://vault-active.vault.svc:8200", "vault/vault"),
        ("https://vault-0.vault-internal.vault.svc.cluster.local:8200", "vault/vault"),
        ("https://bao.platform.svc", "platform/bao"),
        ("https://vault", "default/vault"),
        ("https://vault.example.org", "vault.example.org"),
        ("https://vault.example.org:443/", "vault.example.org"),
        ("http://vault.example.org:80", "vault.example.org"),
        ("https://vault.example.org:8443", "vault.example.org:8443"),
        ("https://vault.example", "vault.example"),
        ("https://127.0.0.1:8200", "127.0.0.1:8200"),
        ("https://localhost:8200", "localhost:8200"),
        ("vault.example.org:8200", "vault.example.org"),
        ("vault.example.org", "vault.example.org"),
    ],
)
def test_addresses_are_reduced_to_what_they_stand_for(address: str, short: str) -> None:
    assert reduce_address(address) == short


def pushes(address: str, first: str, second: str) -> list[R]:
    """One Vault path pushed to in two namespaces through two providers, each with a store of this address."""
    kind = "pulumi:providers:kubernetes"
    vault = {"server": address, "path": "platform-data"}
    return [
        R(kind, "one", {"kubeconfig": kubeconfig(first)}),
        R(kind, "two", {"kubeconfig": kubeconfig(second)}),
        replace(store("shop", vault=vault), provider="one"),
        replace(push("shop/a", "seed", "pg/x"), provider="one"),
        replace(store("web", vault=vault), provider="two"),
        replace(push("web/b", "seed", "pg/x"), provider="two"),
    ]


INSIDE, OUTSIDE = "https://vault.vault.svc:8200", "https://vault.example.org"
ONE, TWO = "https://a.example:6443", "https://b.example:6443"


@pytest.mark.parametrize(
    ("address", "second", "meet"),
    [(INSIDE, TWO, False), (INSIDE, ONE, True), (OUTSIDE, TWO, True)],
    ids=["each its own Vault", "one cluster", "one Vault outside of both"],
)
def test_a_service_is_another_vault_in_each_cluster(address: str, second: str, meet: bool) -> None:
    found = find_conflicts(context_of_state(pushes(address, ONE, second)).claims)
    assert [conflict.certain for conflict in found] == ([True] if meet else [])


def test_a_service_that_settings_name_is_one_server_for_all_clusters() -> None:
    named = {"vaultServers": {"central": [INSIDE]}}
    assert "single-authority" in verdicts(pushes(INSIDE, ONE, TWO), named)
    assert "single-authority" not in verdicts(pushes(INSIDE, ONE, TWO))


def test_a_service_of_a_cluster_that_cannot_be_known_fails_closed() -> None:
    stack = pushes(INSIDE, ONE, TWO)
    stack[1] = replace(stack[1], props={})
    (conflict,) = find_conflicts(context_of_state(stack).claims)
    assert not conflict.certain
    assert "provider two" in str(conflict)
