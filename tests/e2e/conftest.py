"""The stack of a session and the stages that it passes through. Its node is started once, and only when asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from tests.support.cluster_objects import Key
from tests.support.recorded_stack import DESTROY, MEASURED, RecordedStack
from tests.support.vault_pods import in_service
from tests.support.waiting import until

# Another name lets two sessions run side by side.
NODE = os.environ.get("TEST_NODE", "test")


@pytest.fixture(scope="session")
def stack(pytestconfig: pytest.Config) -> Iterator[RecordedStack]:
    """One node with its images, its Git server and an empty stack, for the whole session.

    KEEP_NODE=1 takes the node that is there and leaves it running, for work on a test.
    """
    keep = os.environ.get("KEEP_NODE") == "1"
    made = RecordedStack(NODE)
    pytestconfig.stash[MEASURED] = made.measured
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
    made.note_bare()
    if keep:
        made.bare_at = 0.0
    made.measured += [(f"start: {step}", seconds) for step, seconds in made.spent.items()]
    yield made
    if not keep:
        made.down()


@pytest.fixture(scope="session")
def bare_names(stack: RecordedStack) -> set[Key]:
    """Which objects a node has before anything is built on it."""
    return stack.bare_names


# The stages, in the order of tests/support/stages.py.


@pytest.fixture(scope="module")
def empty(stack: RecordedStack) -> RecordedStack:
    """A cluster on which nothing was built yet, and a stack without resources."""
    stack.git_server("start")
    stack.publish()
    if stack.reached() is not None:
        stack.run(*DESTROY).passed()
    return stack


@pytest.fixture(scope="module")
def built(stack: RecordedStack) -> RecordedStack:
    """The stack at phase 2, with Git and the cluster as the example fleet says."""
    stack.git_server("start")
    stack.publish()
    if stack.reached() != 2:
        stack.set_up(2, root=True)
    return stack


@pytest.fixture(scope="module")
def destroyed(stack: RecordedStack) -> RecordedStack:
    """A stack that has been at phase 2 and was destroyed."""
    stack.git_server("start")
    stack.publish()
    stack.release_dead_lock()
    present = stack.objects.names()
    run = stack.run(*DESTROY).passed()
    if stack.bare_names != present:
        stack.record("destroy from phase 2", run)
    return stack


@pytest.fixture(scope="module")
def rising(built: RecordedStack) -> RecordedStack:
    """The stack at phase 2, about to rise: the last stage of phase 2."""
    return built


@pytest.fixture(scope="module")
def runtime(stack: RecordedStack) -> RecordedStack:
    """The stack at phase 3 or above, Vault in service."""
    if run := stack.at_least(3):
        stack.record("up to phase 3", run)
    until(lambda: in_service(stack), "Vault in service", 120)
    return stack


@pytest.fixture(scope="module")
def complete(stack: RecordedStack) -> RecordedStack:
    """The stack at phase 4."""
    if run := stack.at_least(4, timeout=900):
        stack.record("up to phase 4", run)
    return stack


@pytest.fixture(scope="module")
def searched(complete: RecordedStack) -> RecordedStack:
    """The stack at phase 4 with all that the modules before have done to it: what a search for leaks wants."""
    return complete


@pytest.fixture(scope="module")
def altered(complete: RecordedStack) -> RecordedStack:
    """The stack at phase 4, which may be left with more in Vault or in the cluster than Git says."""
    return complete


@pytest.fixture(scope="module")
def expendable(complete: RecordedStack) -> RecordedStack:
    """The stack at phase 4, which may be lost with its node."""
    return complete
