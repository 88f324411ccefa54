"""Two of three Vault pods lose their data: the lines of docs/runbooks/vault-storage.md, on a node, as written there."""

from __future__ import annotations

import os
import re
import subprocess
import time

import pytest

from tests.support.recorded_stack import RecordedStack
from tests.support.vault_pods import PODS, in_service, ready_pods
from tests.support.vault_way import broken_glass
from tests.support.waiting import until
from tests.support.whole_stack import Whole, whole_stack
from toolchain.local_stack import CHECKOUT

pytestmark = [
    pytest.mark.drill,
    pytest.mark.nightly,
    # A tunnel's thread may still write while its test has ended.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]

RUNBOOK = CHECKOUT / "docs/runbooks/vault-storage.md"
THREE = {"storageClass": "local", "replicas": 3, "protect": False}
CLAIMS = "/api/v1/namespaces/vault/persistentvolumeclaims"
LOST = ("vault-1", "vault-2")


def section(title: str) -> str:
    text = RUNBOOK.read_text()
    return text.partition(f"## {title}\n")[2].partition("\n## ")[0]


def commands(text: str) -> list[str]:
    """The indented lines, in order; one that ends with a backslash and the next are one."""
    shown = re.sub(r"\\\n\s*", "", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return [line.strip() for line in shown.splitlines() if line.lstrip().startswith("kubectl ")]


def files(text: str) -> dict[str, str]:
    """What the runbook has the reader write, by name: each block of JSON has the name of its file before it."""
    found = re.findall(r"`([a-z]+\.json)`:\n\n\s*```json\n(.+?)\n\s*```", text, re.DOTALL)
    return {name: content.strip() for name, content in found}


@pytest.fixture(scope="module")
def whole(expendable: RecordedStack, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """With three Vault pods."""
    expendable.set_up(4, vault=THREE)
    until(lambda: in_service(expendable, 3), "three pods in service", 180)
    return whole_stack(expendable, tmp_path_factory.mktemp("vault"))


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


def volumes(whole: Whole) -> dict[str, str]:
    """The uid of the claim of each pod's data that is bound."""
    items = (whole.stack.objects.get(CLAIMS) or {}).get("items", [])
    return {item["metadata"]["name"]: item["metadata"]["uid"] for item in items if item["status"]["phase"] == "Bound"}


def new_volumes(whole: Whole, before: dict[str, str]) -> None:
    """The pods of LOST have others than before. The node's volumes are made in advance: a released one is emptied."""

    def renewed() -> bool:
        whole.stack.run_toolchain("node", "recycle", "--name", whole.stack.name)
        found = volumes(whole)
        return all(found.get(f"data-{pod}") not in (None, before[f"data-{pod}"]) for pod in LOST)

    until(renewed, "new volumes", 180)


def voters(whole: Whole) -> set[str]:
    root, _ = whole.stack.identities()
    with broken_glass(whole.stack.kubeconfig, whole.folder, root.secret) as vault:
        state = (vault.read("sys/storage/raft/autopilot/state") or {})["data"]
    return set(state["voters"]) if state["healthy"] else set()


def test_the_runbook_brings_back_a_lost_quorum(whole: Whole) -> None:
    stack, text = whole.stack, section("The quorum is lost")
    lines = commands(text)
    (first,) = [number for number, line in enumerate(lines) if line == "kubectl -n vault delete pod/vault-0"]
    # Step 1 ends with that, step 3 is the rest.
    recover, join = lines[: first + 1], lines[first + 1 :]
    assert len(recover) == 3 and len(join) == 2
    for name, content in files(text).items():
        (whole.folder / name).write_text(content)
    survivor = (stack.objects.get(f"{PODS}/vault-0") or {})["metadata"]["uid"]
    before = volumes(whole)
    # Their data is gone: what comes back is empty, and joins nobody while there is no leader.
    for line in join:
        run(whole, line)
    new_volumes(whole, before)
    until(lambda: not ready_pods(stack), "no quorum, nobody is ready", 180)
    begun = time.monotonic()
    for line in recover:
        run(whole, line)
    # Step 2: the engine opens it, and it serves alone.
    until(lambda: len(ready_pods(stack) - {survivor}) >= 1, "the survivor serves", 240)
    # Step 3.
    before = volumes(whole)
    for line in join:
        run(whole, line)
    new_volumes(whole, before)
    until(lambda: in_service(stack, 3), "three pods in service", 240)
    # Step 4.
    until(lambda: voters(whole) == {"vault-0", *LOST}, "all three are voters", 180)
    stack.measured.append(("a lost quorum, from peers.json to three voters", time.monotonic() - begun))
    whole.nothing_is_lost()
