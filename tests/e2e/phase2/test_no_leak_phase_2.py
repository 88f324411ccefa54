"""At phase 2 no secret value is anywhere but in its bootstrap Secret, and in Git as ciphertext.

Phase 2 is a place to stay, and at no other phase do the bootstrap Secrets hold the values. The search over
everything that comes later is tests/e2e/phase4/test_no_leak.py.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from secret_authority.contract.names import ENGINE_NAMESPACE, FLUX_NAMESPACE, IDENTITY_SECRET
from tests.support.canary import Canaries, Hit
from tests.support.leak_places import places, watched
from tests.support.leak_plants import Plant
from tests.support.leak_values import spelled_in_catalogue
from tests.support.recorded_stack import UP, RecordedStack

pytestmark = [pytest.mark.cluster, pytest.mark.nightly]


@pytest.fixture(scope="module")
def plant(built: RecordedStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    with Plant.everywhere(built, tmp_path_factory.mktemp("git")) as made:
        yield made


@pytest.fixture(scope="module")
def hits(built: RecordedStack, plant: Plant) -> list[Hit]:
    """Every hit in every place."""
    values = {
        f"{namespace}/{name}/{key}": value
        for (namespace, name), data in built.wanted_values().items()
        for key, value in data.items()
        if value not in spelled_in_catalogue(built)
    }
    assert len(values) >= 18
    root, cluster = built.identities()
    values |= {"root identity": root.secret.encode(), "cluster identity": cluster.secret.encode()}
    canaries = Canaries({**values, "planted": plant.name.encode()})
    begun = time.monotonic()
    process = built.start(*UP, "--replace", "**Job::bootstrap-evidence", "--message", plant.text, root=True)
    seen = watched(process)
    built.finish(process, begun).passed()
    assert any(b"pulumi-resource-kubernetes" in text for _, text in seen)
    begun = time.monotonic()
    found = [hit for place, texts in (places(built) | {"run": seen}).items() for hit in canaries.search(place, texts)]
    built.measured.append(("search of every place at phase 2", time.monotonic() - begun))
    return found


def test_the_search_looks_everywhere(built: RecordedStack, hits: list[Hit]) -> None:
    planted = [hit for hit in hits if hit.name == "planted"]
    assert {hit.place for hit in planted} == places(built).keys() | {"run"}
    assert "audit.log" in {Path(hit.where).name for hit in planted if hit.place == "node's files"}


def test_values_are_in_their_secrets_only(built: RecordedStack, hits: list[Hit]) -> None:
    wanted = {
        (f"{namespace}/{name}/{key}", f"Secret {namespace}/{name}")
        for (namespace, name), data in built.wanted_values().items()
        for key, value in data.items()
        if value not in spelled_in_catalogue(built)
    }
    wanted |= {
        ("cluster identity", f"Secret {space}/{IDENTITY_SECRET}") for space in (FLUX_NAMESPACE, ENGINE_NAMESPACE)
    }
    found = [hit for hit in hits if hit.name != "planted"]
    assert {(hit.name, hit.where) for hit in found if hit.place == "API objects"} == wanted
    # A pod that mounts a Secret has it in memory.
    assert {(hit.name, hit.where) for hit in found if hit.place == "pods' volumes"} <= wanted
    assert {hit.place for hit in found} <= {"API objects", "pods' volumes"}
