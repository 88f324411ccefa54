"""Drill of docs/runbooks/rebuild.md at phase 2: a cluster is lost with everything on it, and comes back from Git."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.support.recorded_stack import RecordedStack

pytestmark = [pytest.mark.drill, pytest.mark.nightly]

Values = Mapping[tuple[str, str], Mapping[str, bytes]]


@pytest.fixture(scope="module")
def before(built: RecordedStack) -> Values:
    """What the cluster held before it was lost. Afterwards there is an empty one of the same name."""
    values = built.cluster_values()
    built.replace_cluster()
    assert built.reached() is None
    assert built.cluster_values() == {}
    return values


def test_an_empty_cluster_is_not_taken_for_the_lost_one(built: RecordedStack, before: Values) -> None:
    """With a refresh too, and with the root holder: somebody has to say that the old cluster is no more."""
    for more in ((), ("--refresh",)):
        built.reach(2, *more, root=True).refused(
            "has built its cluster to phase 2 (bootstrap), but nothing of it is in the cluster",
            "`pulumi state delete --all --force`",
        )
    assert built.reached() is None


def test_a_lower_phase_is_refused_by_the_stacks_own_record(built: RecordedStack, before: Values) -> None:
    built.reach(1, root=True).refused(
        "has reached phase 2 (bootstrap); phase 1 (gitops) is refused", "docs/runbooks/rebuild.md"
    )
    assert built.reached() is None


def test_without_the_root_holder_nothing_is_built(built: RecordedStack, before: Values) -> None:
    built.query("state", "delete", "--all", "--yes")
    built.reach(2).refused("has no decryption identity yet", "SECRET_AUTHORITY_ROOT_IDENTITY")
    assert built.reached() is None


def test_a_rebuild_may_stop_at_a_lower_phase(built: RecordedStack, before: Values) -> None:
    built.reach(1, root=True).passed()
    assert built.reached() == 1
    assert built.cluster_values() == {}


def test_the_same_values_come_back(built: RecordedStack, before: Values) -> None:
    """The root holder was here once; the rest of the way needs nobody."""
    built.record("rebuild from phase 1 to 2", built.reach(2).passed())
    assert built.reached() == 2
    assert built.cluster_values() == before == built.wanted_values()
    built.reach(2, "--expect-no-changes").passed()
