"""What the engine makes of a run of the handover: what it tells, and when it looks again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from secret_authority.clients.kubernetes import Api
from secret_authority.clients.vault import Vault
from secret_authority.core.catalogue.admission import admitted_entries
from secret_authority.core.catalogue.schema import Catalogue, SecretClass, parse_catalogue
from secret_authority.core.errors import Problem, Unavailable
from secret_authority.core.evidence import Evidence
from secret_authority.core.handover.runner import Result
from secret_authority.core.handover.state_machine import Blocked, Done, InGit, Notice, Reason
from secret_authority.core.ledger.audit_trail import handed_over
from secret_authority.engine.common.backoff import Backoff
from secret_authority.engine.handover import controller as handover_run
from secret_authority.engine.handover.cluster_adapter import plan_for
from secret_authority.engine.handover.controller import Handover, Refused, Summary
from secret_authority.engine.handover.git_state import GitState
from secret_authority.engine.runtime_authority.controller import (
    GIT_READABLE,
    HANDED_OVER,
    PASSING_SECONDS,
    SETTLED_SECONDS,
)
from tests.fakes.untouched import Untouched
from tests.support.controllers import GIT, RECORD, TrailSite
from tests.support.documents import DOCUMENT

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

    def read(self, _key: bytes) -> Any:
        return self.state


class Loop:
    """The part of an engine that hands over, over a scripted run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *says: Summary) -> None:
        self.engine = TrailSite(monkeypatch).engine
        self.handover, self.view = ScriptedHandover(*says), OneView()
        monkeypatch.setattr(self.engine, "handover", self.handover)
        monkeypatch.setattr(self.engine, "git_state", self.view)
        self.now = 0.0
        self.engine.pace = Backoff(lambda: self.now)

    def round(self) -> bool:
        return self.engine.hand_over()

    def condition(self, name: str = HANDED_OVER) -> dict[str, object]:
        return self.engine.status.as_dict()[name]

    def evidence(self) -> list[str]:
        return [finding.secret for finding in Evidence.from_json(self.engine.published_handover["evidence"]).findings]


def test_a_run_that_is_stopped_skips_secrets_and_is_not_complete() -> None:
    api, vault = cast(Api, Untouched()), cast(Vault, Untouched())
    summary = engine(vault, api).run(GIT, b"key", lambda: True)
    assert summary == Summary((), len(GIT.catalogue.of_class(SecretClass.BOOTSTRAP))) and summary.skipped
    assert not summary.complete


def test_a_stopped_run_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop(monkeypatch, Summary((DONE,)), Summary((), skipped=1))
    assert loop.round()
    told = loop.condition(), dict(loop.engine.published_handover)
    assert loop.evidence() == ["s-0"] and told[0]["status"] is True
    loop.now += SETTLED_SECONDS[0]
    assert not loop.round() and loop.handover.runs == 2
    assert (loop.condition(), loop.engine.published_handover) == told


MEND = Problem("bootstrap/s-0.yaml", "sops", "none of the given identities can open it", "run sops updatekeys")


class Holds(Vault):
    """Holds one answer for every path."""

    def __init__(self, answer: dict[str, Any] | Exception | None) -> None:
        self._held = answer

    def read(self, path: str) -> dict[str, Any] | None:
        if isinstance(self._held, Exception):
            raise self._held
        return self._held

    def list(self, path: str) -> list[str]:
        return []


class NoSecrets(Api):
    """An API server without a single object."""

    def __init__(self) -> None:
        return

    def get(self, path: str) -> None:
        return None


def engine(vault: Vault, api: Api | None = None, catalogue: Catalogue = GIT.catalogue) -> Handover:
    return Handover("dev", api or NoSecrets(), vault, "run", admitted_entries(catalogue))


def unreadable() -> GitState:
    names = [secret.name for secret in GIT.catalogue.of_class(SecretClass.BOOTSTRAP)]
    return replace(GIT, unreadable=dict.fromkeys(names, MEND))


