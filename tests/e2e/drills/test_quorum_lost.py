"""Two of three Vault pods lose their data: what docs/runbooks/vault-storage.md has one run, on a node, as written."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.consumer_secrets import consumer_secrets
from tests.support.recorded_stack import RecordedStack
from tests.support.runbook import commands, files, section
from tests.support.vault_pods import PODS, in_service, ready_pods
from tests.support.vault_way import broken_glass, has_leader, serves, vault_way
from tests.support.waiting import until
from tests.support.whole_stack import EVERY, Whole, whole_stack
from toolchain.local_stack import CHECKOUT

pytestmark = [
    pytest.mark.drill,
    pytest.mark.nightly,
    # A tunnel's thread may still write while its test has ended.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]

THREE = {"storageClass": "local", "replicas": 3, "protect": False}
CLAIMS = "/api/v1/namespaces/vault/persistentvolumeclaims"
LOST = ("vault-1", "vault-2")


@pytest.fixture(scope="module")
def whole(expendable: RecordedStack, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """With three Vault pods, all of them voters: one that is new does not vote, and the others may do without it."""
    expendable.set_up(4, vault=THREE)
    until(lambda: in_service(expendable, 3), "three pods in service", 180)
    whole = whole_stack(expendable, tmp_path_factory.mktemp("vault"))
    until(lambda: voters(whole) == {"vault-0", *LOST}, "all three are voters", 180)
    return whole


def run(whole: Whole, line: str) -> None:
    path = f"{CHECKOUT / '.tools/bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "KUBECONFIG": str(whole.stack.kubeconfig)}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", line],
        cwd=whole.folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def uid(stack: RecordedStack, path: str) -> str | None:
    """The uid of an object that is there and is not being deleted."""
    found = stack.objects.get(path)
    return None if found is None or "deletionTimestamp" in found["metadata"] else str(found["metadata"]["uid"])


def replaced(stack: RecordedStack, path: str, before: str | None) -> bool:
    return uid(stack, path) not in (None, before)


def offer_volumes(stack: RecordedStack) -> None:
    """The node's volumes are made in advance: a released one is emptied and offered again."""
    stack.run_toolchain("node", "recycle", "--name", stack.name)


def voters(whole: Whole) -> set[str]:
    root, _ = whole.stack.identities()
    with broken_glass(whole.stack.kubeconfig, whole.folder, root.secret) as vault:
        state = (vault.read("sys/storage/raft/autopilot/state") or {})["data"]
    return set(state["voters"]) if state["healthy"] else set()


def vaults_values(whole: Whole) -> Mapping[str, Any]:
    """What Vault itself has at each path that a consumer reads."""
    root, _ = whole.stack.identities()
    found = {}
    with broken_glass(whole.stack.kubeconfig, whole.folder, root.secret) as vault:
        for location in whole.versions:
            mount, _, path = location.partition("/")
            found[location] = (vault.read(f"{mount}/data/{path}") or {})["data"]["data"]
    return found


def test_the_runbook_brings_back_a_lost_quorum(whole: Whole, tmp_path: Path) -> None:
    stack, text = whole.stack, section("vault-storage.md", "The quorum is lost")
    lines, held = commands(text, "kubectl"), vaults_values(whole)
    assert held
    # Step 1 is the loss itself; step 2 the rest.
    lose, recover = lines[:2], lines[2:]
    assert len(recover) == 3
    for name, content in files(text).items():
        (whole.folder / name).write_text(content)
    survivor = f"{PODS}/vault-0"
    others = [f"{PODS}/{pod}" for pod in LOST] + [f"{CLAIMS}/data-{pod}" for pod in LOST]
    before = {path: uid(stack, path) for path in (survivor, *others)}
    for line in lose:
        run(whole, line)

    def lost() -> bool:
        offer_volumes(stack)
        return all(replaced(stack, path, before[path]) for path in others)

    until(lost, "pods with empty volumes", 180)
    with vault_way(stack.kubeconfig, tmp_path, "vault-0") as vault:
        until(lambda: not has_leader(vault), "without a quorum there is no leader", 120)
        until(lambda: not in_service(stack, 3), "that is noticed", 120)
        assert before[survivor] in ready_pods(stack), "a standby that has no leader is ready"
        assert consumer_secrets(stack, *EVERY) == whole.secrets
        begun = time.monotonic()
        for line in recover:
            run(whole, line)
        until(lambda: replaced(stack, survivor, before[survivor]) and serves(vault), "the survivor serves", 240)
    until(lambda: in_service(stack, 3), "three pods in service", 240)
    until(lambda: voters(whole) == {"vault-0", *LOST}, "all three are voters", 180)
    stack.measured.append(("a lost quorum, from peers.json to three voters", time.monotonic() - begun))
    assert vaults_values(whole) == held
    whole.nothing_is_lost()
