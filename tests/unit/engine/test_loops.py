"""How an engine goes round, and how a Job waits for it."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from secret_authority.clients.kubernetes import Api, named
from secret_authority.contract.names import CONSUMPTION_STATUS, HANDOVER_STATUS
from secret_authority.core.errors import LostRace, Unavailable
from secret_authority.core.evidence import Evidence, EvidenceResult, Outcome
from secret_authority.core.phases import Phase
from secret_authority.engine.__main__ import main
from secret_authority.engine.common import await_evidence as evidence_wait
from secret_authority.engine.common.await_evidence import wait
from secret_authority.engine.common.lease import Lease
from secret_authority.engine.common.loop import LeasedLoop, Part
from secret_authority.engine.common.status import Status


class ScriptedLease(Lease):
    """Says what it is told, the last word again and again; `asked` counts."""

    def __init__(self, *says: bool | Exception, release: Exception | None = None) -> None:
        self._says, self._release = list(says), release
        self.asked = self.released = 0

    def hold(self, now: datetime | None = None) -> bool:
        self.asked += 1
        word = self._says.pop(0) if len(self._says) > 1 else self._says[0]
        if isinstance(word, Exception):
            raise word
        return word

    def release(self) -> None:
        self.released += 1
        if self._release:
            raise self._release


class Rounds:
    """A part that counts its rounds and stops the loop after so many; 0 for never."""

    def __init__(self, loop: LeasedLoop, until: int = 0) -> None:
        self.loop, self.until, self.done = loop, until, 0

    def part(self, name: str = "Works") -> Part:
        return Part(name, self._round)

    def _round(self) -> float:
        self.done += 1
        if self.done == self.until:
            self.loop.stop()
        return 0.001


def looped(lease: ScriptedLease, status: Status | None = None) -> LeasedLoop:
    return LeasedLoop(lease, status or Status(), 0.0, renew_seconds=0.01)


def test_a_stopped_engine_gives_its_lease_back() -> None:
    lease = ScriptedLease(True)
    loop = looped(lease)
    rounds = Rounds(loop, 3)
    assert loop.run(rounds.part()) == 0 and rounds.done == 3
    assert lease.released == 1 and loop.stopped()


def test_it_waits_for_the_lease_and_does_nothing_meanwhile() -> None:
    lease = ScriptedLease(False, Unavailable("away"), False, True)
    loop = looped(lease)
    seen: list[int] = []

    def one_round() -> float:
        seen.append(lease.asked)
        loop.stop()
        return 0.0

    assert loop.run(Part("Works", one_round)) == 0 and seen[0] >= 4


def test_an_engine_that_lost_its_lease_ends(caplog: pytest.LogCaptureFixture) -> None:
    lease = ScriptedLease(True, True, False)
    loop = looped(lease)
    assert loop.run(Rounds(loop).part()) == 1
    assert lease.released == 0 and caplog.messages == ["another engine holds the lease; this one ends"]


def test_a_round_that_takes_long_does_not_lose_the_lease() -> None:
    """It is renewed in a thread of its own, not between rounds."""
    lease = ScriptedLease(True)
    loop = looped(lease)

    def one_round() -> float:
        end = time.monotonic() + 10
        while lease.asked < 6 and time.monotonic() < end:
            time.sleep(0.005)  # a Vault that takes long to answer
        assert loop.held()
        loop.stop()
        return 0.0

    assert loop.run(Part("Slow", one_round)) == 0 and lease.asked >= 6


def test_rounds_go_on_while_the_lease_cannot_be_renewed(caplog: pytest.LogCaptureFixture) -> None:
    lease = ScriptedLease(True, Unavailable("away"))
    loop = looped(lease)
    rounds = Rounds(loop, 50)
    assert loop.run(rounds.part()) == 0 and rounds.done == 50
    assert set(caplog.messages) <= {"the lease cannot be renewed: away"}


def test_without_a_fresh_lease_nothing_moves_authority(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = looped(ScriptedLease(True, Unavailable("away")))
    assert not loop.held()
    held: list[bool] = []

    def one_round() -> float:
        held.append(loop.held())
        monkeypatch.setattr("secret_authority.engine.common.loop.DURATION_SECONDS", -1)
        held.append(loop.held())
        loop.stop()
        return 0.0

    loop.run(Part("Works", one_round))
    assert held == [True, False]


@pytest.mark.parametrize("error", [Unavailable("away"), LostRace("leases/one")])
def test_a_lease_that_cannot_be_given_back_is_no_failure(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    loop = looped(ScriptedLease(True, release=error))
    assert loop.run(Rounds(loop, 1).part()) == 0
    assert caplog.messages[-1] == "the lease was not given back; it ends by itself"


class Hostile(Exception):
    """An error that nobody foresaw, with a value in its message."""


@pytest.mark.parametrize("error", [Hostile("hunter2"), TypeError("hunter2"), MemoryError(), RecursionError()])
def test_no_error_of_a_part_ends_another_or_itself(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secret_authority.engine.common.loop.AFTER_ERROR_SECONDS", 0.0)
    status = Status()
    loop = looped(ScriptedLease(True), status)
    rounds, failures = Rounds(loop, 20), 0

    def fails() -> float:
        nonlocal failures
        failures += 1
        raise error

    assert loop.run(Part("Broken", fails), rounds.part()) == 0
    assert rounds.done == 20 and failures > 1
    broken = status.as_dict()["Broken"]
    assert broken["status"] is False and f"unexpected {type(error).__name__} at " in str(broken["message"])
    assert "hunter2" not in str(status.as_dict())


def test_a_part_that_hangs_starves_no_other_and_is_seen() -> None:
    status = Status()
    loop = looped(ScriptedLease(True), status)
    rounds, go_on = Rounds(loop), threading.Event()

    def hangs() -> float:
        while rounds.done < 20:
            time.sleep(0.005)  # until the other part has gone round
        assert status.alive(60)
        loop.stop()
        go_on.wait(60)
        return 0.0

    status.heartbeat("Hangs")
    begun = time.monotonic()
    monitor = threading.Thread(target=lambda: loop.run(Part("Hangs", hangs), rounds.part()))
    monitor.start()
    while rounds.done < 20 and time.monotonic() - begun < 60:
        time.sleep(0.005)
    assert rounds.done >= 20 and not status.alive(0)
    go_on.set()
    monitor.join(60)


def test_a_part_with_patience_may_take_longer() -> None:
    status = Status()
    for name, patience in (("Quick", 1.0), ("Slow", 1000.0)):
        status.heartbeat(name, patience)
    time.sleep(0.02)
    assert not status.alive(0.01)
    status.heartbeat("Quick")
    status.heartbeat()
    assert status.alive(0.01)


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(evidence_wait, "time", made)
    return made


def test_a_look_that_misses_nothing_ends_the_wait(clock: Clock) -> None:
    looks = iter(["a", Unavailable("away"), None])

    def look() -> str | None:
        found = next(looks)
        if isinstance(found, Exception):
            raise found
        return found

    assert wait(look, 10) == "" and clock.now == 2


@pytest.mark.parametrize(("seconds", "looks"), [(0, 1), (3, 4)])
def test_the_last_word_is_told_at_the_deadline(clock: Clock, seconds: int, looks: int) -> None:
    said = 0

    def look() -> str:
        nonlocal said
        said += 1
        return f"missing {said}"

    assert wait(look, seconds) == f"missing {looks}"


class OneConfig(Api):
    """The ConfigMap of a status, fresh at every look."""

    def __init__(self, name: str, waiting: dict[str, str], **outcomes: Outcome) -> None:
        self._path = named("configmaps", "ns", name)
        self._waiting, self._outcomes = waiting, outcomes

    def get(self, path: str) -> dict[str, object] | None:
        assert path == self._path
        findings = tuple(EvidenceResult(secret, outcome, "here") for secret, outcome in self._outcomes.items())
        evidence = Evidence(Phase.CONSUMPTION, "r", datetime.now(UTC), findings)
        return {"data": {"evidence": evidence.to_json(), "waiting": json.dumps(self._waiting)}}


def verb(name: str, api: Api, secrets: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    wanted = tmp_path / "secrets"
    wanted.write_text(secrets)
    monkeypatch.setattr(Api, "in_cluster", lambda: api)
    arguments = ["engine", name, "--namespace=ns", f"--secrets={wanted}", "--seconds=0"]
    monkeypatch.setattr("sys.argv", arguments)
    return main()


def test_handover_evidence_covers_every_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    api = OneConfig(HANDOVER_STATUS, {}, a=Outcome.MATCHES, b=Outcome.MATCHES)
    assert verb("handover-evidence", api, "a b", tmp_path, monkeypatch) == 0
    assert capsys.readouterr().out == "2 of 2 bootstrap secrets are handed over to Vault\n"
    assert verb("handover-evidence", api, "a b c", tmp_path, monkeypatch) == 1
    assert capsys.readouterr().err == "c: not looked at\n"


def test_consumption_evidence_leaves_out_what_waits_for_a_first_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = CONSUMPTION_STATUS
    api = OneConfig(config, {"b": "b is not entered yet"}, a=Outcome.MATCHES)
    assert verb("consumption-evidence", api, "a b", tmp_path, monkeypatch) == 0
    assert capsys.readouterr().out == "1 of 2 secrets have arrived at their consumers\nb is not entered yet\n"
    assert verb("consumption-evidence", OneConfig(config, {}, a=Outcome.MATCHES), "a b", tmp_path, monkeypatch) == 1
    assert capsys.readouterr().err == "b: not looked at\n"


@pytest.mark.parametrize("small", ["listener", "fingerprint"])
def test_a_small_verb_loads_no_client(small: str) -> None:
    """It runs beside Vault and in workloads, with little memory."""
    code = (
        f"import sys; sys.argv = ['engine', '{small}', '--help']\n"
        "from secret_authority.engine.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "assert not {'kubernetes', 'requests', 'pyrage'} & set(sys.modules), sorted(sys.modules)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert f"usage: engine {small}" in ended.stdout


def test_without_a_verb_all_are_told() -> None:
    ended = subprocess.run([sys.executable, "-m", "secret_authority.engine", "--help"], capture_output=True, text=True)
    listed = {line.split()[0] for line in ended.stdout.splitlines() if line.startswith("    ")}
    assert listed >= {"authority", "bootstrap-evidence", "consumption", "consumption-evidence", "handover-evidence"}
    unknown = subprocess.run(
        [sys.executable, "-m", "secret_authority.engine", "nothing"], capture_output=True, text=True
    )
    assert unknown.returncode == 2 and "invalid choice: 'nothing'" in unknown.stderr
