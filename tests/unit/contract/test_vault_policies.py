"""Policies of Vault give no more than is used."""

from __future__ import annotations

from secret_authority.contract.vault_policies import (
    auditor_policy,
    configurator_policy,
    consumption_policy,
    engine_policy,
    entry_policy,
    rotation_looks_policy,
    rotation_policy,
    snapshot_policy,
    versions_policy,
)
from secret_authority.core.catalogue.schema import CONFIG_MOUNT, DATA_MOUNT, is_watched, parse_catalogue
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


def test_versions_are_read_with_few_rules_and_without_a_value() -> None:
    """Vault builds a token's rules for each request: with a thousand of them a read takes seven times as long."""
    policy = versions_policy()
    assert policy.count("path ") <= 3
    assert "/data/" not in policy and '["read"]' in policy and "," not in policy


def test_rotation_looks_with_few_rules_and_reads_no_secret() -> None:
    catalogue = parse_catalogue(DOCUMENT, "catalogue.yaml")
    policy = rotation_looks_policy(catalogue)
    looked_at = [secret for secret in catalogue if secret.rotator is not None or is_watched(secret)]
    assert policy.count("path ") == 2 + len({secret.vault.path.partition("/")[0] for secret in looked_at})
    assert "platform-data/data" not in policy and "platform-config/data" not in policy
    # It has the key of the digests that are in the metadata.
    assert "platform-data/metadata/*" not in policy and "object-store" not in policy
    assert not any(word in policy for word in ("create", "update", "patch", "delete"))


def test_a_secret_more_is_three_rules_more_of_rotation() -> None:
    few = parse_catalogue(DOCUMENT, "catalogue.yaml")
    rotated = next(secret for secret in few if secret.rotator is not None)
    place = rotated.vault.model_copy(update={"consumer": "another"})
    another = rotated.model_copy(update={"name": "another", "vault": place, "bootstrap": None})
    many = few.model_copy(update={"secrets": (*few.secrets, another)})
    assert rotation_policy(many).count("path ") - rotation_policy(few).count("path ") == 3


def test_who_takes_snapshots_reads_no_value_and_changes_nothing() -> None:
    policy = snapshot_policy()
    assert "/data/" not in policy and "restore" not in policy and "snapshot-force" not in policy
    for word in ("create", "patch", "delete"):
        assert f'"{word}"' not in policy
    changing = [line for line in policy.splitlines() if "update" in line]
    assert len(changing) == 2, "look up an accessor, and end its own token"
    for path in ("auth/token/lookup-accessor", "auth/token/revoke-self"):
        assert capabilities(policy, path).count('"update"') == 1
