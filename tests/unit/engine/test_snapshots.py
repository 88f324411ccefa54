"""The loop of snapshots: when it takes one, what it says when it cannot, and what a restart remembers."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from secret_authority.clients.object_store import ObjectExistsError, StoreRefusedError
from secret_authority.clients.snapshot_bundle import Bundle
from secret_authority.contract.names import (
    PREPARE_CONTAINER,
    SNAPSHOT_STATUS,
    SNAPSHOT_VERIFIER,
    TRUST_RECORD,
    UNSEAL_SHARES,
    VERIFY_CONTAINER,
)
from secret_authority.contract.snapshot_settings import SnapshotEngineSettings
from secret_authority.core.errors import Unavailable
from secret_authority.core.recipients import TrustRecord
from secret_authority.core.snapshots.manifest import Manifest, SavedSecret, SealFacts, seal_digest
from secret_authority.engine.common.status import Status
from secret_authority.engine.runtime_authority.seal_store import read_shares, shares_secret
from secret_authority.engine.runtime_authority.unseal_shares import SealedShares
from secret_authority.engine.snapshots import controller as module
from secret_authority.engine.snapshots.controller import OBSERVED, SAVED, VERIFIED, SnapshotController
from secret_authority.engine.snapshots.take import NotTakenError
from tests.fakes.kubernetes import FakeApi

SETTINGS = SnapshotEngineSettings("dev", ("age1a", "age1b"), "https://store", "b", "r", "", True)
START = datetime(2026, 11, 27, tzinfo=UTC)
POD = "https://vault-1.vault-internal.vault.svc:8200"


@dataclass
class Site:
    """A controller over a Vault whose content is `content`, at `seconds` after the start."""

    monkeypatch: pytest.MonkeyPatch
    api: FakeApi = field(default_factory=FakeApi)
    content: str = "1"
    seconds: float = 0.0
    leader: str = POD
    written: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    reads: int = 0
    error: Exception | None = None
    # Written to the store beside a bundle, or why it was not.
    marks: list[str] = field(default_factory=list)
    refused: Exception | None = None

    def __post_init__(self) -> None:
        record = TrustRecord("age1a", frozenset({"age1b"})).as_data()
        self.put("secret-authority", "configmaps", {"metadata": {"name": TRUST_RECORD}, "data": record})
        self.put("vault", "secrets", shares_secret(UNSEAL_SHARES, SealedShares(("x",), 1)))
        for name, stand_in in {
            "server_time": lambda _: self.now,
            "change_counters": lambda *_: frozenset({self.content}),
            "read_metadata": lambda _: self.read(),
            "take": lambda *_, known: self.take(known),
            "write_bundle": self.write,
        }.items():
            self.monkeypatch.setattr(module, name, stand_in)
        self.start()

    def put(self, namespace: str, kind: str, body: dict[str, Any]) -> None:
        self.api.store(f"api/v1/namespaces/{namespace}/{kind}/{body['metadata']['name']}", body)

    def start(self) -> None:
        self.status = Status()
        self.engine = SnapshotController(
            SETTINGS,
            self.api,
            self.connect,
            "https://service",
            lambda: self,  # type: ignore[arg-type,return-value]
            "secret-authority",
            "run",
            self.status,
            lambda: self.seconds,
        )

    @property
    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def connect(self, address: str) -> Any:
        self.asked.append(address)
        return self

    def read(self, path: str = "") -> Any:
        if path:
            return {"leader_address": self.leader}
        self.reads += 1
        return (SavedSecret("platform-data/a", 1, "1", self.content),)

    def take(self, known: tuple[SavedSecret, ...]) -> Bundle:
        assert [secret.metadata for secret in known] == [self.content], "what was seen last"
        if self.error:
            raise self.error
        secrets = (SavedSecret("platform-data/a", 1, "1", self.content),)
        shares = read_shares(self.api.get(f"api/v1/namespaces/vault/secrets/{UNSEAL_SHARES}") or {})
        seal = SealFacts(1, 1, seal_digest(shares.ciphertexts, shares.threshold))
        return Bundle(Manifest("dev", "", self.now, 1, 1, "", "", "", 7, seal, (), secrets), b"", ("x",), 1)

    def write(self, _store: object, _bundle: Bundle, recipients: tuple[str, ...]) -> Any:
        assert recipients == SETTINGS.recipients
        self.written.append(self.content)
        return _Name(f"dev/{len(self.written)}")

    def put_new(self, key: str, content: bytes) -> None:
        assert content
        if self.refused:
            raise self.refused
        self.marks.append(key)

    def go(self, seconds: float, step: float = 10.0) -> None:
        """Rounds for so long, one each `step` seconds."""
        end = self.seconds + seconds
        while self.seconds < end:
            self.engine.reconcile()
            self.seconds += step

    def condition(self, name: str) -> tuple[object, object]:
        found = self.status.as_dict()[name]
        return found["status"], found["message"]


@dataclass(frozen=True)
class _Name:
    folder: str


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(monkeypatch)


def test_the_first_is_taken_at_once_and_then_one_a_day(site: Site) -> None:
    site.go(10)
    assert site.written == ["1"] and site.condition(SAVED)[0] is True
    site.go(86_000, 500)
    assert len(site.written) == 1
    site.go(1_000, 500)
    assert len(site.written) == 2


def test_a_change_is_saved_after_half_a_minute_without_another(site: Site) -> None:
    site.go(10)
    site.content = "2"
    site.go(30)
    assert site.written == ["1"] and "unsaved_change_seconds 20" in site.status.metrics()
    site.go(10)
    assert site.written == ["1", "2"]
    site.go(10)
    assert "unsaved_change_seconds 0" in site.status.metrics()


def test_changes_without_end_are_saved_within_five_minutes(site: Site) -> None:
    site.go(10)
    for number in range(30):
        site.content = f"change {number}"
        site.go(10)
    assert len(site.written) == 2 and site.seconds <= 310


def test_metadata_are_read_when_the_counters_have_changed(site: Site) -> None:
    site.go(100)
    assert site.reads == 2, "before the first snapshot, and once after it"
    site.go(600)
    assert site.reads == 3, "now and then, whatever the counters say"


def test_a_restart_takes_no_snapshot_by_itself(site: Site) -> None:
    site.go(10)
    site.start()
    site.go(100)
    assert site.written == ["1"]
    # A change while no engine ran is seen by the next one.
    site.content = "2"
    site.start()
    site.go(50)
    assert site.written == ["1", "2"]


@pytest.mark.parametrize("saved", ["", "x", "[]", '{"state": "s"}', '{"state": "s", "at": "2026-11-27", "name": "n"}'])
def test_a_status_that_cannot_be_read_costs_one_snapshot(site: Site, saved: str) -> None:
    site.put("secret-authority", "configmaps", {"metadata": {"name": SNAPSHOT_STATUS}, "data": {"saved": saved}})
    site.go(20)
    assert site.written == ["1"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Unavailable("the store is away"), "waiting: the store is away"),
        (StoreRefusedError("no"), "no"),
        (NotTakenError("a root token exists"), "a root token exists"),
        (RuntimeError("hunter2"), "unexpected RuntimeError"),
    ],
)
def test_a_failure_is_told_and_tried_again_ever_more_rarely(site: Site, error: Exception, words: str) -> None:
    tries: list[float] = []
    site.error = error

    def counted(*_: object, known: tuple[SavedSecret, ...]) -> Bundle:
        tries.append(site.seconds)
        return site.take(known)

    site.monkeypatch.setattr(module, "take", counted)
    site.go(1000)
    assert tries == [0, 30, 90, 210, 450, 930]
    status, message = site.condition(SAVED)
    assert status is False and str(message).startswith(words) and "hunter2" not in str(message)
    assert "snapshot_consecutive_failures 6" in site.status.metrics()
    site.error = None
    site.go(1000)
    assert site.written == ["1"] and site.condition(SAVED)[0] is True
    assert "snapshot_consecutive_failures 0" in site.status.metrics()


def test_nothing_is_encrypted_to_recipients_that_nobody_admitted(site: Site) -> None:
    record = TrustRecord("age1a", frozenset({"age1b", "age1new"})).as_data()
    site.put("secret-authority", "configmaps", {"metadata": {"name": TRUST_RECORD}, "data": record})
    site.go(10)
    assert site.written == [] and "recipients" in str(site.condition(SAVED)[1])
    site.api.objects.pop(f"api/v1/namespaces/secret-authority/configmaps/{TRUST_RECORD}")
    site.go(100)
    assert site.written == []


@pytest.mark.parametrize(
    "leader",
    ["", "https://evil.example:8200", "http://vault-1.vault-internal.vault.svc:8200", POD.replace("8200", "9")],
)
def test_only_a_pod_of_vault_is_asked_as_the_active_node(site: Site, leader: str) -> None:
    site.leader = leader
    site.go(10)
    assert site.written == [] and site.asked == ["https://service"]


def test_the_active_pod_gives_the_snapshot(site: Site) -> None:
    site.go(10)
    assert site.asked == ["https://service", POD]


def test_vault_away_is_told_and_nothing_is_taken(site: Site) -> None:
    def away(_: object) -> datetime:
        raise Unavailable("Vault is sealed")

    site.monkeypatch.setattr(module, "server_time", away)
    site.go(20)
    assert site.written == [] and site.condition(OBSERVED) == (False, "waiting: Vault is sealed")


def test_what_is_published_names_no_secret(site: Site) -> None:
    site.go(10)
    data = site.api.objects[f"api/v1/namespaces/secret-authority/configmaps/{SNAPSHOT_STATUS}"]["data"]
    assert json.loads(data["saved"])["name"] == "dev/1" and "platform-data" not in json.dumps(data)


def report(
    site: Site, name: str, ended: int, *, code: int = 0, container: str = VERIFY_CONTAINER, **fields: object
) -> None:
    """A pod of a verification that has ended `ended` seconds after the start."""
    said = {"snapshot": name, "problem": "", "paths": 15, "seconds": 11.8} | fields
    done = {"exitCode": code, "finishedAt": (START + timedelta(seconds=ended)).isoformat(), "message": json.dumps(said)}
    if "message" in fields:
        done["message"] = str(fields["message"])
    where = "initContainerStatuses" if container == PREPARE_CONTAINER else "containerStatuses"
    status = {where: [{"name": container, "state": {"terminated": done}}]}
    labels = {"app": SNAPSHOT_VERIFIER}
    site.put("secret-authority", "pods", {"metadata": {"name": f"pod-{ended}", "labels": labels}, "status": status})


BUNDLE = "dev/2026/11/20261127T000000Z-7-0123abcd"
LATER = "dev/2026/11/20261127T060000Z-9-0123abcd"


def test_no_snapshot_is_good_before_one_was_restored(site: Site) -> None:
    site.go(10)
    assert site.condition(VERIFIED) == (False, "no snapshot is verified yet")
    assert "secret_authority_snapshot_unverified 1" in site.status.metrics()
    assert "snapshot_last_verified" not in site.status.metrics()


def test_what_a_verification_found_is_recorded_and_outlives_its_pod_and_the_engine(site: Site) -> None:
    report(site, BUNDLE, 5)
    site.go(10)
    assert site.condition(VERIFIED) == (True, "")
    assert f"snapshot_last_verified_timestamp_seconds {START.timestamp():.0f}" in site.status.metrics()
    assert "secret_authority_snapshot_unverified 0" in site.status.metrics()
    assert site.marks == [f"{BUNDLE}/verified"]
    site.api.objects.pop("api/v1/namespaces/secret-authority/pods/pod-5")
    site.start()
    site.go(10)
    assert site.condition(VERIFIED) == (True, "")
    # 32 hours: a day until the next snapshot, six hours until the next verification, and time to do it.
    site.seconds = 32 * 3600 + 10
    site.go(10)
    assert site.condition(VERIFIED) == (False, "the newest verified snapshot is 32 hours old")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"problem": "snapshot.age is damaged"}, f"{LATER}: snapshot.age is damaged"),
        ({"message": ""}, "the newest snapshot: the verification ended without a report (unknown)"),
        ({"message": "{}"}, "the newest snapshot: the verification ended without a report (unknown)"),
        ({"snapshot": "prod/2026/11/20261127T060000Z-9-0123abcd"}, "the newest snapshot: the verification ended with"),
        # A report of success by a program that has failed is none.
        ({}, f"{LATER}: the verification ended with exit code 1"),
    ],
)
@pytest.mark.parametrize("container", [PREPARE_CONTAINER, VERIFY_CONTAINER])
def test_a_failed_verification_says_why_and_does_not_hide_the_last_good_one(
    site: Site, fields: dict[str, object], words: str, container: str
) -> None:
    report(site, BUNDLE, 5)
    site.go(10)
    report(site, LATER, 20, code=1, container=container, **fields)
    site.go(10)
    status, message = site.condition(VERIFIED)
    assert status is False and str(message).startswith(words)
    assert "secret_authority_snapshot_verification_failed 1" in site.status.metrics()
    assert f"snapshot_last_verified_timestamp_seconds {START.timestamp():.0f}" in site.status.metrics()
    assert site.marks == [f"{BUNDLE}/verified"], "only what was verified has a mark"
    report(site, LATER, 30)
    site.go(10)
    assert site.condition(VERIFIED) == (True, "") and site.marks == [f"{BUNDLE}/verified", f"{LATER}/verified"]
    assert "secret_authority_snapshot_verification_failed 0" in site.status.metrics()


def test_a_pod_that_runs_says_nothing_yet(site: Site) -> None:
    report(site, BUNDLE, 5, container=PREPARE_CONTAINER)
    site.go(10)
    assert site.condition(VERIFIED) == (False, "no snapshot is verified yet")


def test_a_mark_that_cannot_be_written_takes_nothing_back(site: Site) -> None:
    report(site, BUNDLE, 5)
    site.refused = StoreRefusedError("no")
    site.go(100)
    assert site.condition(VERIFIED) == (True, "") and site.marks == []
    site.refused = ObjectExistsError("there")
    site.go(1000)
    assert site.condition(VERIFIED) == (True, "")


@pytest.mark.parametrize("text", ["x", "[]", '{"verified": {"at": "2026-11-27T00:00:00+00:00"}}'])
def test_verifications_that_cannot_be_read_prove_nothing(site: Site, text: str) -> None:
    body = {"metadata": {"name": SNAPSHOT_STATUS}, "data": {"verifications": text}}
    site.put("secret-authority", "configmaps", body)
    site.go(10)
    assert site.condition(VERIFIED) == (False, "no snapshot is verified yet")


def test_new_unseal_shares_are_a_change_to_save(site: Site) -> None:
    """A snapshot opens with the shares of its day: after a change of them the newest one is not good any more."""
    site.go(10)
    site.go(60)
    assert site.written == ["1"]
    site.put("vault", "secrets", shares_secret(UNSEAL_SHARES, SealedShares(("y",), 1)))
    site.go(50)
    assert site.written == ["1", "1"]
    data = site.api.objects[f"api/v1/namespaces/secret-authority/configmaps/{SNAPSHOT_STATUS}"]["data"]
    assert data["seal"] == seal_digest(("y",), 1)
