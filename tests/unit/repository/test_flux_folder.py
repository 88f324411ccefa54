"""Names and namespaces of a folder, beside what kustomize itself builds of it."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from secret_authority.repository.bootstrap.flux_folder import read_folder

KUBECTL = shutil.which("kubectl")
pytestmark = pytest.mark.skipif(KUBECTL is None, reason="no kubectl")


def write(folder: Path, chance: random.Random, depth: int = 0) -> None:
    """A folder with a kustomization, a few Secrets and folders below it."""
    folder.mkdir(parents=True)
    resources: list[str] = []
    for number in range(chance.randrange(1, 3)):
        name = f"s{depth}{number}-{chance.randrange(1_000_000)}"
        documents = [
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": f"{name}-{part}"} | ({"namespace": "own"} if chance.random() < 0.7 else {}),
                "data": {"a": "YQ=="},
            }
            for part in range(chance.randrange(1, 3))
        ]
        (folder / f"{name}.yaml").write_text("---\n".join(yaml.safe_dump(document) for document in documents))
        resources.append(f"{name}.yaml")
    if depth < 2:
        for number in range(chance.randrange(3)):
            write(folder / f"f{number}", chance, depth + 1)
            resources.append(chance.choice((f"f{number}", f"./f{number}")))
    kustomization: dict[str, object] = {"resources": resources}
    for field, value in (("namespace", f"n{depth}"), ("namePrefix", f"p{depth}-"), ("nameSuffix", f"-x{depth}")):
        if chance.random() < 0.5:
            kustomization[field] = value
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))


@pytest.mark.parametrize("number", range(12))
def test_names_and_namespaces_are_those_of_kustomize(tmp_path: Path, number: int) -> None:
    assert KUBECTL is not None
    write(tmp_path / "folder", random.Random(number))  # noqa: S311
    done = subprocess.run([KUBECTL, "kustomize", str(tmp_path / "folder")], capture_output=True, check=True, text=True)
    built = {
        (document["metadata"].get("namespace"), document["metadata"]["name"])
        for document in yaml.safe_load_all(done.stdout)
    }
    reading = read_folder(tmp_path, "folder")
    assert reading.problems == []
    assert {(manifest.namespace, manifest.name) for manifest in reading.manifests} == built
