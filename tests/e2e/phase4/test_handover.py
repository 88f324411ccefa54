"""The handover of the example repository on a real cluster: with Flux, Git, Pulumi and Vault's own audit log."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from secret_authority.clients.sops import sops_program
from secret_authority.contract.names import ENGINE_NAMESPACE, ESO_NAMESPACE
from secret_authority.core.handover.state_machine import Notice
from secret_authority.core.ledger.audit_trail import Event, match_vault_log
from tests.support.flux import KUSTOMIZATION_PATH, ask_flux
from tests.support.leak_places import volume_folders
from tests.support.recorded_stack import CHECKOUT, UP, RecordedStack
from tests.support.vault_pods import conditions
from tests.support.vault_way import broken_glass
from tests.support.waiting import until
from tests.support.workloads import away, pods

pytestmark = [
    pytest.mark.cluster,
    # A tunnel's thread may still write while its test has ended.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]

STATUS = f"/api/v1/namespaces/{ENGINE_NAMESPACE}/configmaps/runtime-authority-status"
ENGINE = f"/apis/apps/v1/namespaces/{ENGINE_NAMESPACE}/deployments/secret-authority-engine"


@pytest.fixture(scope="module")
def handed(runtime: RecordedStack) -> RecordedStack:
    """The stack at phase 3 or above, with everything handed over."""
    until(lambda: all(line["state"] == "done" for line in status(runtime)), "everything is handed over", 120)
    return runtime


def status(stack: RecordedStack) -> list[dict[str, Any]]:
    found = stack.objects.get(STATUS) or {}
    lines: list[dict[str, Any]] = json.loads(found.get("data", {}).get("handover", "[]"))
    return lines or [{"state": "nothing yet"}]


def ready(stack: RecordedStack) -> bool:
    conditions = (stack.objects.get(KUSTOMIZATION_PATH) or {})["status"]["conditions"]
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def audit(stack: RecordedStack) -> list[Event]:
    command = [sys.executable, "-m", "cli.main", "audit", "--format=json", "--kubeconfig", str(stack.kubeconfig)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    return [Event.from_fields(json.loads(line)) for line in done.stdout.splitlines()]


def test_every_bootstrap_secret_is_empty_and_marked_and_flux_leaves_it_alone(handed: RecordedStack) -> None:
    for namespace, name in handed.wanted_values():
        found = handed.objects.secret(namespace, name)
        assert found is not None and not found.get("data"), f"{namespace}/{name}"
    before = {place: handed.objects.secret(*place) for place in handed.wanted_values()}
    for _ in range(2):
        ask_flux(handed)
        assert ready(handed)
    after = {place: handed.objects.secret(*place) for place in handed.wanted_values()}
    assert after == before, "not even a field manager or a version of an object changed"


def test_vault_holds_what_git_says(handed: RecordedStack, tmp_path: Path) -> None:
    root, _ = handed.identities()
    catalogue = json.loads((handed.objects.get(STATUS) or {})["data"]["evidence"])
    wanted = handed.wanted_values()
    events = {event.secret: event for event in audit(handed)}
    assert len(catalogue["findings"]) == len(wanted) == 13
    seen = []
    with broken_glass(handed.kubeconfig, tmp_path, root.secret) as vault:
        for event in events.values():
            mount, _, path = event.place.partition("/")
            if event.why.startswith("handover"):
                found = vault.read(f"{mount}/data/{path}?version=1")
                assert found is not None
                metadata = found["data"]["metadata"]["custom_metadata"]
                assert metadata["authority"] == "vault" and metadata["handover_digest"] == event.digest
                assert metadata["rotation_type"]
                encoded = set((metadata.get("base64_keys") or "").split())
                seen.append(
                    {
                        key: base64.b64decode(text) if key in encoded else text.encode()
                        for key, text in found["data"]["data"].items()
                    }
                )
    assert sorted(map(repr, map(sorted, (v.items() for v in seen)))) == sorted(
        map(repr, map(sorted, (v.items() for v in wanted.values())))
    )


def test_a_change_in_git_after_the_handover_is_reported_and_never_applied(
    handed: RecordedStack, tmp_path: Path
) -> None:
    changed = tmp_path / "fleet"
    shutil.copytree(handed.fleet, changed)
    (namespace, name) = next(iter(handed.wanted_values()))
    file = changed / handed.home / "bootstrap" / f"{name}.yaml"
    _, cluster = handed.identities()
    key = next(iter(handed.wanted_values()[namespace, name]))
    before = handed.objects.secret(namespace, name)
    _sops_set(file, key, "changed later", cluster.secret)
    try:
        handed.publish(changed)
        ask_flux(handed)
        assert ready(handed)
        until(lambda: any(str(Notice.GIT_CHANGED) in line["notices"] for line in status(handed)), "it is said", 120)
        told = [line["secret"] for line in status(handed) if line["notices"]]
        assert len(told) == 1 and all(line["state"] == "done" for line in status(handed))
        assert handed.objects.secret(namespace, name) == before
    finally:
        handed.publish()
        ask_flux(handed)
    until(lambda: not any(line["notices"] for line in status(handed)), "nothing is said any more", 120)


def _sops_set(file: Path, key: str, value: str, identity: str) -> None:
    field = "stringData" if "\nstringData:" in file.read_text() else "data"
    text = value if field == "stringData" else base64.b64encode(value.encode()).decode()
    subprocess.run(
        [sops_program(), "set", str(file), f'["{field}"]["{key}"]', json.dumps(text)],
        env={"SOPS_AGE_KEY": identity, "HOME": "/nonexistent"},
        check=True,
        capture_output=True,
    )


def test_the_trail_matches_vaults_own_audit_log(handed: RecordedStack, tmp_path: Path) -> None:
    root, _ = handed.identities()
    events = audit(handed)
    assert len({event.id for event in events}) == len(events)
    assert sum(event.why.startswith("handover") for event in events) == 13
    with broken_glass(handed.kubeconfig, tmp_path, root.secret) as vault:
        hashed = {
            event.id: str(vault.write("sys/audit-hash/file", {"input": event.id})["data"]["hash"]) for event in events
        }
    assert match_vault_log(events, audit_log(handed), hashed, timedelta(seconds=10)) == []


def audit_log(stack: RecordedStack) -> list[str]:
    """The lines of the file audit device of the first pod, oldest first; a full file was turned over."""
    (folder,) = volume_folders(stack, "audit-vault-0")
    parts = sorted(folder.glob("audit.log*"), reverse=True)
    return [line for part in parts for line in part.read_text().splitlines()]


def test_a_lost_trail_is_published_anew_and_never_guessed_at(handed: RecordedStack) -> None:
    """The ConfigMap is a copy for reading; until it is whole again the ledger says that it does not know."""
    path = f"/api/v1/namespaces/{ENGINE_NAMESPACE}/configmaps/audit-trail"
    before = (handed.objects.get(path) or {})["data"]
    command = [sys.executable, "-m", "cli.main", "ledger", "--cluster", handed.name]
    where = ["--repository", str(handed.fleet), "--kubeconfig", str(handed.kubeconfig)]

    def ledger() -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *where], cwd=CHECKOUT, capture_output=True, text=True, check=False)

    assert ledger().returncode == 0
    with away(handed, ENGINE):
        handed.objects.request("PATCH", path, {"data": {"events": ""}})
        refused = ledger()
        assert refused.returncode == 1 and not refused.stdout, "a trail that somebody has cut is not believed"
        handed.objects.request("DELETE", path)
        refused = ledger()
        assert refused.returncode == 1 and not refused.stdout, "no trail is no proof that Git has authority"
    until(lambda: (handed.objects.get(path) or {}).get("data") == before, "the engine publishes it anew", 120)
    assert ledger().returncode == 0


def test_tombstones_are_prepared_for_review(handed: RecordedStack, tmp_path: Path) -> None:
    checkout = tmp_path / "fleet"
    shutil.copytree(handed.fleet, checkout)
    place = ["--repository", str(checkout), "--cluster", handed.name, "--kubeconfig", str(handed.kubeconfig)]
    command = [sys.executable, "-m", "cli.main", "tombstone", *place]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "13 tombstones" in done.stdout
    assert (checkout / handed.intent_home / "tombstones.yaml").read_text().count("handover: ho-") == 13


def test_an_engine_that_is_away_stops_the_next_phase(handed: RecordedStack) -> None:
    """What it has found is published still, but before the run that would rise began to look."""
    if handed.reached() != 3:
        pytest.skip("the stack has risen already")
    until(lambda: all(c["status"] for c in conditions(handed).values()), "every condition holds", 120)
    # First the shorter time to wait: it is a change of the Deployment, which would bring the pod back.
    handed.set_up(3, readyTimeoutSeconds=30)
    with away(handed, ENGINE):
        run = handed.run(*UP, "--skip-preview", phase=4, readyTimeoutSeconds=30)
        run.refused(f"Job {ENGINE_NAMESPACE}/handover-evidence-", "before this look began")
        assert handed.reached() == 3 and handed.objects.get(f"/api/v1/namespaces/{ESO_NAMESPACE}") is None
        assert not pods(handed, ENGINE)
    # Phase 3 was not left. A failed look is on record, so the next run asks again.
    handed.set_up(3)
