"""The phase that this stack has reached by its own record: the outputs of its last successful run.

It speaks where the cluster cannot: in a pull request's preview, and for a cluster that is lost.
"""

from __future__ import annotations

from typing import Any

import pulumi

from components.settings.stack import Settings
from secret_authority.access.cluster_state import ClusterState
from secret_authority.core.phases import Phase, PhaseRefusedError, check_transition


def stack_record() -> pulumi.Output[Any]:
    """The phase that this stack has reached by its own record, None for a new one."""
    stack = f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}"
    return pulumi.StackReference("stack-record", stack_name=stack).get_output("phase")


def recorded_phase(reached: object) -> Phase | None:
    """What `stack_record` gave, as a phase. Raises `ValueError` for one that does not exist."""
    return None if reached is None else Phase(int(str(reached).partition(".")[0]))


def admitted_kubeconfig(settings: Settings, cluster: ClusterState, record: pulumi.Output[Any]) -> pulumi.Output[str]:
    """The path of the kubeconfig, once the stack's record admits the wanted phase and this cluster.

    The provider takes it from here, so nothing in a cluster can change before. Fails the run with the reason for
    a lower phase, and for an empty cluster where the record says that one was built: this kubeconfig leads to
    another cluster, or the cluster is lost (RFC §3.5), and Pulumi would take all of it for unchanged.
    """

    def check(reached: object) -> str:
        try:
            before = recorded_phase(reached)
            check_transition(before, settings.phase)
        except PhaseRefusedError as error:
            raise pulumi.RunError(str(error)) from None
        if before and cluster.reachable and not cluster.built:
            raise pulumi.RunError(lost(before, settings))
        return str(settings.kubeconfig)

    return record.apply(check)


def lost(before: Phase, settings: Settings) -> str:
    """What to say when a stack of phase `before` meets an empty cluster."""
    return (
        f"this stack has built its cluster to phase {before.value} ({before.title}), but nothing of it is in the "
        f"cluster of {settings.kubeconfig}. Fix: if that is another cluster, correct kubeconfig or context; if the "
        "cluster is lost and this one takes its place, let the stack forget it with "
        "`pulumi state delete --all --force`, and run again with the root holder (docs/runbooks/rebuild.md)."
    )
