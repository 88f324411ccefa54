"""The order of a whole session names every module that has nodes."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import WALK

ROOMS = (Path(__file__).parents[1] / "cluster", Path(__file__).parents[1] / "drills")


def test_every_module_with_nodes_has_its_place() -> None:
    modules = {path.stem for room in ROOMS for path in room.glob("test_*.py")}
    assert modules - set(WALK) == set()
    assert len(set(WALK)) == len(WALK)
