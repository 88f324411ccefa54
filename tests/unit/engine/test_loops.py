"""How an engine goes round, and how a Job waits for it."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
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
from secret_authority.engine.common.loop import LeasedLoop
from secret_authority.engine.common.status import Status


class ScriptedLease(Lease):
    """Says what it is told, the last word again and again."""

    def __init__(self, *says: bool | Exception, release: Exception | None = None) -> None:
        self._says, self._release = list(says), release
        self.released = 0

    def hold(self, now: datetime | None = None) -> bool:
        word = self._says.pop(0) if len(self._says) > 1 else self._says[0]
        if isinstance(word, Exception):
            raise word
        return word

    def release(self) -> None:
        self.released += 1
        if self._release:
            raise self._release


def run(lease: ScriptedLease, rounds: int) -> tuple[int, int]:
    """Run until so many rounds are done. Returns the exit code and how many there were."""
    loop, done = LeasedLoop(lease, Status(), 0.0), 0

    def one_round() -> float:
        nonlocal done
        done += 1
        if done == rounds:
            assert not loop.stopped()
            loop.stop()
            assert loop.stopped()
        return 0.0

    return loop.run(one_round), done


def test_a_stopped_engine_gives_its_lease_back() -> None:
    lease = ScriptedLease(True)
    assert run(lease, 3) == (0, 3)
    assert lease.released == 1


def test_it_waits_for_the_lease_and_does_nothing_meanwhile() -> None:
    lease = ScriptedLease(False, False, True)
    assert run(lease, 1) == (0, 1)


def test_an_engine_that_lost_its_lease_ends(caplog: pytest.LogCaptureFixture) -> None:
    lease = ScriptedLease(True, True, False)
    assert run(lease, 9) == (1, 2)
    assert lease.released == 0 and caplog.messages == ["another engine holds the lease; this one ends"]


def test_rounds_go_on_while_the_lease_cannot_be_renewed(caplog: pytest.LogCaptureFixture) -> None:
    lease = ScriptedLease(True, Unavailable("away"))
    assert run(lease, 3) == (0, 3)
    assert caplog.messages == ["the lease cannot be renewed: away"] * 2
    never_held = ScriptedLease(Unavailable("away"))
    assert run(never_held, 2) == (0, 2) and never_held.released == 0


@pytest.mark.parametrize("error", [Unavailable("away"), LostRace("leases/one")])
def test_a_lease_that_cannot_be_given_back_is_no_failure(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert run(ScriptedLease(True, release=error), 1) == (0, 1)
    assert caplog.messages == ["the lease was not given back; it ends by itself"]


def test_an_engine_is_alive_while_it_waits_and_while_it_works() -> None:
    status = Status()
    loop = LeasedLoop(ScriptedLease(False, True), status, 0.0)
    ticks: list[str] = []
    status.heartbeat = lambda: ticks.append("tick")  # type: ignore[method-assign]

    def one_round() -> float:
        ticks.append("round")
        loop.stop()
        return 60.0  # a stopped loop does not rest

    assert loop.run(one_round) == 0
    assert ticks == ["tick", "round", "tick"]


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
