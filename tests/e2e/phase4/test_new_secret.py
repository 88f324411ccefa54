"""README's first secret, by README's own words, on a stack at phase 4; then its consumer is removed."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.recorded_stack import RecordedStack
from tests.support.waiting import until
from toolchain.local_stack import CHECKOUT

pytestmark = pytest.mark.cluster

CHAPTER = "## Your first secret in five minutes"


@pytest.fixture
def checkout(altered: RecordedStack, tmp_path: Path) -> Iterator[Path]:
    """A checkout of the team's repository. Afterwards Git is as it was."""
    with altered.copied_fleet(tmp_path) as folder:
        yield folder


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


def ledger(stack: RecordedStack, checkout: Path) -> dict[str, str | None]:
    command = [sys.executable, "-m", "cli.main", "ledger", "--format", "json", "--cluster", stack.name]
    where = ["--repository", str(checkout), "--kubeconfig", str(stack.kubeconfig)]
    done = subprocess.run([*command, *where], cwd=CHECKOUT, text=True, capture_output=True, check=True)
    return {line["secret"]: line["authority"] for line in json.loads(done.stdout)}


def test_the_first_secret_of_the_readme_arrives_and_its_consumer_can_be_removed(
    altered: RecordedStack, checkout: Path
) -> None:
    stack = altered
    catalogue = checkout / stack.intent_home / "catalogue.yaml"
    before = catalogue.read_text()
    catalogue.write_text(before + entry())
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

    lines = [line for line in entry().splitlines(True) if "consumers:" not in line and "namespace: shop" not in line]
    catalogue.write_text(before + "".join(lines))
    stack.publish(checkout)
    stack.set_up(4, repositoryPath=str(checkout), vault=stack.present_vault())
    until(lambda: stack.objects.secret("shop", "mailer") is None, "the Secret has gone with its consumer", 60)
    assert ledger(stack, checkout)["mailer"] == "vault"
