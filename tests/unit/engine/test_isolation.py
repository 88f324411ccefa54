"""Nothing that comes from Git or from the audit trail keeps Vault sealed: unsealing goes round on its own."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from secret_authority.clients.flux_artifact import Artifact, ArtifactError
from secret_authority.contract.engine_settings import GitPlaces
from secret_authority.contract.names import HANDOVER_STATUS
from secret_authority.core.conditions import read_conditions
from secret_authority.core.ledger.audit_trail import Event
from secret_authority.engine.handover import git_state
from secret_authority.engine.handover.git_state import GitStateReader, read_artifact
from secret_authority.engine.runtime_authority import controller
from secret_authority.engine.runtime_authority.controller import HANDED_OVER, IN_SERVICE, TRAIL_READABLE
from tests.support.controllers import TrailSite
from tests.support.documents import DOCUMENT

CATALOGUE = yaml.safe_dump(DOCUMENT)
VALUE = "hunter2-in-the-clear"
# Each list holds the one before it nine times: a few hundred bytes that stand for 9^9 entries.
BOMB = "l0: &l0 [x]\n" + "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 10))
HOSTILE: dict[str, dict[str, str]] = {
    "no catalogue": {},
    "empty catalogue": {"catalogue.yaml": ""},
    "two catalogues": {"catalogue.yaml": f"{CATALOGUE}---\n{CATALOGUE}"},
    "a list": {"catalogue.yaml": f"- {VALUE}"},
    "a wrong field": {"catalogue.yaml": CATALOGUE.replace("owner", "ownr")},
    "metadata is text": {
        "catalogue.yaml": CATALOGUE,
        "bootstrap/a.yaml": f"kind: Secret\nmetadata: {VALUE}\nsops: {{}}\n",
    },
    "namespace is a list": {
        "catalogue.yaml": CATALOGUE,
        "bootstrap/a.yaml": f"kind: Secret\nmetadata: {{name: a, namespace: [{VALUE}]}}\nsops: {{}}\n",
    },
    "not UTF-8": {"catalogue.yaml": CATALOGUE, "bootstrap/a.yaml": "\udcff"},
    "deep": {"catalogue.yaml": "[" * 50_000},
    "aliases": {"catalogue.yaml": BOMB},
}


class Site(TrailSite):
    """An engine whose service rounds are counted; what it reads of Git is `files`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], *events: Event) -> None:
        super().__init__(monkeypatch, *events)
        for name in ("BUSY_SECONDS", "QUIET_SECONDS"):
            monkeypatch.setattr(controller, name, 0.01)
        self.unsealed = 0
        place = "apis/source.toolkit.fluxcd.io/v1/namespaces/flux-system/gitrepositories/fleet"
        artifact = {"revision": "main@sha1:1", "url": "http://x", "digest": "sha256:0"}
        self.cluster.objects[place] = {"status": {"artifact": artifact}}

        def fetch(_artifact: Artifact, into: Path, _wanted: object) -> None:
            for name, text in files.items():
                (into / name).parent.mkdir(parents=True, exist_ok=True)
                (into / name).write_text(text, errors="surrogateescape")

        monkeypatch.setattr(git_state, "fetch", fetch)
        places = GitPlaces("flux-system", "fleet", "catalogue.yaml", ("bootstrap",))
        reader = GitStateReader(self.cluster, places, lambda: "AGE-SECRET-KEY-X", read_artifact)
        monkeypatch.setattr(self.engine, "git_state", reader)
        monkeypatch.setattr(self.engine.handover, "key", lambda: b"k" * 32)
        monkeypatch.setattr(self.engine, "reconcile_certificates", lambda: True)
        monkeypatch.setattr(self.engine, "reconcile_seal", self._unseal)
        monkeypatch.setattr(self.engine, "look_at_configuration", lambda: True)

    def _unseal(self) -> bool:
        self.unsealed += 1
        self.status.set(IN_SERVICE, True)
        return True

    def run_until(self, condition: str) -> None:
        """Run the engine until the condition is there and Vault was looked at 20 times more."""
        thread = threading.Thread(target=self.engine.run)
        thread.start()
        end = time.monotonic() + 60
        seen: int | None = None
        while time.monotonic() < end and thread.is_alive():
            if seen is None and condition in self.status.as_dict():
                seen = self.unsealed
            if seen is not None and self.unsealed >= seen + 20:
                break
            time.sleep(0.01)
        alive = thread.is_alive()
        self.engine.stop()
        thread.join(60)
        assert alive and seen is not None and self.unsealed >= seen + 20, self.status.as_dict()


@pytest.mark.parametrize("case", HOSTILE)
def test_no_commit_ends_or_starves_the_unsealing(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    site = Site(monkeypatch, HOSTILE[case])
    site.run_until(HANDED_OVER)
    status, message = site.condition(HANDED_OVER)
    assert status is False and message
    assert site.condition(IN_SERVICE)[0] is True
    assert VALUE not in str(site.status.as_dict())
    published = read_conditions(site.cluster.data(HANDOVER_STATUS)["conditions"])
    assert published[HANDED_OVER].status is False


def test_an_artifact_beyond_the_limits_is_one_condition(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch, {})

    def fetch(*_: Any) -> None:
        raise ArtifactError("http://x: bootstrap have more than 33554432 bytes")

    monkeypatch.setattr(git_state, "fetch", fetch)
    site.run_until(HANDED_OVER)
    assert "have more than 33554432 bytes" in str(site.condition(HANDED_OVER)[1])


def test_a_malformed_event_is_one_condition_and_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    good = Event("2026-01-01T00:00:00+00:00", "s-0", "x", "x", "x", "done", "id-0", "p", "d")
    site = TrailSite(monkeypatch, good)
    real = site.vault.read

    def read(path: str) -> dict[str, Any] | None:
        return {"data": {"data": {"hello": VALUE}}} if path.endswith("/s-9/fw-x") else real(path)

    names = site.vault.list
    extra = {"platform-authority/metadata/events": ["s-9/"], "platform-authority/metadata/events/s-9/": ["fw-x"]}
    monkeypatch.setattr(site.vault, "read", read)
    monkeypatch.setattr(
        site.vault, "list", lambda path: [*(names(path) if "s-9" not in path else []), *extra.get(path, [])]
    )
    site.tell()
    assert site.condition(TRAIL_READABLE)[0] is False and "events/s-9/fw-x" in str(site.condition(TRAIL_READABLE)[1])
    trail = site.cluster.trail()
    assert trail is not None and [event.id for event in trail] == ["id-0"]
    assert VALUE not in str(site.status.as_dict())
