"""Every Kubernetes object that the program registers is one that a real API server accepts, field by field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pulumi.runtime import rpc

from components.consumption.external_secrets_manifests import custom_resource_definitions
from components.gitops.manifests import CONTROLLERS
from components.gitops.manifests import custom_resource_definitions as flux_definitions
from tests.support.api_server import ApiServer, api_server, programs_missing
from tests.support.recorded_inputs import HOME, run
from tests.support.waiting import until

pytestmark = pytest.mark.skipif(bool(programs_missing()), reason=programs_missing())

Object = dict[str, Any]
# What others depend on is created, everything else is a dry run. Upstream's CRDs are taken from their own files: the
# form in which inputs are compared (tests/support/recorded_inputs.py) has not all of their fields.
FIRST = ("Namespace", "CustomResourceDefinition")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with api_server(tmp_path_factory.mktemp("api")) as found:
        yield found


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> list[Object]:
    found = run(HOME, tmp_path_factory.mktemp("registered"))
    return [_plain(entry["inputs"]) for entry in found.values() if "apiVersion" in entry["inputs"]]


def _plain(value: Any) -> Any:
    """Without Pulumi's wrapping of secret values, and with whole numbers as such."""
    if isinstance(value, dict):
        if rpc._special_sig_key in value:
            return _plain(value["value"])
        return {key: _plain(below) for key, below in value.items()}
    if isinstance(value, str):
        return value.replace("-<digest>", "-digest")  # in names
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return [_plain(below) for below in value] if isinstance(value, list) else value


def upstream_definitions() -> list[Object]:
    manifests = HOME / ".tools/manifests"
    flux = [document for which in CONTROLLERS for document in flux_definitions(manifests, which)]
    return [*flux, *custom_resource_definitions(manifests)]


def collection(server: ApiServer, found: Object) -> str:
    """The API path of the object's collection."""
    version, kind = found["apiVersion"], found["kind"]
    root = f"/api/{version}" if "/" not in version else f"/apis/{version}"
    served = server.must("GET", root)["resources"]
    (resource,) = [entry for entry in served if entry["kind"] == kind and "/" not in entry["name"]]
    namespace = f"/namespaces/{found['metadata']['namespace']}" if resource["namespaced"] else ""
    return f"{root}{namespace}/{resource['name']}"


def test_a_real_api_server_accepts_every_object(server: ApiServer, objects: list[Object]) -> None:
    namespaces = {found["metadata"].get("namespace") for found in objects} - {None}
    declared = {found["metadata"]["name"] for found in objects if found["kind"] == "Namespace"}
    for name in namespaces - declared:
        server.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    for document in upstream_definitions():
        server.must("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", document)
    for found in objects:
        if found["kind"] == "Namespace":
            server.must("POST", "/api/v1/namespaces?fieldValidation=Strict", found)
    groups = {
        found["apiVersion"]
        for found in objects
        if "toolkit" in found["apiVersion"] or "external-s" in found["apiVersion"]
    }
    until(lambda: all(server.request("GET", f"/apis/{group}")[0] == 200 for group in groups), "the CRDs are served", 60)
    refused = []
    for found in objects:
        if found["kind"] not in FIRST:
            path = f"{collection(server, found)}?dryRun=All&fieldValidation=Strict"
            status, text = server.request("POST", path, found)
            if status != 201:
                refused.append(f"{found['kind']} {found['metadata']['name']}: {json.loads(text)['message']}")
    assert refused == []
    assert len(objects) > 150
