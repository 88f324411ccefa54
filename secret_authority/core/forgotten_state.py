"""A Pulumi state that knows of no cluster, and a cluster that this program has built: may the run begin?

Pulumi would create each object over the one that is there, until some field or some mount of Vault is refused. A first
run that was interrupted is another matter: its state has what it had begun, and it may be repeated. This is asked only
where the state has nothing of the cluster.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from secret_authority.core.errors import Problem
from secret_authority.core.phases import Phase

STATE_FIX = (
    "bring this stack's state back with `pulumi stack import --file FILE`, then run `secret-authority pulumi up "
    "--refresh`; FILE is an export of it, or an earlier state from its backend (docs/runbooks/rebuild.md, The state is "
    "lost or forgotten). If another stack has built this cluster, use that one, or correct kubeconfig or context"
)
REACH_FIX = "run again when the cluster answers"


@dataclass(frozen=True)
class Built:
    """What a cluster has of this program. `objects`: each in words, none in a cluster that has nothing of it.

    When `reachable` is False the rest is unknown.
    """

    reachable: bool
    reached: Phase | None = None
    objects: tuple[str, ...] = ()


def why_not_begun(built: Built, cluster: str, *, preview: bool) -> Problem | None:
    """Why a run with an empty state must not change this cluster; None when it may.

    `preview`: nothing is changed, and a cluster that does not answer is no reason to refuse one.
    """
    where = f"cluster {cluster}"
    if not built.reachable:
        if preview:
            return None
        found = "does not answer, and this stack's state has nothing of it: whether it is empty is not known"
        return Problem(where, "", found, REACH_FIX)
    if built.reached is None and not built.objects:
        return None
    reached = "no phase is on its record"
    if built.reached is not None:
        reached = f"it has reached phase {built.reached.value} ({built.reached.title})"
    found = f"is built, {reached}, and this stack's state has nothing of it. Found: {_listed(built.objects)}"
    return Problem(where, "", found, STATE_FIX)


def _listed(objects: Iterable[str]) -> str:
    return "; ".join(objects) or "its record"
