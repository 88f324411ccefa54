"""Git is away while the cluster runs: nothing that runs notices, and `up` says what it cannot do."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from secret_authority.contract.names import FLUX_NAMESPACE
from tests.support.cluster_objects import difference
from tests.support.flux import SOURCE_PATH
from tests.support.recorded_stack import RecordedStack
from tests.support.waiting import until

pytestmark = pytest.mark.cluster
WAIT_SECONDS = 15


@pytest.fixture(scope="module")
def alone(built: RecordedStack) -> Iterator[RecordedStack]:
    """The stack at phase 2 without its Git server, and Flux has found that out.

    The short time-out is set before: it is in Flux's objects, whose change would wait for Git.
    """
    built.set_up(2, readyTimeoutSeconds=WAIT_SECONDS)
    built.git_server("stop")
    fetch_now(built)
    until(lambda: source_condition(built) == ("False", "GitOperationFailed"), "a fetch of Flux has failed", 120)
    yield built
    built.git_server("start")
    fetch_now(built)
    until(lambda: source_condition(built)[0] == "True", "Flux has fetched again", 120)
    built.set_up(2)


def fetch_now(stack: RecordedStack) -> None:
    """Have Flux fetch now instead of at its interval."""
    note = {"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": secrets.token_hex(8)}}}
    stack.objects.request("PATCH", SOURCE_PATH, note)


def source_condition(stack: RecordedStack) -> tuple[str, str]:
    """Status and reason of the source's condition Ready."""
    status = (stack.objects.get(SOURCE_PATH) or {}).get("status", {})
    ready = next((c for c in status.get("conditions", []) if c["type"] == "Ready"), {})
    return ready.get("status", ""), ready.get("reason", "")


def test_nothing_that_runs_notices(alone: RecordedStack) -> None:
    source = alone.objects.get(SOURCE_PATH)
    assert source is not None
    assert source["status"]["artifact"]["revision"].startswith("main@sha1:"), "what was fetched before stays"
    assert alone.cluster_values() == alone.wanted_values()
    for controller in ("source-controller", "kustomize-controller"):
        found = alone.objects.get(f"/apis/apps/v1/namespaces/{FLUX_NAMESPACE}/deployments/{controller}")
        assert found is not None
        assert found["status"]["availableReplicas"] == 1


def test_up_without_a_change_needs_no_git_server(alone: RecordedStack) -> None:
    before = alone.objects.snapshot()
    alone.reach(2, "--expect-no-changes", readyTimeoutSeconds=WAIT_SECONDS).passed()
    assert difference(before, alone.objects.snapshot()) == []


def test_up_with_a_change_says_that_the_cluster_is_behind(alone: RecordedStack, tmp_path: Path) -> None:
    """The evidence compares what the program read with what Flux fetched, and does not wait for ever."""
    folder = tmp_path / "fleet"
    shutil.copytree(alone.fleet, folder)
    catalogue = folder / alone.intent_home / "catalogue.yaml"
    catalogue.write_text(f"{catalogue.read_text()}# reviewed\n")
    run = alone.reach(2, "--skip-preview", repositoryPath=folder, readyTimeoutSeconds=WAIT_SECONDS)
    run.refused(
        "the cluster's Git is at main@sha1:",
        "whose secrets differ from the checkout that `pulumi up` read; push or pull, then run again",
    )
    assert alone.cluster_values() == alone.wanted_values()
