"""Small parts of the engine: the lease, the audit file, the status, what counts as evidence."""

from __future__ import annotations

import copy
import json
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from secret_authority.core.conditions import STALE_SECONDS
from secret_authority.core.evidence import Evidence, EvidenceResult, Outcome
from secret_authority.core.phases import Phase
from secret_authority.engine.commands.vault_reloader import Reloader, find_processes, fingerprint, rotate_log
from secret_authority.engine.common.await_evidence import missing
from secret_authority.engine.common.http import serve
from secret_authority.engine.common.lease import DURATION_SECONDS, Lease
from secret_authority.engine.common.status import Status
from secret_authority.engine.tls.certificate_store import CertificateStore
from tests.fakes.kubernetes import FakeApi
from tests.support.waiting import until

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_one_holds_the_lease_until_it_ends() -> None:
    api = FakeApi()
    first, second = Lease(api, "ns", "engine", "one"), Lease(api, "ns", "engine", "two")
    assert first.hold(NOW) and not second.hold(NOW)
    assert first.hold(NOW + timedelta(seconds=10))
    assert not second.hold(NOW + timedelta(seconds=DURATION_SECONDS))
    assert second.hold(NOW + timedelta(seconds=10 + DURATION_SECONDS))
    assert not first.hold(NOW + timedelta(seconds=11 + DURATION_SECONDS))


def test_a_released_lease_is_free_at_once() -> None:
    api = FakeApi()
    first, second = Lease(api, "ns", "engine", "one"), Lease(api, "ns", "engine", "two")
    assert first.hold(NOW)
    second.release()
    assert not second.hold(NOW), "only the holder gives it back"
    first.release()
    assert second.hold(NOW)


def test_of_two_that_take_a_free_lease_one_gets_it() -> None:
    api = FakeApi()
    assert Lease(api, "ns", "engine", "one").hold(NOW)

    class Late(FakeApi):
        def get(self, path: str) -> dict[str, Any] | None:
            return None  # it looked before the other one wrote

    late = Late()
    late.objects = api.objects
    assert not Lease(late, "ns", "engine", "two").hold(NOW)


