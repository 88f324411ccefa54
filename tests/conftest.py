"""Settings of all tests, and the order and lane of those with nodes."""

from __future__ import annotations

import gc

import pytest
from hypothesis import HealthCheck, settings

from tests.support.recorded_stack import MEASURED
from tests.support.stages import LANES, lane, stage

# How long examples of a property take, or take to be drawn, says more about the machine than about the code.
settings.register_profile("project", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("project")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--lane", choices=LANES, help="only tests with nodes, those of this lane")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests without nodes first, as pytest found them; then module by module in the order of their stages.

    All but unit tests are marked `cluster`, before `-m` selects.
    """
    for item in items:
        if "unit" not in item.path.parts:
            item.add_marker(pytest.mark.cluster)
    with_nodes = [item for item in items if "e2e" in item.path.parts]
    fixtures: dict[str, set[str]] = {}
    for item in with_nodes:
        assert isinstance(item, pytest.Function)
        fixtures.setdefault(str(item.path), set()).update(item.fixturenames)
    stages = {path: stage(names) for path, names in fixtures.items()}
    with_nodes.sort(key=lambda item: stages[str(item.path)])
    without = [item for item in items if "e2e" not in item.path.parts]
    wanted = config.getoption("--lane")
    if wanted is None:
        items[:] = without + with_nodes
        return
    items[:] = [item for item in with_nodes if lane(stages[str(item.path)]) == wanted]
    config.hook.pytest_deselected(items=[*without, *(item for item in with_nodes if item not in items)])


def pytest_collection_finish() -> None:
    """What collecting has made stays until the end: the garbage collector need not walk through it again and again."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The durations that the documentation gives."""
    measured = config.stash.get(MEASURED, [])
    if measured:
        terminalreporter.section("measured on the local node")
        for what, seconds in measured:
            terminalreporter.write_line(f"{seconds:8.1f} s  {what}")
