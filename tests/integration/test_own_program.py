"""The project's own program passes its own pack, at the last phase, with the cluster away."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from examples.make_fleet import make_fleet
from tests.support.policy.engine import PACK, REPOSITORY, TOOLS
from tests.support.policy.stacks import KUBECONFIG
from tests.support.pulumi_home import pulumi_home

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(not (TOOLS / "pulumi").exists(), reason="the pulumi program is not built: run `make tools`"),
    pytest.mark.skipif(not (REPOSITORY / ".tools" / "manifests").exists(), reason="run `make tools`"),
]


def preview(tmp_path: Path, phase: int) -> subprocess.CompletedProcess[str]:
    """A preview of the program with the pack, over the repository in `tmp_path`."""
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    config = {
        "pulumi:disable-default-providers": ["*"],
        "secret-authority:phase": str(phase),
        "secret-authority:cluster": "dev",
        "secret-authority:repositoryPath": str(tmp_path / "fleet"),
        "secret-authority:repositoryUrl": "https://git.example.org/fleet.git",
        "secret-authority:kubeconfig": str(tmp_path / "kubeconfig"),
        "secret-authority:demo": "true",
        "secret-authority:engineImage": f"registry.example.org/engine@sha256:{'0' * 64}",
    }
    (tmp_path / "Pulumi.dev.yaml").write_text(yaml.safe_dump({"config": config}))
    shutil.copyfile(REPOSITORY / "Pulumi.yaml", tmp_path / "Pulumi.yaml")
    (tmp_path / "state").mkdir()
    environment = {
        "PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "PULUMI_HOME": pulumi_home(tmp_path),
        "PULUMI_BACKEND_URL": f"file://{tmp_path / 'state'}",
        "PULUMI_CONFIG_PASSPHRASE": "for these tests",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "SECRET_AUTHORITY_ROOT_IDENTITY": str(tmp_path / "root.age"),
    }

    def pulumi(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        command = [str(TOOLS / "pulumi"), *arguments, "--non-interactive"]
        return subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=300
        )

    assert pulumi("stack", "init", "dev", cwd=tmp_path).returncode == 0
    settings = ["--stack", "dev", "--config-file", str(tmp_path / "Pulumi.dev.yaml")]
    return pulumi("preview", *settings, "--policy-pack", str(PACK), cwd=REPOSITORY)


def test_all_layers_pass(tmp_path: Path) -> None:
    make_fleet(tmp_path / "fleet", tmp_path / "root.age")
    run = preview(tmp_path, 4)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "[mandatory]" not in run.stdout
    assert "secret-authority@v" in run.stdout
    assert "to create" in run.stdout


def test_a_wrong_entry_of_the_catalogue_stops_itself_only(tmp_path: Path) -> None:
    make_fleet(tmp_path / "fleet", tmp_path / "root.age")
    catalogue = tmp_path / "fleet/secret-authority/dev/catalogue.yaml"
    text = catalogue.read_text()
    assert text.count("postgres, consumer: billing}") == 1
    catalogue.write_text(text.replace("postgres, consumer: billing}", "postgres, consumer: a/b}"))
    run = preview(tmp_path, 3)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "[mandatory]" not in run.stdout and "to create" in run.stdout
    said = " ".join(run.stdout.split())
    assert "billing-db is left out" in said and "secrets[billing-db].vault.consumer: is not a valid name" in said
