"""What Pulumi waits for before it makes a resource, under its mocks."""

from __future__ import annotations

import pulumi
import pulumi_kubernetes as k8s

from components.runtime_authority.vault_server import VaultServer, VaultServerArgs
from components.settings.vault import VaultSettings
from tests.fakes.pulumi import Recorder
from tests.support.registrations import Registrations


def test_no_pod_of_vault_runs_before_its_network_policy() -> None:
    recorder = Recorder()
    monitor = Registrations(recorder)
    pulumi.runtime.set_mocks(recorder, project="secret-authority", stack="test", preview=False, monitor=monitor)

    @pulumi.runtime.test
    def build() -> pulumi.Output[str]:
        namespace = k8s.core.v1.Namespace("namespace", metadata={"name": "vault"})
        settings = VaultSettings(local_port=20001)
        args = VaultServerArgs(settings, "engine:test", namespace, 60)
        return VaultServer("vault", args).stateful_set.id

    build()
    assert ("NetworkPolicy", "vault-network") in monitor.dependencies["StatefulSet", "vault"]
