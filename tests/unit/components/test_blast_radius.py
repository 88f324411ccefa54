"""What a stolen account reaches in two steps is what docs/threat-model.md says, no more and no less."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from secret_authority.repository.layout import Layout
from secret_authority.repository.snapshot_settings import settings_file
from tests.support.blast_radius import powers, reach, table
from tests.support.recorded_inputs import HOME, run

DOCUMENT = HOME / "docs/threat-model.md"
CONSUMERS = ["backup", "edge", "reports", "shop"]
SNAPSHOTS = """\
apiVersion: secret-authority.dev/v1
kind: Snapshots
store: {s3: {endpoint: "https://store.example", bucket: b}}
"""
BOOTSTRAP = ["bootstrap-data", "bootstrap-edge", "bootstrap-messaging"]
Registered = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Registered:
    files = {settings_file(Layout.of("dev")): SNAPSHOTS}
    return run(HOME, tmp_path_factory.mktemp("blast-radius"), files=files)


def rows(registered: Registered) -> list[str]:
    return table(reach(registered), CONSUMERS, BOOTSTRAP)


def test_the_document_says_what_each_account_reaches(registered: Registered) -> None:
    text = DOCUMENT.read_text().partition("<!-- blast radius -->")[2].partition("<!-- end -->")[0]
    written = [line for line in text.splitlines() if line.startswith("| `")]
    assert written == rows(registered)


def test_only_the_engine_is_root_in_two_steps(registered: Registered) -> None:
    assert [account for account, found in reach(registered).items() if "root" in found.vault] == [
        "secret-authority/secret-authority-engine"
    ]


def test_only_four_programs_have_the_cluster_identity(registered: Registered) -> None:
    holders = {account for account, found in reach(registered).items() if any("sops-age" in s for s in found.reads)}
    assert holders == {
        "flux-system/kustomize-controller",
        "secret-authority/bootstrap-evidence",
        "secret-authority/secret-authority-engine",
        "secret-authority/secret-authority-snapshot-verifier",
    }


@pytest.mark.parametrize(
    ("policy", "account", "gains"),
    [
        # Each policy is needed: without it an account becomes others.
        ("secret-authority-token-guard", "flux-system/reconcile-bootstrap-secrets", "bootstrap-data/*"),
        (
            "secret-authority-engine-guard",
            "secret-authority/secret-authority-consumption",
            "shop/secret-authority-reader",
        ),
    ],
)
def test_without_an_admission_policy_an_account_becomes_others(
    registered: Registered, policy: str, account: str, gains: str
) -> None:
    def unbound(entry: dict[str, Any]) -> bool:
        return entry["inputs"].get("spec", {}).get("policyName") == policy

    less = {name: entry for name, entry in registered.items() if not unbound(entry)}
    assert gains not in reach(registered)[account].becomes
    assert gains in reach(less)[account].becomes


def role(registered: Registered, name: str, rule: dict[str, Any]) -> Registered:
    """The stack with one more rule in a Role."""
    more = copy.deepcopy(registered)
    (found,) = [entry for key, entry in more.items() if key.endswith(f":Role::{name}")]
    found["inputs"]["rules"].append({"apiGroups": [""], **rule})
    return more


@pytest.mark.parametrize(
    ("rule", "gains"),
    [
        ({"resources": ["secrets"], "verbs": ["list"]}, "flux-system/*"),
        ({"resources": ["secrets"], "resourceNames": ["sops-age"], "verbs": ["get"]}, "flux-system/sops-age"),
        # One step further: the token of an account that reads it.
        ({"resources": ["serviceaccounts/token"], "verbs": ["create"]}, "flux-system/sops-age"),
        ({"resources": ["pods"], "verbs": ["create"]}, "flux-system/*"),
    ],
)
def test_more_rights_are_more_reach(registered: Registered, rule: dict[str, Any], gains: str) -> None:
    more = reach(role(registered, "gitops-source-controller", rule))["flux-system/source-controller"]
    assert gains in more.reads - reach(registered)["flux-system/source-controller"].reads


def test_vault_policies_are_read_as_vault_reads_them() -> None:
    text = 'path "platform-data/data/*" {\n  capabilities = ["create", "update", "read"]\n}\n'
    assert powers(text) == {"overwrites all values", "reads all values"}
    assert powers('path "sys/policies/acl/x*" {\n  capabilities = ["update"]\n}') == {"writes policies"}
    assert powers('path "platform-data/metadata/*" {\n  capabilities = ["read"]\n}') == set()