def test_what_vault_holds_does_not_need_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Handed over, and Git has no file any more that can be read."""
    secrets = GIT.catalogue.of_class(SecretClass.BOOTSTRAP)
    plans = {secret.name: plan_for("dev", secret) for secret in secrets}

    class OnRecord(Holds):
        def read(self, path: str) -> dict[str, Any] | None:
            plan = next(p for n, p in plans.items() if path.endswith((f"/{n}/{p.id}", p.place.partition("/")[2])))
            record = replace(RECORD, secret=plan.secret, id=plan.id)
            data = handed_over(record, plan.place).fields() if "/events/" in path else {"password": "x"}
            return {"data": {"data": data, "metadata": {"version": 1, "custom_metadata": record.metadata()}}}

    gone = InGit(unknown=Reason.UNREADABLE, detail=str(MEND))
    git = replace(unreadable(), values=dict.fromkeys(plans, gone))
    summary = engine(OnRecord(None)).run(git, b"k" * 32)
    assert summary.complete and len(summary.done) == len(secrets)


def test_while_vault_is_away_nothing_is_said_of_the_file() -> None:
    summary = engine(Holds(Unavailable("Vault is sealed"))).run(unreadable(), b"k" * 32)
    assert {str(result.end) for result in summary.open} == {"Vault is sealed"}


def test_files_that_cannot_be_decrypted_are_named_in_a_condition(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop(monkeypatch, Summary((DONE,)))
    loop.round()
    assert loop.condition(GIT_READABLE)["status"] is True
    loop.view.state = unreadable()
    loop.round()
    assert loop.condition(GIT_READABLE)["message"] == "cannot be decrypted: bootstrap/s-0.yaml"
    assert loop.condition(GIT_READABLE)["status"] is False


STUCK = Result("s-0", Blocked("s-0", Reason.VALUE_DIFFERS), ())
WAITING = Result("s-1", Blocked("s-1", Reason.NO_BOOTSTRAP), ())
AWAY = Result("s-1", Unavailable("Vault is sealed"), ())
UNREADABLE = Result("s-1", Blocked("s-1", Reason.UNREADABLE, str(MEND)), ())
REFUSED = Result("s-1", Refused("the API server refused GET x (403): Forbidden"), ())


@pytest.mark.parametrize(
    ("results", "pauses"),
    [
        ((DONE,), True),
        ((STUCK,), True),
        ((STUCK, UNREADABLE), True),
        ((REFUSED,), True),
        ((STUCK, WAITING), False),
        ((AWAY,), False),
    ],
)
def test_the_engine_looks_again_soon_only_for_what_passes_by_itself(
    monkeypatch: pytest.MonkeyPatch, results: tuple[Result, ...], pauses: bool
) -> None:
    loop = Loop(monkeypatch, Summary(results))
    names = {result.secret for result in results}
    first, *_ = GIT.catalogue.of_class(SecretClass.BOOTSTRAP)
    those = tuple(first.model_copy(update={"name": name}) for name in names)
    loop.view.state = replace(GIT, catalogue=GIT.catalogue.model_copy(update={"secrets": those}))
    assert loop.round() is pauses
    loop.now += PASSING_SECONDS[0]
    assert loop.round() is pauses
    assert loop.handover.runs == (1 if pauses else 2)
    assert loop.condition()["status"] is (results == (DONE,)), "a pause does not make it done"


def test_another_revision_ends_the_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop(monkeypatch, Summary((STUCK,)))
    loop.round()
    loop.view.state = replace(GIT, revision="main@sha1:1")
    loop.round()
    assert loop.handover.runs == 2


def test_what_is_in_the_way_is_logged_when_it_changes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    noticed = replace(DONE, notices=(Notice.GIT_CHANGED,))
    comes = iter([STUCK, STUCK, AWAY, AWAY, noticed, noticed, DONE, STUCK])
    monkeypatch.setattr(handover_run, "hand_over", lambda _plan, _world: replace(next(comes), secret="s-0"))
    one = parse_catalogue({**DOCUMENT, "secrets": DOCUMENT["secrets"][:1]}, "catalogue.yaml")
    handover = engine(Holds(None), catalogue=one)
    for _ in range(8):
        handover.run(replace(GIT, catalogue=one), b"key")
    stuck = str(STUCK.end)
    assert caplog.messages == [stuck, "s-0: Vault is sealed", f"s-0: {Notice.GIT_CHANGED}", stuck]
