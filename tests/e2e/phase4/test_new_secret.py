"""README's first secret, by README's own words, on a stack at phase 4; then its consumer is removed.

With the same `up`: the entry of "Delivery" in docs/runbooks/drills.md, and the two commands of it, as written there.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.recorded_stack import RecordedStack
from tests.support.runbook import commands, section
from tests.support.waiting import until
from toolchain.local_stack import CHECKOUT

pytestmark = pytest.mark.cluster

DRILL = "delivery-drill"
CHAPTER = "## Your first secret in five minutes"


@pytest.fixture
def checkout(altered: RecordedStack, tmp_path: Path) -> Iterator[Path]:
    """A checkout of the team's repository. Afterwards Git is as it was."""
    with altered.copied_fleet(tmp_path) as folder:
        yield folder
    # Flux deletes none.
    altered.objects.request("DELETE", f"/api/v1/namespaces/{DRILL}")


def chapter() -> str:
    return (CHECKOUT / "README.md").read_text().partition(CHAPTER)[2].partition("\n## ")[0]


def entry() -> str:
    """The catalogue's new lines."""
    found = re.search(r"```yaml\n(.*?)```", chapter(), re.DOTALL)
    assert found is not None
    return found[1]


def encryption() -> str:
    """The command that writes the encrypted file."""
    found = re.search(r"^    \$ (printf .*?)\n    \$ ", chapter(), re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def drill_text() -> str:
    return section("drills.md", "Delivery")


def drill_blocks() -> list[str]:
    """The namespace and the entry."""
    found = re.findall(r"```yaml\n(.*?)```", drill_text(), re.DOTALL)
    assert len(found) == 2
    return found


def drilled(stack: RecordedStack, checkout: Path, folder: Path) -> None:
    """A person in two terminals."""
    program = folder / "secret-authority"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m cli.main "$@"\n')
    program.chmod(0o755)
    path = os.pathsep.join((str(folder), str(CHECKOUT / ".tools/bin"), os.environ["PATH"]))
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(CHECKOUT), "KUBECONFIG": str(stack.kubeconfig)}
    (watch,) = commands(drill_text(), "kubectl")
    (enter,) = commands(drill_text(), "head")
    enter = enter.replace("--cluster prod", f"--cluster {stack.name}")
    lines = folder / "watched"
    with (
        lines.open("w") as output,
        subprocess.Popen(["bash", "-c", f"exec {watch}"], env=environment, stdout=output) as watcher,
    ):
        try:
            for version in (1, 2):
                before = len(lines.read_text().splitlines())
                done = subprocess.run(
                    ["bash", "-euo", "pipefail", "-c", enter],
                    cwd=checkout,
                    env=environment,
                    text=True,
                    capture_output=True,
                    check=False,
                )
                assert done.returncode == 0, done.stderr
                assert f"version {version} written" in done.stdout and not done.stderr, done.stdout + done.stderr
                until(lambda: synced(lines, version, before), lambda: lines.read_text(), 60)  # noqa: B023
        finally:
            watcher.terminate()
    found = stack.objects.secret(DRILL, DRILL)
    assert found is not None and len(base64.b64decode(found["data"]["value"])) == 32


def synced(lines: Path, version: int, before: int) -> bool:
    """Whether one of the lines after the first so many has that version and another time than the line before it."""
    rows = [line.split() for line in lines.read_text().splitlines()]
    return any(
        row[0].startswith(f"{version}@") and row[1] not in ("<none>", "<nil>", last[1])
        for last, row in pairwise(rows[max(0, before - 1) :])
        if len(row) == len(last) == 2
    )


def ledger(stack: RecordedStack, checkout: Path) -> dict[str, str | None]:
    command = [sys.executable, "-m", "cli.main", "ledger", "--format", "json", "--cluster", stack.name]
    where = ["--repository", str(checkout), "--kubeconfig", str(stack.kubeconfig)]
    done = subprocess.run([*command, *where], cwd=CHECKOUT, text=True, capture_output=True, check=True)
    return {line["secret"]: line["authority"] for line in json.loads(done.stdout)}


def test_the_first_secret_of_the_readme_arrives_and_its_consumer_can_be_removed(
    altered: RecordedStack, checkout: Path, tmp_path: Path
) -> None:
    stack = altered
    catalogue = checkout / stack.intent_home / "catalogue.yaml"
    before = catalogue.read_text()
    namespace, entered = drill_blocks()
    added = entry() + entered
    catalogue.write_text(before + added)
    namespaces = checkout / stack.home / "namespaces/namespaces.yaml"
    namespaces.write_text(f"{namespaces.read_text()}---\n{namespace}")
    shell = encryption().replace("clusters/dev", stack.home)
    path = {**os.environ, **stack.environment()}
    subprocess.run(["bash", "-c", shell], cwd=checkout, env=path, check=True, capture_output=True)
    stack.publish(checkout)
    run = stack.reach(4, repositoryPath=str(checkout), vault=stack.present_vault()).passed()
    stack.record("up with a new secret at phase 4", run)

    arrived = stack.objects.secret("shop", "mailer")
    assert arrived is not None and len(base64.b64decode(arrived["data"]["SMTP_PASSWORD"])) == 32
    until(lambda: ledger(stack, checkout)["mailer"] == "vault", "the ledger knows the new secret", 60)
    consumed = stack.objects.secret("bootstrap-data", "mailer")
    assert consumed is not None and consumed["metadata"]["labels"]["secret-authority.dev/state"] == "consumed"
    assert not any(consumed.get("data", {}).values())

    drilled(stack, checkout, tmp_path)

    lines = [line for line in added.splitlines(True) if "consumers:" not in line and "- {namespace: " not in line]
    catalogue.write_text(before + "".join(lines))
    stack.publish(checkout)
    stack.set_up(4, repositoryPath=str(checkout), vault=stack.present_vault())
    until(lambda: stack.objects.secret("shop", "mailer") is None, "the Secret has gone with its consumer", 60)
    until(lambda: stack.objects.secret(DRILL, DRILL) is None, "the drill's too", 60)
    assert ledger(stack, checkout)["mailer"] == "vault"
