"""What the engine makes of a run of the handover: what it tells, and when it looks again."""

from __future__ import annotations

from typing import Any, cast

import pytest

from authority.catalogue import SecretClass
from authority.evidence import Evidence
from authority.handover import Done
from authority.transfer import Result
from engine.authority_loop import HANDED_OVER
from engine.handover_run import Handover, Summary
from engine.kubernetes_api import Api
from engine.vault import Vault
from tests.unit.test_catalogue_claims import Untouched
from tests.unit.test_engine_trail import GIT, RECORD, Place

DONE = Result("s-0", Done(RECORD), ())


class ScriptedHandover:
    """Leaves the secrets as it is told, the last word again and again; counts its runs."""

    def __init__(self, *says: Summary) -> None:
        self._says, self.runs = list(says), 0

    def key(self) -> bytes:
        return b"key"

    def run(self, *_: Any) -> Summary:
        self.runs += 1
        return self._says.pop(0) if len(self._says) > 1 else self._says[0]


class OneView:
    """Sees one revision of Git."""

    def __init__(self) -> None:
        self.state = GIT

    def look(self, _key: bytes) -> Any:
        return self.state


class Loop:
    """The part of an engine that hands over, over a scripted run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *says: Summary) -> None:
        self.engine = Place(monkeypatch).engine
        self.handover, self.view = ScriptedHandover(*says), OneView()
        monkeypatch.setattr(self.engine, "_handover", self.handover)
        monkeypatch.setattr(self.engine, "_git", self.view)

    def round(self) -> bool:
        return self.engine._hand_over()

    def condition(self, name: str = HANDED_OVER) -> dict[str, object]:
        return self.engine._status.as_dict()[name]

    def evidence(self) -> list[str]:
        return [finding.secret for finding in Evidence.from_json(self.engine._published["evidence"]).findings]


def test_a_run_that_is_stopped_skips_secrets_and_is_not_complete() -> None:
    api, vault = cast(Api, Untouched()), cast(Vault, Untouched())
    summary = Handover("dev", api, vault, "run").run(GIT, b"key", lambda: True)
    assert summary == Summary((), len(GIT.catalogue.of_class(SecretClass.BOOTSTRAP))) and summary.skipped
    assert not summary.complete


def test_a_stopped_run_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop(monkeypatch, Summary((DONE,)), Summary((), skipped=1))
    assert loop.round()
    told = loop.condition(), dict(loop.engine._published)
    assert loop.evidence() == ["s-0"] and told[0]["status"] is True
    loop.engine._looked_at = None
    assert not loop.round() and loop.handover.runs == 2
    assert (loop.condition(), loop.engine._published) == told
