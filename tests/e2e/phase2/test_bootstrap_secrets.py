"""Layer 3 on a real cluster: what is found when Git or the cluster was changed behind sops, and who may use what."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from secret_authority.contract.names import BOOTSTRAP_EVIDENCE, CLASS_LABEL, ENGINE_NAMESPACE
from tests.support.flux import ask_flux
from tests.support.pod_secret_uses import PAUSE, RESTRICTED, SECRET, USES
from tests.support.recorded_stack import RecordedStack
from tests.support.waiting import until
from toolchain.node.api import ApiError

pytestmark = pytest.mark.cluster

NAMESPACE = "bootstrap-data"


def secret_path(namespace: str, name: str) -> str:
    return f"/api/v1/namespaces/{namespace}/secrets/{name}"


# Gathers the evidence anew although Git has not changed.
NEW_EVIDENCE = ("--replace", f"**Job::{BOOTSTRAP_EVIDENCE}")


@pytest.fixture
def branch(built: RecordedStack, tmp_path: Path) -> Iterator[Path]:
    """A copy of the fleet to change and to publish. Afterwards the cluster is back at the fleet."""
    with built.copied_fleet(tmp_path) as folder:
        yield folder
    ask_flux(built)
    built.set_up(2)


def test_every_secret_has_its_labels_and_nothing_else(built: RecordedStack) -> None:
    for namespace, name in built.wanted_values():
        secret = built.objects.secret(namespace, name)
        assert secret is not None
        assert secret["metadata"]["labels"][CLASS_LABEL] == "bootstrap"
        assert "sops" not in secret


def test_a_tampered_file_that_flux_applies_is_found(built: RecordedStack, branch: Path) -> None:
    """Flux does not check the MAC. The evidence in the cluster does, and names the file."""
    file = branch / built.home / "bootstrap/edge-tls.yaml"
    text = file.read_text()
    assert "    name: edge-tls\n" in text
    file.write_text(text.replace("    name: edge-tls\n", "    name: edge-tls\n    labels: {added: in-the-clear}\n"))
    built.publish(branch)
    ask_flux(built)
    reached = built.objects.secret("bootstrap-edge", "edge-tls")
    assert reached is not None
    assert reached["metadata"]["labels"]["added"] == "in-the-clear"

    built.reach(2, "--skip-preview", repositoryPath=branch).refused(
        "edge-tls: the cluster identity cannot decrypt the file, or its MAC does not fit",
        f"({built.home}/bootstrap/edge-tls.yaml)",
    )


def test_a_value_changed_by_hand_is_found(built: RecordedStack) -> None:
    wanted = built.wanted_values()
    other = {"data": {"password": base64.b64encode(b"changed by hand").decode()}}
    built.objects.request("PATCH", secret_path(NAMESPACE, SECRET), other)
    try:
        built.reach(2, "--skip-preview", *NEW_EVIDENCE).refused(
            "orders-db: the Secret does not hold what Git's ciphertext decrypts to",
            f"(Secret {NAMESPACE}/{SECRET})",
        )
    finally:
        ask_flux(built)
    assert built.cluster_values() == wanted
    built.set_up(2)


def test_a_secret_deleted_by_hand_comes_back(built: RecordedStack) -> None:
    wanted = built.wanted_values()
    built.objects.request("DELETE", secret_path(NAMESPACE, SECRET))
    assert built.objects.secret(NAMESPACE, SECRET) is None
    ask_flux(built)
    assert built.cluster_values() == wanted


def test_new_evidence_asks_no_one(built: RecordedStack) -> None:
    run = built.reach(2, *NEW_EVIDENCE).passed()
    assert "13 of 13 bootstrap Secrets match Git" in run.output


def test_evidence_names_no_value(built: RecordedStack) -> None:
    record = built.objects.get(f"/api/v1/namespaces/{ENGINE_NAMESPACE}/configmaps/{BOOTSTRAP_EVIDENCE}")
    assert record is not None
    findings = json.loads(record["data"]["evidence"])["findings"]
    assert sorted(finding[0] for finding in findings) == sorted(name for _, name in built.wanted_values())
    assert {finding[1] for finding in findings} == {"matches"}


# Who may use a bootstrap Secret: no pod.


@pytest.fixture
def unrestricted(built: RecordedStack) -> Iterator[None]:
    """A namespace that takes every kind of volume, so that the guard and not another rule answers.

    The API server's check of pods sees a changed label a moment after the change is stored.
    """
    level = "pod-security.kubernetes.io/enforce"
    path = f"/api/v1/namespaces/{NAMESPACE}"
    found = built.objects.get(path)
    assert found is not None
    before = found["metadata"]["labels"].get(level)
    built.objects.request("PATCH", path, {"metadata": {"labels": {level: "privileged"}}})
    until(lambda: takes_host_volumes(built), f"{NAMESPACE} takes every kind of volume")
    yield
    built.objects.request("PATCH", path, {"metadata": {"labels": {level: before}}})
    until(lambda: not takes_host_volumes(built), f"{NAMESPACE} is restricted again")


def takes_host_volumes(stack: RecordedStack) -> bool:
    """Whether a pod with a volume of the host, and without any Secret, would pass."""
    try:
        create(stack, pod("host", volumes=[{"name": "v", "hostPath": {"path": "/srv"}}]))
    except ApiError as error:
        assert "violates PodSecurity" in str(error)
        return False
    return True


def pod(name: str, **spec: Any) -> dict[str, Any]:
    """A pod with one container, which `spec` may extend."""
    given = spec.pop("containers", [{}])[0]
    container = {"name": "main", "image": PAUSE, "securityContext": RESTRICTED, **given}
    return {"metadata": {"name": name}, "spec": {"containers": [container], **spec}}


def create(stack: RecordedStack, manifest: dict[str, Any], *, namespace: str = NAMESPACE) -> dict[str, Any]:
    """What the API server would answer. Nothing is stored."""
    return stack.objects.request("POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All", manifest)


def assert_refused(error: ApiError) -> None:
    assert error.status == 403
    assert f"this pod uses a bootstrap secret of namespace {NAMESPACE}" in str(error)
    assert "workloads read Secrets that External Secrets materialises" in str(error)


@pytest.mark.usefixtures("unrestricted")
@pytest.mark.parametrize("use", USES)
def test_a_pod_that_uses_a_bootstrap_secret_is_refused(built: RecordedStack, use: str) -> None:
    with pytest.raises(ApiError) as refusal:
        create(built, pod("user", **json.loads(json.dumps(USES[use]))))
    assert_refused(refusal.value)


@pytest.mark.parametrize("use", ["env", "envFrom", "volume", "projected volume", "imagePullSecrets"])
def test_a_pod_that_uses_another_secret_passes(built: RecordedStack, use: str) -> None:
    """The same use with a Secret that the catalogue does not name; also a name that begins alike."""
    for other in ("other", f"{SECRET}-of-mine"):
        spec = json.loads(json.dumps(USES[use]).replace(f'"{SECRET}"', f'"{other}"'))
        assert create(built, pod("user", **spec))["metadata"]["name"] == "user"


def test_the_same_name_elsewhere_is_another_secret(built: RecordedStack) -> None:
    assert create(built, pod("user", **USES["envFrom"]), namespace="default")


def test_an_ephemeral_container_is_refused_too(built: RecordedStack) -> None:
    """First an ordinary pod, which passes, then a debug container in it that reads the Secret."""
    objects, path = built.objects, f"/api/v1/namespaces/{NAMESPACE}/pods"
    objects.request("POST", path, pod("ordinary"))
    try:
        debug = {"name": "debug", "image": PAUSE, "securityContext": RESTRICTED}
        harmless = {"spec": {"ephemeralContainers": [debug]}}
        add = f"{path}/ordinary/ephemeralcontainers?dryRun=All"
        assert objects.request("PATCH", add, harmless)["spec"]["ephemeralContainers"]
        reading = {"spec": {"ephemeralContainers": [{**debug, "envFrom": [{"secretRef": {"name": SECRET}}]}]}}
        with pytest.raises(ApiError) as refusal:
            objects.request("PATCH", add, reading)
        assert_refused(refusal.value)
    finally:
        objects.request("DELETE", f"{path}/ordinary?gracePeriodSeconds=0")
