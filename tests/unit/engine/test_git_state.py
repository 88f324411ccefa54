"""What the engine reads of Git: each revision once, and which files it cannot decrypt."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from pyrage import x25519

from secret_authority.clients.flux_artifact import Artifact
from secret_authority.clients.kubernetes import Api
from secret_authority.contract.engine_settings import GitPlaces
from secret_authority.core.catalogue.schema import SecretClass
from secret_authority.engine.handover import git_state as git_view
from secret_authority.engine.handover.git_state import GitState, GitStateReader
from tests.support.fleets import Fleet, new_fleet

FILE = "clusters/dev/bootstrap/orders-db.yaml"
PLACES = GitPlaces("flux-system", "fleet", "secret-authority/dev/catalogue.yaml", ("clusters/dev/bootstrap",))


class Source(Api):
    """A GitRepository at a revision that a test sets."""

    def __init__(self) -> None:
        self.revision = "main@sha1:1"

    def get(self, path: str) -> dict[str, Any] | None:
        assert path == "apis/source.toolkit.fluxcd.io/v1/namespaces/flux-system/gitrepositories/fleet"
        return {"status": {"artifact": {"revision": self.revision, "url": "u", "digest": "d"}}}


class Seen:
    """A view over a repository in a folder, and how often it was fetched."""

    def __init__(self, fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
        self.source, self.fetched, self.identity = Source(), 0, fleet.identity().secret
        self.view = GitStateReader(self.source, PLACES, lambda: self.identity)

        def fetch(_artifact: Artifact, into: Path) -> None:
            self.fetched += 1
            shutil.copytree(fleet.repository, into, dirs_exist_ok=True)

        monkeypatch.setattr(git_view, "fetch", fetch)

    def look(self) -> GitState:
        return self.view.read(b"k" * 32)


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return new_fleet(tmp_path)


def test_a_file_that_cannot_be_decrypted_is_named_and_has_no_digest(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Seen(fleet, monkeypatch)
    names = {secret.name for secret in seen.look().catalogue.of_class(SecretClass.BOOTSTRAP)}
    assert set(seen.look().digests) == names and not seen.look().unreadable and seen.fetched == 1
    fleet.edit(FILE, lambda doc: doc["metadata"].update(labels={"a": "b"}))
    seen.source.revision = "main@sha1:2"
    found = seen.look()
    assert set(found.digests) == names - {"orders-db"}
    assert {name: problem.file for name, problem in found.unreadable.items()} == {"orders-db": FILE}


def test_a_new_identity_reads_the_same_revision_again(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen(fleet, monkeypatch)
    right, seen.identity = seen.identity, str(x25519.Identity.generate())
    assert seen.look().digests == {} and len(seen.look().unreadable) == 12
    seen.identity = right
    assert not seen.look().unreadable and seen.fetched == 2
