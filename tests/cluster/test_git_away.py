"""Git is away while the cluster runs: nothing that runs notices, and `up` says what it cannot do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.names import FLUX_NAMESPACE
from tests.cluster_objects import difference
from tests.recorded_stack import RecordedStack

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def alone(built: RecordedStack) -> Iterator[RecordedStack]:
    """The stack at phase 2 without its Git server."""
    built.git_server("stop")
    yield built
    built.git_server("start")
    built.reach(2).passed()


def test_nothing_that_runs_notices(alone: RecordedStack) -> None:
    assert alone.cluster_values() == alone.wanted_values()
    for controller in ("source-controller", "kustomize-controller"):
        found = alone.objects.get(f"/apis/apps/v1/namespaces/{FLUX_NAMESPACE}/deployments/{controller}")
        assert found is not None
        assert found["status"]["availableReplicas"] == 1


def test_up_without_a_change_needs_no_git_server(alone: RecordedStack) -> None:
    before = alone.objects.snapshot()
    alone.reach(2, "--expect-no-changes").passed()
    assert difference(before, alone.objects.snapshot()) == []


def test_up_with_a_change_says_that_the_cluster_is_behind(alone: RecordedStack, tmp_path: Path) -> None:
    """The evidence compares what the program read with what Flux fetched, and does not wait for ever."""
    folder = tmp_path / "fleet"
    shutil.copytree(alone.fleet, folder)
    catalogue = folder / alone.home / "catalogue.yaml"
    catalogue.write_text(f"{catalogue.read_text()}# reviewed\n")
    run = alone.reach(2, repositoryPath=folder, readyTimeoutSeconds=5)
    run.refused(
        "the cluster's Git is at main@sha1:",
        "whose secrets differ from the checkout that `pulumi up` read; push or pull, then run again",
    )
    assert alone.cluster_values() == alone.wanted_values()