def test_the_audit_file_is_turned_over_and_the_oldest_goes(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    assert not rotate_log(log, 10, 2)
    for number in range(4):
        log.write_text(f"{number}" * 10)
        assert rotate_log(log, 10, 2) and not log.exists()
    assert {path.name: path.read_text()[0] for path in tmp_path.iterdir()} == {"audit.log.1": "3", "audit.log.2": "2"}
    log.write_text("short")
    assert not rotate_log(log, 10, 2) and log.exists()


def test_a_changed_certificate_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "tls.crt"
    before = fingerprint([file])
    file.write_text("a")
    after = fingerprint([file])
    assert before != after == fingerprint([file])


def test_a_keeper_tells_at_its_first_look_and_then_what_is_new(tmp_path: Path) -> None:
    """A certificate that changed while the reloader was down is told by the first look."""
    certificate, audit = tmp_path / "tls.crt", tmp_path / "audit.log"
    certificate.write_text("a")
    audit.write_text("short")
    told: list[str] = []
    reloader = Reloader([certificate], audit, 10, 2, told.append)
    reloader.look()
    reloader.look()
    certificate.write_text("b")
    reloader.look()
    reloader.look()
    reloader.look()
    audit.write_text("long enough")
    reloader.look()
    audit.write_text("")  # Vault opened it anew
    reloader.look()
    assert told == ["first look", "new certificate", "new certificate, once more", "new audit file"]


def test_a_kill_between_the_renaming_and_the_signal_is_mended(tmp_path: Path) -> None:
    audit = tmp_path / "audit.log"
    told: list[str] = []
    reloader = Reloader([], audit, 10, 2, told.append)
    reloader.look()
    reloader.look()
    assert told == ["first look"], "without any audit file there is nothing to open anew"
    (tmp_path / "audit.log.1").write_text("Vault writes on here")
    reloader.look()
    reloader.look()
    audit.touch()
    reloader.look()
    assert told[1:] == ["new audit file"] * 2, "until Vault has opened its file"


def test_processes_are_found_by_name(tmp_path: Path) -> None:
    program = tmp_path / "vault-test"
    program.symlink_to("/bin/sleep")
    running = subprocess.Popen([program, "30"])
    try:
        # Popen returns as the program is replaced; the kernel names the process a moment later.
        until(lambda: running.pid in find_processes("vault-test"), "the process under the name of its program")
    finally:
        running.kill()
        running.wait()
    assert running.pid not in find_processes("vault-test")


def test_certificates_are_made_once_and_the_bundle_goes_everywhere() -> None:
    api = FakeApi()
    store = CertificateStore(api, "engine", "vault", ["vault.vault.svc"])
    bundle = store.reconcile(NOW)
    before = copy.deepcopy(api.objects)
    assert store.reconcile(NOW + timedelta(days=1)) == bundle and api.objects == before
    names = {place.split("namespaces/")[1] for place in api.objects}
    assert names == {
        "engine/secrets/vault-ca",
        "vault/secrets/vault-tls",
        "engine/configmaps/vault-ca-bundle",
        "vault/configmaps/vault-ca-bundle",
    }
    # The CA's key stays in the engine's namespace.
    authority = api.objects["api/v1/namespaces/engine/secrets/vault-ca"]["data"]["tls.key"]
    assert authority not in json.dumps(api.objects["api/v1/namespaces/vault/secrets/vault-tls"])


def test_a_lost_listener_certificate_is_issued_again_by_the_same_ca() -> None:
    api = FakeApi()
    store = CertificateStore(api, "engine", "vault", ["vault.vault.svc"])
    bundle = store.reconcile()
    del api.objects["api/v1/namespaces/vault/secrets/vault-tls"]
    assert store.reconcile() == bundle
    assert "api/v1/namespaces/vault/secrets/vault-tls" in api.objects


@pytest.mark.parametrize("namespace", ["engine", "vault"])
@pytest.mark.parametrize("loss", ["deleted", "changed"])
def test_a_lost_bundle_is_published_again_in_either_namespace(namespace: str, loss: str) -> None:
    api = FakeApi()
    store = CertificateStore(api, "engine", "vault", ["vault.vault.svc"])
    bundle = store.reconcile(NOW)
    place = f"api/v1/namespaces/{namespace}/configmaps/vault-ca-bundle"
    if loss == "deleted":
        del api.objects[place]
    else:
        api.objects[place]["data"] = {"ca.crt": "something else"}
    assert store.reconcile(NOW + timedelta(days=1)) == bundle
    assert api.objects[place]["data"] == {"ca.crt": bundle}


def test_the_endpoint_tells_health_readiness_and_numbers() -> None:
    status = Status()
    server = serve(status, 0, "VaultInService")
    base = f"http://127.0.0.1:{server.server_address[1]}"

    def code(path: str) -> int:
        return requests.get(base + path, timeout=60).status_code

    assert code("/healthz") == 200 and code("/readyz") == 503 and code("/other") == 404
    status.set("VaultInService", True, "1 of 1")
    status.number("vault_pods", 1)
    assert code("/readyz") == 200
    text = requests.get(f"{base}/metrics", timeout=60).text
    assert 'secret_authority_condition{type="VaultInService"} 1' in text and "secret_authority_vault_pods 1" in text
    server.shutdown()
    server.server_close()


def test_a_metric_of_a_condition_ends_when_it_is_not_observed_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    status = Status()
    status.set("Old", True)
    later = time.monotonic() + STALE_SECONDS + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    status.set("New", True)
    text = status.metrics()
    assert 'secret_authority_condition{type="New"} 1' in text
    assert 'secret_authority_condition{type="Old"}' not in text
    assert 'secret_authority_condition_age_seconds{type="Old"} 181' in text
    assert not status.holds("Old")


def test_a_condition_keeps_its_time_while_it_holds() -> None:
    status = Status()
    status.set("A", True, "one")
    first = status.as_dict()["A"]["since"]
    status.set("A", True, "two")
    found = status.as_dict()["A"]
    assert (found["status"], found["message"], found["since"]) == (True, "two", first)
    assert str(found["observedAt"]) >= str(first)
    assert not status.alive(-1)


def test_a_condition_that_nobody_observed_for_long_does_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    status = Status()
    status.set("A", True)
    now = time.monotonic()
    monkeypatch.setattr("secret_authority.engine.common.status.time.monotonic", lambda: now + STALE_SECONDS + 1)
    assert not status.holds("A")
    status.confirm("A")
    assert status.holds("A")


def published(at: datetime, *outcomes: Outcome) -> dict[str, str]:
    findings = tuple(EvidenceResult(f"s{number}", outcome, "here") for number, outcome in enumerate(outcomes))
    return {"evidence": Evidence(Phase.RUNTIME_AUTHORITY, "r", at, findings).to_json(), "conditions": "{}"}


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({}, "published no evidence"),
        (
            {"conditions": '{"VaultInService": {"status": false, "message": "sealed"}}'},
            "False, sealed. Is the engine up?",
        ),
        (published(NOW - timedelta(seconds=1), Outcome.MATCHES), "before this look began"),
        (published(NOW, Outcome.NOT_HANDED_OVER), "s0: Vault has no authority over it yet"),
        (published(NOW), "s0: not looked at"),
    ],
)
def test_missing_evidence_is_said(status: dict[str, str], words: str) -> None:
    assert words in str(missing(status, {"s0"}, NOW))


def test_the_last_words_of_an_engine_that_is_down_are_unknown() -> None:
    said = {"VaultInService": {"status": True, "message": "1 of 1", "observedAt": "2020-01-01T00:00:00+00:00"}}
    words = str(missing({"conditions": json.dumps(said)}, {"s0"}, NOW))
    assert "VaultInService: unknown; at 2020-01-01T00:00:00+00:00 it was True, 1 of 1. Is the engine up?" in words


def test_fresh_and_whole_evidence_is_enough() -> None:
    assert missing(published(NOW, Outcome.MATCHES), {"s0"}, NOW) is None
