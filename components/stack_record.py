"""The phase that this stack has reached by its own record: the outputs of its last successful run.

It speaks where the cluster cannot: in a pull request's preview, and for a cluster that is lost.
"""

from __future__ import annotations

import pulumi

from authority.phases import Phase, PhaseRefusedError, admit
from components.cluster_state import ClusterState
from components.settings import Settings


def admitted_kubeconfig(settings: Settings, cluster: ClusterState) -> pulumi.Output[str]:
    """The path of the kubeconfig, once the stack's record admits the wanted phase.

    The provider takes it from here, so nothing in a cluster can change before. A lower phase fails the run
    with the reason, unless the configuration says that a new cluster replaces the lost one (RFC §3.5).
    """
    stack = f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}"

    def check(reached: object) -> str:
        try:
            before = None if reached is None else Phase(int(str(reached).partition(".")[0]))
            admit(before, settings.phase, rebuild=settings.rebuild)
        except PhaseRefusedError as error:
            raise pulumi.RunError(str(error)) from None
        if before and cluster.reachable and cluster.reached is None:
            pulumi.log.warn(
                f"this stack has built its cluster to phase {before.value}, but this cluster has no record of any "
                "phase. If it is a new one, run with --refresh: else what is missing in it is not made"
            )
        return str(settings.kubeconfig)

    record: pulumi.Output[object] = pulumi.StackReference("stack-record", stack_name=stack).get_output("phase")
    return record.apply(check)
