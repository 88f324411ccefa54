"""A stack at phase 4 that an earlier release has built: what a preview of today's program shows on it.

The record is of commit d645c6e (tests/support/recorded_inputs.py writes one). Whoever changes what the program
registers names the change here, with its reason.
"""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from tests.support.recorded_inputs import HOME, RECORD, Record, fields, run, short

# Resources that an existing stack gets, by the reason.
ADDED: dict[str, set[str]] = {
    "Git changes no namespace of the platform, and no platform account mints tokens": {
        "PlatformGuard gitops-guard",
        "ValidatingAdmissionPolicy gitops-guard-namespaces-policy",
        "ValidatingAdmissionPolicy gitops-guard-tokens-policy",
        "ValidatingAdmissionPolicyBinding gitops-guard-namespaces-binding",
        "ValidatingAdmissionPolicyBinding gitops-guard-tokens-binding",
    },
    "External Secrets creates its own Secrets only; the engine of consumption changes annotations and CAs only": {
        "EngineGuard consumption-engine-guard",
        "ValidatingAdmissionPolicy consumption-engine-guard-policy",
        "ValidatingAdmissionPolicyBinding consumption-engine-guard-binding",
    },
    "nothing goes in or out of a namespace of the platform but by a way that is named": {
        "NetworkPolicy gitops-allow-cluster",
        "NetworkPolicy gitops-allow-git",
        "NetworkPolicy gitops-default-deny",
        "NetworkPolicy gitops-engine-allow-artifacts",
        "NetworkPolicy gitops-engine-allow-cluster",
        "NetworkPolicy gitops-engine-allow-scraping",
        "NetworkPolicy gitops-engine-allow-vault",
        "NetworkPolicy gitops-engine-default-deny",
    },
    "who holds root trust is on record in the cluster": {"ConfigMap gitops-root-of-trust"},
    "the end of values that are issued elsewhere is watched by the engine of rotation": {
        "AuthBackendRole rotation-engine",
        "AuthBackendRole rotation-looks",
        "AuthBackendRole rotation-requests",
        "ConfigMap rotation-engine-settings",
        "Deployment rotation-engine",
        "Mount rotation-platform-rotation",
        "NetworkPolicy rotation-allow-rotation",
        "NetworkPolicy rotation-vault-allow-rotation",
        "Policy rotation-engine",
        "Policy rotation-looks",
        "Policy rotation-requests",
        "Role rotation-secret-authority",
        "RoleBinding rotation-secret-authority",
        "Rotation rotation",
        "SecretBackendV2 rotation-platform-rotation",
        "ServiceAccount rotation-account",
        "ServiceAccount rotation-requests-account",
    },
    "versions are read as a role with few rules": {
        "AuthBackendRole consumption-roles-versions",
        "Policy consumption-roles-versions",
    },
}
# Resources whose inputs change, with the fields, by the reason. Besides these only the engine's image changes, which is
# a setting.
CHANGED: dict[str, dict[str, set[str]]] = {
    "the engine acts only on entries of the catalogue that the program has checked, by their digests": {
        "ConfigMap runtime-authority-engine-settings": {"data.settings.json"},
    },
    "Git deletes no namespace": {
        "ClusterRole gitops-reconcile-namespaces": {"rules"},
        "Kustomization gitops-namespaces": {"spec.prune"},
    },
    "Flux's controllers read the Secrets that they need, by name": {
        "Role gitops-kustomize-controller": {"rules"},
        "Role gitops-source-controller": {"rules"},
        "Deployment gitops-kustomize-controller": {"spec.template"},
    },
    "External Secrets creates its own Secrets only": {
        "ValidatingAdmissionPolicy consumption-adoption-policy": {
            "spec.matchConstraints",
            "spec.validations",
            "spec.matchConditions",
        },
    },
    "the evidence of bootstrap secrets believes no label: it reads the published audit trail": {
        "Role bootstrap-secret-authority-evidence": {"rules"},
    },
    "nothing goes in or out of a namespace of the platform but by a way that is named": {
        "NetworkPolicy consumption-eso-network": {"spec.egress", "spec.ingress"},
        "NetworkPolicy gitops-allow-own": {"spec.policyTypes", "spec.egress"},
        "NetworkPolicy gitops-allow-scraping": {"spec.ingress"},
        "NetworkPolicy runtime-authority-vault-network": {"spec.egress", "spec.ingress"},
    },
    "Vault alone gets its account's token; the reloader gets the certificate without its key": {
        "StatefulSet runtime-authority-vault": {"spec.template", "options.protect"},
    },
    "an entered value leaves an event, and the consumption engine's digests have a key of their own": {
        "Policy consumption-roles-consumption": {"policy"},
        "Policy consumption-roles-entry": {"policy"},
    },
    "nothing is handed over while a restore is going on or awaited": {
        "Role runtime-authority-engine-vault": {"rules"},
    },
    "all keys of a consumer Secret are of one version of Vault": {
        "ExternalSecret consumption-backup/object-store": {"spec.data", "spec.target"},
        "ExternalSecret consumption-edge/edge-tls": {"spec.data", "spec.target"},
        "ExternalSecret consumption-edge/oidc-client": {"spec.data", "spec.target"},
        "ExternalSecret consumption-reports/broker": {"spec.data", "spec.target"},
        "ExternalSecret consumption-reports/broker-keystore": {"spec.data", "spec.target"},
        "ExternalSecret consumption-reports/reports-db": {"spec.data", "spec.target"},
        "ExternalSecret consumption-shop/billing-db": {"spec.data", "spec.target"},
        "ExternalSecret consumption-shop/broker": {"spec.data", "spec.target"},
        "ExternalSecret consumption-shop/orders-db": {"spec.data", "spec.target"},
        "ExternalSecret consumption-shop/orders-db-endpoint": {"spec.data", "spec.target"},
    },
    "a Vault without others to wait for becomes active with Raft's own timing": {
        "ConfigMap runtime-authority-vault-config": {"data.vault.json"},
    },
    "versions are read as a role with few rules": {"Deployment consumption-engine": {"spec.template"}},
    "Vault's values cannot be made again": {"Namespace runtime-authority-vault": {"options.protect"}},
}
GUARD = "secret-authority:bootstrap:Guard", "secret-authority:layer:BootstrapGuard"


