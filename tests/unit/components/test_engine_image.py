"""The engine opens Vault: its image is named by digest, unless no image is ever pulled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pulumi
import pytest

from components.kit.transformations import never_pull, pin_images
from components.settings.stack import Settings, read_settings
from components.settings.upstream_images import controller_image
from secret_authority.core.errors import InvalidInputError
from tests.fakes.pulumi import Recorder

DIGEST = f"@sha256:{'1' * 64}"


def read(tmp_path: Path, **fields: Any) -> Settings:
    for name in ("kubeconfig", "manifests"):
        (tmp_path / name).mkdir(exist_ok=True) if name == "manifests" else (tmp_path / name).touch()
    given = {
        "phase": "1",
        "cluster": "dev",
        "repositoryPath": str(tmp_path),
        "repositoryUrl": "https://git.example/fleet.git",
        "kubeconfig": str(tmp_path / "kubeconfig"),
        "manifests": str(tmp_path / "manifests"),
        **fields,
    }
    pulumi.runtime.set_mocks(Recorder(), project="secret-authority", stack="test")
    values = {k: v if isinstance(v, str) else json.dumps(v) for k, v in given.items()}
    pulumi.runtime.set_all_config({f"secret-authority:{name}": value for name, value in values.items()})
    return read_settings()


@pytest.mark.parametrize("phase", ["1", "2", "4"])
@pytest.mark.parametrize(
    "image",
    [
        "registry.example/engine:1.2",
        "registry.example/engine",
        "registry.example/engine@sha256:1234",
        f"registry.example/engine@sha512:{'1' * 64}",
        DIGEST,
    ],
)
def test_a_tag_alone_is_refused(tmp_path: Path, phase: str, image: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        read(tmp_path, phase=phase, engineImage=image)
    (problem,) = refused.value.problems
    assert problem.field == "secret-authority:engineImage" and "is named by a tag" in str(problem)
    assert "--digestfile" in problem.fix


@pytest.mark.parametrize(
    "path", [{"cataloguePath": "../c.yaml"}, {"bootstrapPaths": ["a", "/etc"]}, {"namespacesPath": "../../etc"}]
)
def test_a_path_outside_of_the_repository_is_refused(tmp_path: Path, path: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="is not a path inside of the repository"):
        read(tmp_path, **path)


def test_a_digest_is_taken_with_or_without_a_tag(tmp_path: Path) -> None:
    for name in ("registry.example:5000/engine", "registry.example/engine:1.2"):
        assert read(tmp_path, phase="4", engineImage=name + DIGEST).engine_image == name + DIGEST


def test_a_tag_is_taken_where_no_image_is_pulled(tmp_path: Path) -> None:
    found = read(tmp_path, phase="4", engineImage="engine:1", imagesOnNodes=True)
    assert found.images_on_nodes and found.engine_image == "engine:1"
    assert not read(tmp_path, phase="0", engineImage="engine:1").images_on_nodes, "phase 0 runs nothing"


def transformed(kind: str, spec: Any) -> Any:
    props = {"metadata": {"name": "a"}, "spec": spec}
    args = pulumi.ResourceTransformationArgs(cast(pulumi.Resource, None), kind, "n", props, pulumi.ResourceOptions())
    done = never_pull(args)
    return done and cast(dict[str, Any], done.props)["spec"]


def test_no_container_pulls() -> None:
    container = {"name": "c", "image": "i", "imagePullPolicy": "IfNotPresent", "env": [{"name": "image", "value": "x"}]}
    spec = {"replicas": 1, "template": {"spec": {"containers": [container], "initContainers": [dict(container)]}}}
    found = transformed("kubernetes:apps/v1:StatefulSet", spec)["template"]["spec"]
    for listed in ("containers", "initContainers"):
        assert found[listed] == [{**container, "imagePullPolicy": "Never"}]
    assert container["imagePullPolicy"] == "IfNotPresent", "what was given is not changed"
    assert transformed("kubernetes:core/v1:ConfigMap", spec) is None
    nested = transformed("kubernetes:batch/v1:CronJob", {"jobTemplate": {"spec": spec}})
    assert nested["jobTemplate"]["spec"]["template"]["spec"] == found


VAULT = controller_image("vault")


def test_upstreams_images_are_pulled_by_the_digests_that_are_given(tmp_path: Path) -> None:
    digest = DIGEST.removeprefix("@")
    assert read(tmp_path, imageDigests={VAULT: digest}).image_digests == {VAULT: digest}
    for wrong, says in (
        ({"vault": digest}, "vault is no image of this version. Fix: name one of"),
        ({VAULT: "1.2"}, "has no digest"),
        ([VAULT], "is not a mapping"),
    ):
        with pytest.raises(InvalidInputError, match="imageDigests") as refused:
            read(tmp_path, imageDigests=wrong)
        assert says in str(refused.value)


def test_a_pinned_image_keeps_its_tag_for_people() -> None:
    containers = [{"name": "vault", "image": VAULT}, {"name": "other", "image": "other:1"}]
    props = {"metadata": {"name": "a"}, "spec": {"template": {"spec": {"containers": containers}}}}
    kind, none = "kubernetes:apps/v1:Deployment", pulumi.ResourceOptions()
    args = pulumi.ResourceTransformationArgs(cast(pulumi.Resource, None), kind, "n", props, none)
    done = pin_images(args, {VAULT: "sha256:1"})
    assert done is not None
    found = cast(dict[str, Any], done.props)["spec"]["template"]["spec"]["containers"]
    assert [container["image"] for container in found] == [f"{VAULT}@sha256:1", "other:1"]
    assert containers[0]["image"] == VAULT, "what was given is not changed"
