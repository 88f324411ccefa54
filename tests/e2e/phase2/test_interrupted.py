"""`pulumi up` killed with all its processes, at several moments from an empty cluster to phase 2; then run again."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from secret_authority.contract.names import ENGINE_NAMESPACE, FLUX_NAMESPACE
from tests.support.cluster_objects import difference
from tests.support.flux import KUSTOMIZATION_PATH
from tests.support.recorded_stack import DESTROY, UP, RecordedStack
from tests.support.waiting import until

pytestmark = pytest.mark.cluster

DEPLOYMENT = f"/apis/apps/v1/namespaces/{FLUX_NAMESPACE}/deployments/source-controller"
JOBS = f"/apis/batch/v1/namespaces/{ENGINE_NAMESPACE}/jobs"
# In the order in which `up` comes to them; each next run starts where the last one was killed.
MOMENTS: dict[str, Callable[[RecordedStack], bool]] = {
    "namespaces exist": lambda stack: stack.objects.get(f"/api/v1/namespaces/{FLUX_NAMESPACE}") is not None,
    "a controller starts": lambda stack: stack.objects.get(DEPLOYMENT) is not None,
    "secrets are applied": lambda stack: stack.objects.get(KUSTOMIZATION_PATH) is not None,
    "evidence is gathered": lambda stack: bool((stack.objects.get(JOBS) or {}).get("items")),
}
# Those of every change: before anything can be in use, and while the last resource of phase 2 is made.
SOME = ("a controller starts", "evidence is gathered")


@pytest.mark.parametrize("moment", [m if m in SOME else pytest.param(m, marks=pytest.mark.nightly) for m in MOMENTS])
def test_killed(destroyed: RecordedStack, moment: str) -> None:
    """The killed run had not ended by itself, and left its lock."""
    destroyed.release_dead_lock()
    process = destroyed.start(*UP, root=True)
    try:
        until(lambda: MOMENTS[moment](destroyed) or process.poll() is not None, moment, timeout=180)
        assert process.poll() is None, process.communicate()[0]
    finally:
        destroyed.kill(process)
    assert destroyed.reached() != 2


def test_a_dead_lock_is_named_without_the_release(destroyed: RecordedStack) -> None:
    """What pulumi itself says. `reach`, like `make up`, releases the lock of a dead process of this machine."""
    destroyed.run(*UP, root=True).refused("the stack is currently locked by 1 lock(s)", "pulumi cancel")


def test_the_run_after_converges(destroyed: RecordedStack) -> None:
    destroyed.record("up to phase 2 after four kills", destroyed.reach(2, root=True).passed())
    assert destroyed.reached() == 2
    assert destroyed.cluster_values() == destroyed.wanted_values()


def test_and_leaves_nothing_pending(destroyed: RecordedStack) -> None:
    before = destroyed.objects.snapshot()
    destroyed.reach(2, "--expect-no-changes").passed()
    assert '"pending_operations"' not in destroyed.query("stack", "export")
    assert difference(before, destroyed.objects.snapshot()) == []


def test_a_living_run_keeps_its_lock(destroyed: RecordedStack) -> None:
    """A second `up` beside a first one is refused, and the first one passes."""
    begun = time.monotonic()
    first = destroyed.start(*UP, "--replace", "**Job::bootstrap-evidence")
    locks = destroyed.state / ".pulumi/locks"
    until(lambda: any(locks.rglob("*.json")) or first.poll() is not None, "the first run has its lock")
    destroyed.reach(2).refused("the stack is currently locked by 1 lock(s)")
    destroyed.finish(first, begun).passed()


@pytest.mark.nightly
def test_straight_to_phase_2(destroyed: RecordedStack) -> None:
    """From an empty cluster to phase 2 in one run that nobody disturbs."""
    destroyed.run(*DESTROY).passed()
    destroyed.record("up from an empty cluster to phase 2", destroyed.reach(2, root=True).passed())
    assert destroyed.cluster_values() == destroyed.wanted_values()
    destroyed.record("up without a change at phase 2", destroyed.reach(2, "--expect-no-changes").passed())
