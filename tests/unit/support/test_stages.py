"""What a module of node tests asks for decides when it runs, and in which lane."""

from __future__ import annotations

from tests.support.stages import OWN_NODES, SECOND_LANE, STAGES, lane, stage


def test_a_module_runs_at_the_furthest_stage_that_it_asks_for() -> None:
    assert stage({"stack", "built", "destroyed", "tmp_path"}) == STAGES.index("destroyed")
    assert stage({"stack", "empty"}) < stage({"stack", "built"}) < stage({"stack", "complete", "expendable"})


def test_a_node_in_whatever_state_comes_after_phase_2_and_nodes_of_its_own_come_first() -> None:
    assert stage({"stack", "rising"}) < stage({"stack", "tmp_path"}) < stage({"stack", "runtime"})
    assert stage({"tmp_path"}) == OWN_NODES < stage({"stack", "empty"})


def test_all_with_a_vault_of_the_stack_is_the_second_lane() -> None:
    assert [name for name in STAGES if lane(STAGES.index(name)) == "b"] == list(STAGES[STAGES.index(SECOND_LANE) :])
    assert lane(OWN_NODES) == "a"
