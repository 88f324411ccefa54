"""Drill of docs/runbooks/rebuild.md at phase 4, and the production shape: three Vault pods from nothing in one run.

The cluster is lost with Vault and everything in it. Git and the root key bring back what was born in Git; the
ledger says which values have to be entered again. At the end `destroy` takes all of it away.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from secret_authority.contract.names import VAULT_NAMESPACE
from secret_authority.core.catalogue.schema import SecretClass
from tests.support.consumer_secrets import Secrets, consumer_secrets
from tests.support.recorded_stack import DESTROY, UP, RecordedStack, Run
from tests.support.vault_way import broken_glass
from tests.support.waiting import until
from tests.support.workloads import away
from toolchain.local_stack import CHECKOUT

pytestmark = pytest.mark.drill

PRODUCTION = {"storageClass": "local", "replicas": 3, "protect": False}
STATEFUL_SET = f"/apis/apps/v1/namespaces/{VAULT_NAMESPACE}/statefulsets/vault"
REFRESH = ("refresh", "--yes", "--non-interactive")
LEFT_OUT = "What is in Vault is left out"


def ready_vaults(stack: RecordedStack) -> int:
    return int(((stack.objects.get(STATEFUL_SET) or {}).get("status") or {}).get("readyReplicas") or 0)


def guarded(stack: RecordedStack, *arguments: str) -> Run:
    """`secret-authority pulumi`, as on the local node's production shape."""
    return stack.run(*arguments, phase=4, vault=PRODUCTION, program=[sys.executable, "-m", "cli.main", "pulumi"])


@pytest.fixture(scope="module")
def before(expendable: RecordedStack) -> Secrets:
    """What came from Git and was in consumer Secrets before the cluster was lost."""
    stack = expendable
    held = consumer_secrets(stack, SecretClass.BOOTSTRAP)
    assert len(held) >= 10
    # What was rotated meanwhile was in Vault alone: it begins again with Git's value, and so does its database.
    first = stack.wanted_values()["bootstrap-data", "orders-db"]
    held["shop", "orders-db"] = {"DB_USER": first["username"], "DB_PASSWORD": first["password"]}
    stack.replace_cluster()
    assert stack.reached() is None
    return held


def test_nothing_is_changed_until_somebody_says_that_it_is_lost(stack: RecordedStack, before: Secrets) -> None:
    said = ("has built its cluster to phase 4 (consumption)", "`pulumi state delete --all --force`")
    stack.run(*UP, phase=4, root=True).refused(*said)
    guarded(stack, *UP, "--refresh").refused("Vault cannot be reached")
    assert stack.reached() is None


def test_everything_of_git_comes_back_in_one_run_with_three_vault_pods(stack: RecordedStack, before: Secrets) -> None:
    stack.query("state", "delete", "--all", "--yes")
    run = stack.run(*UP, phase=4, root=True, vault=PRODUCTION, timeout=900)
    stack.record("phase 0 to 4 in one run, three Vault pods", run.passed())
    assert stack.reached() == 4 and ready_vaults(stack) == 3
    assert consumer_secrets(stack, SecretClass.BOOTSTRAP) == before


def test_the_ledger_says_what_has_to_be_entered_again(stack: RecordedStack, before: Secrets) -> None:
    command = [sys.executable, "-m", "cli.main", "ledger", "--format", "json", "--cluster", stack.name]
    where = ["--repository", str(stack.fleet), "--kubeconfig", str(stack.kubeconfig)]

    def authorities() -> dict[str, str | None]:
        done = subprocess.run([*command, *where], cwd=CHECKOUT, text=True, capture_output=True, check=True)
        return {entry["secret"]: entry["authority"] for entry in json.loads(done.stdout)}

    # Generated again in the cluster; the engine publishes its first value within a minute.
    until(lambda: authorities()["session-key"] == "vault", "the internal secret is in the ledger", 120)
    found = authorities()
    assert found["orders-db"] == "vault"
    assert found["payment-api"] is None, "issued elsewhere: a person enters it again"


def test_a_second_run_changes_nothing(stack: RecordedStack, before: Secrets) -> None:
    run = stack.set_up(4, "--expect-no-changes", vault=PRODUCTION)
    stack.record("up without a change, three Vault pods", run)


@pytest.mark.parametrize(
    "arguments", [REFRESH, pytest.param((*UP, "--refresh", "--expect-no-changes"), marks=pytest.mark.nightly)]
)
def test_a_refresh_reads_vault_too_and_finds_nothing_changed(
    stack: RecordedStack, before: Secrets, arguments: tuple[str, ...]
) -> None:
    run = guarded(stack, *arguments).passed()
    assert LEFT_OUT not in run.output and "unchanged" in run.output
    assert not (CHECKOUT / f".local/{stack.name}/vault-session/token").exists()


@pytest.mark.nightly
def test_a_refresh_finds_what_was_deleted_in_vault(stack: RecordedStack, before: Secrets, tmp_path: Path) -> None:
    role = "auth/kubernetes/role/consumer-shop"
    resource = "AuthBackendRole::runtime-authority-configuration-consumer-shop"
    root, _ = stack.identities()
    with broken_glass(stack.kubeconfig, tmp_path, root.secret) as vault:
        vault.delete(role)
        guarded(stack, *REFRESH).passed()
        assert resource not in stack.query("stack", "export")
        guarded(stack, *UP).passed()
        assert vault.read(role) is not None
    assert resource in stack.query("stack", "export")


def test_a_refresh_goes_on_without_vault(stack: RecordedStack, before: Secrets) -> None:
    with away(stack, STATEFUL_SET):
        assert LEFT_OUT in guarded(stack, *REFRESH).passed().output


@pytest.mark.nightly
def test_and_reads_it_again_when_it_is_back(stack: RecordedStack, before: Secrets) -> None:
    assert LEFT_OUT not in guarded(stack, *REFRESH).passed().output
    guarded(stack, *UP, "--expect-no-changes").passed()


def test_fewer_vault_pods_are_refused_before_the_first_change(stack: RecordedStack, before: Secrets) -> None:
    version = (stack.objects.get(STATEFUL_SET) or {})["metadata"]["generation"]
    run = stack.run(*UP, phase=4, vault={**PRODUCTION, "replicas": 1})
    run.refused("1 is less than the 3 pods that run: the rest would have no quorum")
    assert (stack.objects.get(STATEFUL_SET) or {})["metadata"]["generation"] == version


@pytest.mark.parametrize(
    ("phase", "title"), [(3, "runtime authority"), pytest.param(2, "bootstrap", marks=pytest.mark.nightly)]
)
def test_a_lower_phase_is_refused(stack: RecordedStack, before: Secrets, phase: int, title: str) -> None:
    run = stack.run(*UP, phase=phase, vault=PRODUCTION)
    run.refused("has reached phase 4 (consumption)", f"phase {phase} ({title}) is refused")
    assert stack.reached() == 4


def test_destroy_leaves_nothing(stack: RecordedStack, before: Secrets) -> None:
    stack.record("destroy from phase 4", stack.run(*DESTROY, phase=4, vault=PRODUCTION, timeout=600).passed())
    until(lambda: not stack.left(), lambda: f"everything is gone but {stack.left()}", 120)
