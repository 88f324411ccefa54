"""What a module of node tests asks for decides when it runs, and in which lane."""

from __future__ import annotations

from tests.support.stages import BOUNDS, LANES, OWN_NODES, STAGES, lane, stage


def test_a_module_runs_at_the_furthest_stage_that_it_asks_for() -> None:
    assert stage({"stack", "built", "destroyed", "tmp_path"}) == STAGES.index("destroyed")
    assert stage({"stack", "empty"}) < stage({"stack", "built"}) < stage({"stack", "complete", "expendable"})


def test_a_node_in_whatever_state_comes_after_phase_2_and_nodes_of_its_own_come_first() -> None:
    assert stage({"stack", "rising"}) < stage({"stack", "tmp_path"}) < stage({"stack", "runtime"})
    assert stage({"tmp_path"}) == OWN_NODES < stage({"stack", "empty"})


def test_each_lane_has_the_stages_from_its_bound_to_the_next() -> None:
    lanes = [lane(number) for number in range(len(STAGES))]
    assert lanes == sorted(lanes) and set(lanes) == set(LANES) and lane(OWN_NODES) == LANES[1]
    firsts = [STAGES[lanes.index(name)] for name in LANES[1:]]
    assert firsts == list(BOUNDS)


def test_what_shares_a_vault_is_in_one_lane_and_what_is_left_changed_in_another() -> None:
    assert lane(STAGES.index("runtime")) == lane(STAGES.index("searched")) != lane(STAGES.index("expendable"))
