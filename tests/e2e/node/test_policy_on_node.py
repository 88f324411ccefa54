"""The pack on a real API server: a violation in the preview stops `up` before anything is made."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.policy.engine import REPOSITORY, Engine
from tests.support.policy.stacks import CANARY, R, k8s, secret

pytestmark = pytest.mark.cluster
NODE = "policy"


def toolchain(*arguments: str) -> str:
    command = [sys.executable, "-m", "toolchain.node", *arguments, "--name", NODE]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""


@pytest.fixture(scope="module")
def kubeconfig() -> Iterator[Path]:
    """A node of its own: these tests need an API server and nothing on it."""
    yield Path(toolchain("up"))
    toolchain("down")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return Engine(tmp_path_factory.mktemp("engine"))


SECRET = {"apiVersion": "v1", "kind": "Secret"}
NAMESPACE = k8s("v1", "Namespace", "policy-shop", "space")


def one(name: str) -> R:
    metadata = {"namespace": "policy-shop", "name": "db"}
    props = {**SECRET, "metadata": metadata, "stringData": {"password": secret(CANARY)}}
    return R("kubernetes:core/v1:Secret", name, props, depends_on=("space",))


def patch(key: str) -> R:
    """A second writer of the same object: server-side apply takes its key over."""
    metadata = {"namespace": "policy-shop", "name": "db", "annotations": {"pulumi.com/patchForce": "true"}}
    return R(
        "kubernetes:core/v1:SecretPatch",
        "second",
        {**SECRET, "metadata": metadata, "stringData": {key: secret(CANARY)}},
        depends_on=("first",),
    )


TWO = [NAMESPACE, one("first"), patch("password")]
TWIN = [NAMESPACE, one("first"), patch("username")]


def kubectl(kubeconfig: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["kubectl", "--kubeconfig", str(kubeconfig), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_preview_on_the_node_fails_and_its_twin_passes(engine: Engine, kubeconfig: Path) -> None:
    bad = engine.preview(TWO, kubeconfig=kubeconfig.read_text())
    assert "single-authority" in bad.violations["mandatory"], bad.text
    assert bad.code != 0
    assert CANARY not in bad.text
    good = engine.preview(TWIN, kubeconfig=kubeconfig.read_text())
    assert good.code == 0, good.text
    assert good.violations["mandatory"] == set()


def test_up_makes_nothing_when_its_preview_fails(engine: Engine, kubeconfig: Path) -> None:
    run = engine.up(TWO, kubeconfig=kubeconfig.read_text())
    assert run.code != 0
    assert "single-authority" in run.violations["mandatory"], run.text
    assert "not found" in kubectl(kubeconfig, "get", "namespace", "policy-shop").stderr


def test_up_makes_the_twin_and_then_refuses_the_second_writer(engine: Engine, kubeconfig: Path) -> None:
    made = engine.up(TWIN, kubeconfig=kubeconfig.read_text())
    assert made.code == 0, made.text
    keys = kubectl(kubeconfig, "-n", "policy-shop", "get", "secret", "db", "-o", "go-template={{len .data}}")
    assert keys.stdout == "2"
    before = kubectl(
        kubeconfig, "-n", "policy-shop", "get", "secret", "db", "-o", "jsonpath={.metadata.resourceVersion}"
    )
    refused = engine.up(TWO, kubeconfig=kubeconfig.read_text())
    assert refused.code != 0
    after = kubectl(
        kubeconfig, "-n", "policy-shop", "get", "secret", "db", "-o", "jsonpath={.metadata.resourceVersion}"
    )
    assert before.stdout == after.stdout != ""


def test_without_its_preview_the_violation_comes_too_late(engine: Engine, kubeconfig: Path) -> None:
    """Why --skip-preview is forbidden: the rule still speaks, but the second writer has written."""
    before = kubectl(
        kubeconfig, "-n", "policy-shop", "get", "secret", "db", "-o", "jsonpath={.metadata.resourceVersion}"
    )
    run = engine.up(TWO, "--skip-preview", kubeconfig=kubeconfig.read_text())
    assert run.code != 0
    assert "single-authority" in run.violations["mandatory"], run.text
    after = kubectl(
        kubeconfig, "-n", "policy-shop", "get", "secret", "db", "-o", "jsonpath={.metadata.resourceVersion}"
    )
    assert before.stdout != after.stdout