def brief(name: str) -> str:
    """`Kind name` of a resource."""
    kind, _, rest = name.partition("::")
    return f"{kind.split(':')[-1]} {rest}"


@pytest.fixture(scope="module")
def today(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return run(HOME, tmp_path_factory.mktemp("recorded"))


@pytest.fixture(scope="module")
def recorded() -> Record:
    return json.loads(RECORD.read_text())  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def pairs(today: dict[str, dict[str, Any]], recorded: Record) -> dict[str, str]:
    """Today's name of each recorded resource that Pulumi takes for the same one: by its URN or an alias."""
    older = {short(alias): name for name, entry in today.items() for alias in entry["aliases"]}
    # A child's URN starts with its parent's type, so the alias of a parent is one of the child, too.
    older |= {name.replace(*GUARD, 1): name for name in today if name.startswith(f"{GUARD[0]}$")}
    found = {**older, **{name: name for name in today}}
    return {name: found[name] for name in recorded if name in found}


def test_nothing_is_replaced_or_taken_away(pairs: dict[str, str], recorded: Record) -> None:
    assert sorted(set(recorded) - set(pairs)) == []


def test_what_is_new_is_named_here(today: dict[str, dict[str, Any]], pairs: dict[str, str]) -> None:
    new = {brief(name) for name in set(today) - set(pairs.values())}
    assert sorted(new) == sorted(name for named in ADDED.values() for name in named)


def test_what_changes_is_named_here(today: dict[str, dict[str, Any]], pairs: dict[str, str], recorded: Record) -> None:
    changed: dict[str, set[str]] = {}
    for before, after in pairs.items():
        old, new = recorded[before], fields(today[after])
        names = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
        if names:
            changed[brief(before)] = names
    assert changed == {name: found for named in CHANGED.values() for name, found in named.items()}


def test_a_changed_input_is_noticed(today: dict[str, dict[str, Any]], recorded: Record) -> None:
    (source,) = [name for name in today if "GitRepository" in name]
    changed = copy.deepcopy(today[source])
    changed["inputs"]["spec"]["ref"] = {"branch": "next"}
    after = fields(changed)
    assert {name for name, value in recorded[source].items() if after[name] != value} == {"spec.ref"}
