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


@pytest.fixture(scope="module")
def empty(stack: RecordedStack) -> RecordedStack:
    """An empty cluster and an empty stack."""
    stack.git_server("start")
    stack.publish()
    stack.release_dead_lock()
    stack.run(*DESTROY).passed()
    return stack


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed(empty: RecordedStack, moment: str) -> None:
    """The killed run had not ended by itself, and left its lock."""
    empty.release_dead_lock()
    process = empty.start(*UP, root=True)
    try:
        until(lambda: MOMENTS[moment](empty) or process.poll() is not None, moment, timeout=180)
        assert process.poll() is None, process.communicate()[0]
    finally:
        empty.kill(process)
    assert empty.reached() != 2


def test_a_dead_lock_is_named_without_the_release(empty: RecordedStack) -> None:
    """What pulumi itself says. `reach`, like `make up`, releases the lock of a dead process of this machine."""
    empty.run(*UP, root=True).refused("the stack is currently locked by 1 lock(s)", "pulumi cancel")


def test_the_run_after_converges(empty: RecordedStack) -> None:
    empty.record("up to phase 2 after four kills", empty.reach(2, root=True).passed())
    assert empty.reached() == 2
    assert empty.cluster_values() == empty.wanted_values()


def test_and_leaves_nothing_pending(empty: RecordedStack) -> None:
    before = empty.objects.snapshot()
    empty.reach(2, "--expect-no-changes").passed()
    assert '"pending_operations"' not in empty.query("stack", "export")
    assert difference(before, empty.objects.snapshot()) == []


def test_a_living_run_keeps_its_lock(empty: RecordedStack) -> None:
    """A second `up` beside a first one is refused, and the first one passes."""
    begun = time.monotonic()
    first = empty.start(*UP, "--replace", "**Job::bootstrap-evidence")
    locks = empty.state / ".pulumi/locks"
    until(lambda: any(locks.rglob("*.json")) or first.poll() is not None, "the first run has its lock")
    empty.reach(2).refused("the stack is currently locked by 1 lock(s)")
    empty.finish(first, begun).passed()


def test_straight_to_phase_2(empty: RecordedStack) -> None:
    """From an empty cluster to phase 2 in one run that nobody disturbs."""
    empty.run(*DESTROY).passed()
    empty.record("up from an empty cluster to phase 2", empty.reach(2, root=True).passed())
    assert empty.cluster_values() == empty.wanted_values()
    empty.record("up without a change at phase 2", empty.reach(2, "--expect-no-changes").passed())
