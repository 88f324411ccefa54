"""Fixtures that several rooms of tests share. A real node is started once for a session, and only when asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.support.cluster_objects import Key
from tests.support.recorded_stack import DESTROY, RecordedStack

# How long one example of a property takes says more about the machine than about the code.
settings.register_profile("project", deadline=None)
settings.load_profile("project")

# Another name lets two sessions run beside each other.
NODE = os.environ.get("TEST_NODE", "test")
# The order of all modules with nodes. Those from test_phases on walk the same stack, in the order that repeats no
# work: up to phase 2, a lost cluster, up to phase 4 and there the search over all that happened.
WALK = (
    "test_node",
    "test_phases",
    "test_bad_input",
    "test_bootstrap_secrets",
    "test_git_away",
    "test_destroy",
    "test_interrupted",
    "test_no_leak_phase_2",
    "test_rebuild",
    "test_evidence_gate",
    "test_handover",
    "test_runtime_authority",
    "test_consumption",
    "test_network",
    "test_three_vaults",
    "test_handover_kill",
    "test_no_leak",
    "test_new_secret",
    "test_formation",
    "test_cluster_lost",
)
_MEASURED = pytest.StashKey[list[tuple[str, float]]]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast rooms first, as pytest found them; then the modules of WALK. One that WALK lacks comes last."""

    def place(item: pytest.Item) -> int:
        module = item.path.stem
        if "e2e" not in item.path.parts:
            return 0
        return 1 + (WALK.index(module) if module in WALK else len(WALK))

    items.sort(key=place)


@pytest.fixture(scope="session")
def stack(pytestconfig: pytest.Config) -> Iterator[RecordedStack]:
    """One node with its images, its Git server and an empty stack, for the whole session.

    KEEP_NODE=1 takes the node that is there and leaves it running, for work on a test.
    """
    keep = os.environ.get("KEEP_NODE") == "1"
    made = RecordedStack(NODE)
    pytestconfig.stash[_MEASURED] = made.measured
    capture = pytestconfig.pluginmanager.get_plugin("capturemanager")
    assert capture is not None
    with capture.global_and_fixture_disabled():
        print(f"\nstarting the node {NODE}", file=sys.stderr, flush=True)
        if not keep:
            made.down()
        made.cluster()
    if keep:
        made.release_dead_lock()
        made.run(*DESTROY).passed()
        made.run_toolchain("node", "recycle", "--name", NODE)
    made.bare_names = made.objects.names()
    made.measured += [(f"start: {step}", seconds) for step, seconds in made.spent.items()]
    yield made
    if not keep:
        made.down()


@pytest.fixture(scope="session")
def bare_names(stack: RecordedStack) -> set[Key]:
    """Which objects a node has before anything is built on it."""
    return stack.bare_names


@pytest.fixture(scope="module")
def built(stack: RecordedStack) -> RecordedStack:
    """The stack at phase 2, with Git and the cluster as the example fleet says."""
    stack.git_server("start")
    stack.publish()
    if stack.reached() != 2:
        stack.reach(2, root=True).passed()
    return stack


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The durations that the documentation gives."""
    measured = config.stash.get(_MEASURED, [])
    if measured:
        terminalreporter.section("measured on the local node")
        for what, seconds in measured:
            terminalreporter.write_line(f"{seconds:8.1f} s  {what}")
