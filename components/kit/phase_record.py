"""The cluster's record of a reached phase. Its creation time is the "since" of the ledger."""

from __future__ import annotations

import pulumi
import pulumi_kubernetes as k8s

from secret_authority.contract.names import ENGINE_NAMESPACE, MANAGED_BY, PHASE_LABEL
from secret_authority.core.phases import Phase


def phase_record(phase: Phase, parent: pulumi.Resource, shown_by: list[pulumi.Resource]) -> k8s.core.v1.ConfigMap:
    """Write the record once the resources in `shown_by` have shown that the phase's layer works."""
    return k8s.core.v1.ConfigMap(
        f"phase-{phase.value}",
        metadata={
            "name": f"phase-{phase.value}",
            "namespace": ENGINE_NAMESPACE,
            "labels": {**MANAGED_BY, PHASE_LABEL: str(phase.value)},
        },
        data={"phase": phase.title, "authority": phase.authority.value},
        opts=pulumi.ResourceOptions(parent=parent, depends_on=shown_by),
    )
