"""Drill of docs/runbooks/restore.md: a cluster is lost with everything in it, and comes back with what Git never had.

Git, one root identity and a folder with a snapshot are left. Each value that workloads read is compared, also one that
a person had entered and replaced, and one that was rotated in Vault. Seconds of each step and the age of the snapshot
are printed.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
import yaml

from secret_authority.core.restore.rebuild import WITHOUT
from secret_authority.core.snapshots.naming import BundleName
from secret_authority.repository.trust.share_export import export_file
from tests.support.consumer_secrets import Secrets, consumer_secrets
from tests.support.recorded_stack import UP, RecordedStack
from tests.support.waiting import until
from tests.support.whole_stack import EVERY
from toolchain.local_stack import CHECKOUT

pytestmark = [pytest.mark.drill, pytest.mark.nightly]

ENTERED, ROTATED = "payment-api", "session-key"


@dataclass(frozen=True)
class Lost:
    """What workloads had, and what is left of the cluster."""

    stack: RecordedStack
    before: Secrets
    snapshot: str


def command(stack: RecordedStack, verb: str, *arguments: str, given: str | None = None) -> str:
    """`secret-authority`, as a person runs it; its output."""
    where = ["--kubeconfig", str(stack.kubeconfig)]
    if verb not in ("cluster", "rotate", "audit"):
        where += ["--repository", str(stack.fleet), "--cluster", stack.name]
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", verb, *arguments, *where],
        cwd=CHECKOUT,
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    stack.transcript += [done.stdout, done.stderr]
    assert done.returncode == 0, done.stdout + done.stderr
    stack.measured.append((f"secret-authority {' '.join((verb, *arguments[:1]))}", time.monotonic() - begun))
    return done.stdout


def values(stack: RecordedStack, name: str) -> tuple[bytes, ...]:
    """The values that workloads have of a secret, in the order of its consumers."""
    found = consumer_secrets(stack, *EVERY)
    return tuple(text for (_, secret), data in found.items() if secret == name for text in data.values())


@pytest.fixture(scope="module")
def lost(expendable: RecordedStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lost]:
    stack, store = expendable, tmp_path_factory.mktemp("store")
    (store / "secret-authority-store").touch()
    settings = stack.fleet / stack.intent_home / "snapshots.yaml"
    exported = stack.fleet / export_file(stack.name)
    text = {"apiVersion": "secret-authority.dev/v1", "kind": "Snapshots", "store": {"folder": str(store)}}
    settings.write_text(yaml.safe_dump(text))
    try:
        stack.set_up(4)
        rotated = values(stack, ROTATED)
        command(stack, "enter", ENTERED, "--replace", given="issued-before-the-loss")
        command(stack, "rotate", ROTATED, "--why", "drill", "--wait", "0")
        until(lambda: values(stack, ROTATED) not in ((), rotated), "the rotated value has arrived", 120)
        until(lambda: b"issued-before-the-loss" in values(stack, ENTERED), "the entered value has arrived", 120)
        command(stack, "cluster", "export-shares", stack.name, "--repository", str(stack.fleet))
        said = command(stack, "snapshot", "now")
        before = consumer_secrets(stack, *EVERY)
        stack.replace_cluster()
        name = said.partition(":")[0]
        age = datetime.now(UTC) - BundleName.parse(name).taken_at
        stack.measured.append(("age of the snapshot when the new cluster was there", age.total_seconds()))
        stack.query("state", "delete", "--all", "--yes")
        yield Lost(stack, before, name)
    finally:
        settings.unlink(missing_ok=True)
        exported.unlink(missing_ok=True)


def test_no_empty_vault_is_built_over_one_that_was_saved(lost: Lost) -> None:
    run = lost.stack.run(*UP, phase=4, root=True)
    run.refused("1 snapshots of one that it had", lost.snapshot, WITHOUT)
    assert lost.stack.reached() is None


def test_vault_is_built_and_waits(lost: Lost) -> None:
    run = lost.stack.run(*UP, phase=4, root=True, restore=lost.snapshot, timeout=900).passed()
    lost.stack.record("phase 0 to a Vault that waits for its snapshot", run)
    assert f"waits for snapshot {lost.snapshot}" in run.output
    assert lost.stack.reached() == 2 and not consumer_secrets(lost.stack, *EVERY)


def test_the_snapshot_is_restored(lost: Lost) -> None:
    stack = lost.stack
    opens = ["--root-identity", str(stack.root_identity), "--vault", str(CHECKOUT / ".tools/bin/vault")]
    said = command(stack, "restore", "--snapshot", lost.snapshot, *opens, "--confirm", stack.name)
    assert f"Vault holds snapshot {lost.snapshot}" in said
    print(said)


def test_every_value_is_back_at_phase_4(lost: Lost) -> None:
    run = lost.stack.run(*UP, phase=4, root=True, restore=lost.snapshot, timeout=900)
    lost.stack.record("from a restored Vault to phase 4", run.passed())
    assert lost.stack.reached() == 4
    until(
        lambda: consumer_secrets(lost.stack, *EVERY) == lost.before,
        lambda: f"these differ: {_different(lost)}",
        120,
    )
    assert b"issued-before-the-loss" in values(lost.stack, ENTERED)


def _different(lost: Lost) -> list[str]:
    now = consumer_secrets(lost.stack, *EVERY)
    return sorted("/".join(place) for place in lost.before.keys() | now if lost.before.get(place) != now.get(place))


def test_the_restore_is_on_record(lost: Lost) -> None:
    said = command(lost.stack, "audit")
    (line,) = [line for line in said.splitlines() if "restored from a snapshot" in line]
    assert lost.snapshot in line
