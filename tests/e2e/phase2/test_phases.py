"""The walk through phases 0 to 2, and what is refused on the way. The tests build on each other, top down."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from secret_authority.clients.age import Identity, write_identity
from secret_authority.contract.names import ENGINE_NAMESPACE, FLUX_NAMESPACE, IDENTITY_SECRET
from secret_authority.core.phases import Phase
from tests.support.cluster_objects import Key, difference
from tests.support.recorded_stack import RecordedStack

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def before(empty: RecordedStack) -> dict[Key, str]:
    """The objects of the cluster before anything was built on it."""
    return empty.objects.snapshot()


def assert_no_change(stack: RecordedStack, phase: int) -> None:
    """A second `up` and a `preview`, both without the root holder, change nothing in state or cluster."""
    before = stack.objects.snapshot()
    run = stack.reach(phase, "--expect-no-changes").passed()
    stack.record(f"up without a change at phase {phase}", run)
    preview = stack.run("preview", "--non-interactive", "--expect-no-changes", phase=phase).passed()
    stack.record(f"preview at phase {phase}", preview)
    assert difference(before, stack.objects.snapshot()) == []


def outputs(stack: RecordedStack) -> dict[str, object]:
    found: dict[str, object] = json.loads(stack.query("stack", "output", "--json"))
    return found


def test_phase_0_touches_no_cluster(stack: RecordedStack, before: dict[Key, str]) -> None:
    stack.reach(0, kubeconfig="/nonexistent").passed()
    assert difference(before, stack.objects.snapshot()) == []
    shown = outputs(stack)
    assert shown["phase"] == 0
    assert shown["authority"] == "offline-root"
    assert shown["ledger"] == {"git": 1, "offline-root": 13, "unborn": 2}


@pytest.mark.nightly
def test_phase_0_again_changes_nothing(stack: RecordedStack) -> None:
    assert_no_change(stack, 0)


def test_the_first_boot_needs_the_root_holder(stack: RecordedStack, before: dict[Key, str]) -> None:
    stack.reach(1).refused(
        f"cluster {stack.name}: has no decryption identity yet",
        "Fix: run once with SECRET_AUTHORITY_ROOT_IDENTITY set to the root holder's identity file",
    )
    assert difference(before, stack.objects.snapshot()) == []


def test_the_first_boot_refuses_a_wrong_root_key(stack: RecordedStack, before: dict[Key, str], tmp_path: Path) -> None:
    stranger = Identity.generate()
    write_identity(stranger, tmp_path / "stranger.age")
    stack.reach(1, root=tmp_path / "stranger.age").refused(
        f"{stack.home}/identity.age: cannot be opened by the given root identity ({stranger.recipient})",
        "Fix: give the identity of one of the root recipients in root-of-trust.yaml",
    )
    assert difference(before, stack.objects.snapshot()) == []


def test_git_unreachable_at_first_boot(stack: RecordedStack) -> None:
    """It fails within the timeout and says which object waits and why; phase 1 is not on record."""
    stack.git_server("stop")
    try:
        run = stack.reach(1, root=True, readyTimeoutSeconds=15)
    finally:
        stack.git_server("start")
    run.refused(f"gitrepositories {FLUX_NAMESPACE}/fleet: Ready=False, GitOperationFailed", "connection refused")
    assert run.seconds < 90
    assert stack.reached() is None


def test_phase_1_after_git_is_back(stack: RecordedStack) -> None:
    """The identity was planted by the run before, so the root holder is not needed again."""
    stack.reach(1).passed()
    assert stack.reached() is Phase.GITOPS
    _, cluster = stack.identities()
    for namespace in (FLUX_NAMESPACE, ENGINE_NAMESPACE):
        planted = stack.objects.secret(namespace, IDENTITY_SECRET)
        assert planted is not None
        assert planted["metadata"]["annotations"]["secret-authority.dev/recipient"] == cluster.recipient
    assert outputs(stack)["authority"] == "git"
    assert stack.cluster_values() == {}


@pytest.mark.nightly
def test_phase_1_again_changes_nothing(stack: RecordedStack) -> None:
    assert_no_change(stack, 1)


def test_phase_2_materialises_every_secret(stack: RecordedStack) -> None:
    stack.record("up from phase 1 to 2", stack.reach(2).passed())
    assert stack.reached() is Phase.BOOTSTRAP
    wanted = stack.wanted_values()
    assert len(wanted) == 13
    assert len({namespace for namespace, _ in wanted}) == 3
    assert stack.cluster_values() == wanted
    shown = outputs(stack)
    assert shown["phase"] == 2
    assert shown["ledger"] == {"git": 14, "unborn": 2}
    assert "13 of 13 bootstrap Secrets match Git" in str(shown["evidence"])


def test_phase_2_again_changes_nothing(stack: RecordedStack) -> None:
    assert_no_change(stack, 2)


@pytest.mark.parametrize("lower", [pytest.param(1, marks=pytest.mark.nightly), 0])
def test_a_lower_phase_is_refused(stack: RecordedStack, lower: int) -> None:
    before = stack.objects.snapshot()
    reason = {
        1: "what phase 2 built would be taken away from under its users",
        0: "authority would move from git back to offline-root",
    }[lower]
    run = stack.reach(lower)
    run.refused(
        f"this cluster has reached phase 2 (bootstrap); phase {lower}",
        f"is refused because {reason}, and authority never flows up",
        "Set phase back to 2",
    )
    assert difference(before, stack.objects.snapshot()) == []


@pytest.mark.parametrize(
    ("phase", "why"),
    [
        (
            "9",
            "phase must be one of 0 (root of trust), 1 (gitops), 2 (bootstrap), 3 (runtime authority), 4 (consumption)",
        ),
        pytest.param(
            "-1",
            "phase must be one of 0 (root of trust), 1 (gitops), 2 (bootstrap), 3 (runtime authority), 4 (consumption)",
            marks=pytest.mark.nightly,
        ),
        pytest.param("x", "configuration key 'phase' must be of type 'integer'", marks=pytest.mark.nightly),
        pytest.param("1.5", "configuration key 'phase' must be of type 'integer'", marks=pytest.mark.nightly),
    ],
)
def test_a_phase_that_does_not_exist_is_refused(stack: RecordedStack, phase: str, why: str) -> None:
    before = stack.objects.snapshot()
    stack.reach(phase).refused(why)
    assert difference(before, stack.objects.snapshot()) == []
