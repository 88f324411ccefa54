"""The component of snapshots under Pulumi's mocks: one identity, which reads no value."""

from __future__ import annotations

from typing import Any

import pulumi
import pulumi_vault as vault

from components.runtime_authority.vault_objects import VaultConnection
from components.snapshots.snapshots import Snapshots, SnapshotsArgs
from secret_authority.contract.names import SNAPSHOT_ACCOUNT, SNAPSHOT_ROLE
from secret_authority.contract.vault_policies import snapshot_policy
from tests.fakes.pulumi import Callbacks, Recorder


def test_one_account_logs_in_as_the_identity_and_gets_its_policy_alone() -> None:
    recorder = Recorder()
    pulumi.runtime.set_mocks(recorder, project="secret-authority", stack="test", preview=False)
    pulumi.runtime.settings.SETTINGS.callbacks = Callbacks()  # type: ignore[attr-defined]

    @pulumi.runtime.test
    def run() -> pulumi.Output[Any]:
        provider = vault.Provider("vault", address="https://vault.example")
        hook = pulumi.ResourceHook("vault-session", lambda _: None)
        made = Snapshots("snapshots", SnapshotsArgs(VaultConnection(provider, hook, provider, [])))
        return pulumi.Output.from_input(made.role)

    run()
    (policy,) = recorder.kind("Policy").values()
    (role,) = recorder.kind("AuthBackendRole").values()
    (account,) = recorder.kind("ServiceAccount").values()
    assert policy["policy"] == snapshot_policy() and policy["name"] == role["roleName"] == SNAPSHOT_ROLE
    assert role["boundServiceAccountNames"] == [account["metadata"]["name"]] == [SNAPSHOT_ACCOUNT]
    assert role["tokenPolicies"] == [SNAPSHOT_ROLE] and role["tokenNoDefaultPolicy"] is True
    assert account["automountServiceAccountToken"] is False
    assert not recorder.kind("Role") and not recorder.kind("RoleBinding")
