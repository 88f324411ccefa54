"""Policies of Vault give no more than is used."""

from __future__ import annotations

from secret_authority.contract.vault_policies import (
    auditor_policy,
    configurator_policy,
    consumption_policy,
    engine_policy,
    entry_policy,
    rotation_policy,
    snapshot_policy,
)
from secret_authority.core.catalogue.schema import CONFIG_MOUNT, DATA_MOUNT, parse_catalogue
from tests.support.documents import DOCUMENT


def capabilities(policy: str, path: str) -> str:
    """The text of the rule over exactly this path."""
    return policy.partition(f'path "{path}" {{')[2].partition("}")[0]


def test_nobody_can_delete_a_mount_and_all_values_in_it() -> None:
    for mount in (DATA_MOUNT, CONFIG_MOUNT):
        rule = capabilities(configurator_policy(), f"sys/mounts/{mount}")
        assert "update" in rule and "delete" not in rule
    for policy in (engine_policy(), auditor_policy()):
        assert "delete" not in policy


def test_whoever_patches_metadata_sends_custom_metadata_only() -> None:
    catalogue = parse_catalogue(DOCUMENT, "catalogue.yaml")
    policies = (
        engine_policy(),
        consumption_policy(catalogue, ()),
        rotation_policy(catalogue),
        entry_policy(catalogue, ()),
    )
    rules = [rule for policy in policies for rule in policy.split('path "') if '"patch"' in rule]
    assert len(rules) >= 2
    assert all('allowed_parameters = { "custom_metadata" = [] }' in rule for rule in rules)


def test_who_takes_snapshots_reads_no_value_and_changes_nothing() -> None:
    policy = snapshot_policy()
    assert "/data/" not in policy and "restore" not in policy and "snapshot-force" not in policy
    for word in ("create", "patch", "delete"):
        assert f'"{word}"' not in policy
    changing = [line for line in policy.splitlines() if "update" in line]
    assert len(changing) == 2, "look up an accessor, and end its own token"
    for path in ("auth/token/lookup-accessor", "auth/token/revoke-self"):
        assert capabilities(policy, path).count('"update"') == 1
