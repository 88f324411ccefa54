"""Flux's real controllers with the rights that the program gives them: enough for their work, and not for Git's worst.

Controllers, API server and Git are processes on this machine; no node is needed.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from components.gitops.manifests import CONTROLLERS, custom_resource_definitions
from examples.make_fleet import git
from secret_authority.access.vault_tunnel import free_port
from tests.support.api_server import ApiServer, api_server, kubeconfig, programs_missing
from tests.support.fleets import Fleet, new_fleet
from tests.support.git_http import serving
from tests.support.recorded_inputs import HOME, run
from tests.support.waiting import until
from toolchain.node import layout
from toolchain.node.errors import NodeError

FLUX = "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux-system/kustomizations"
SOURCES = "/apis/source.toolkit.fluxcd.io/v1/namespaces/flux-system/gitrepositories"
RBAC, ADMISSION = "/apis/rbac.authorization.k8s.io/v1", "/apis/admissionregistration.k8s.io/v1"
VAULT = "/api/v1/namespaces/vault"
Object = dict[str, Any]


def missing() -> str:
    try:
        for name in CONTROLLERS:
            layout.binary(name)
    except NodeError as error:
        return str(error)
    return programs_missing()


pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())


class Flux:
    """The cluster as seen by its administrator, and the repository as seen by who can push."""

    def __init__(self, server: ApiServer, fleet: Fleet, logs: Path) -> None:
        self.server, self.fleet, self.logs = server, fleet, logs

    def push(self, file: str, text: str | None) -> str:
        """Commit a file (None: take it out). Returns the revision; Flux is asked to fetch it."""
        path = self.fleet.repository / file
        if text is None:
            path.unlink()
        else:
            path.write_text(text)
        git(self.fleet.repository, "add", "-A")
        git(self.fleet.repository, "commit", "-q", "-m", file)
        revision = git(self.fleet.repository, "rev-parse", "HEAD").strip()
        for place in (f"{SOURCES}/fleet", f"{FLUX}/namespaces"):
            note = {"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": revision}}}
            assert self.server.merge(place, note)[0] == 200
        return revision

    def status(self, name: str) -> Object:
        return dict(self.server.must("GET", f"{FLUX}/{name}").get("status", {}))

    def message(self, name: str) -> str:
        conditions = self.status(name).get("conditions", [])
        return next((str(c["message"]) for c in conditions if c["type"] == "Ready"), "")

    def applied(self, name: str, revision: str = "") -> bool:
        last = str(self.status(name).get("lastAppliedRevision", ""))
        return bool(last) and revision in last

    def forbidden(self) -> list[str]:
        """What the API server refused the controllers, by their logs."""
        return [
            line for file in self.logs.glob("*.log") for line in file.read_text().splitlines() if "forbidden" in line
        ]


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flux]:
    home = tmp_path_factory.mktemp("flux")
    fleet = new_fleet(home / "repository")
    registered = [entry["inputs"] for entry in run(HOME, home).values() if "apiVersion" in entry["inputs"]]
    with ExitStack() as stack:
        server = stack.enter_context(api_server(home, "RBAC"))
        url = stack.enter_context(serving(fleet.repository))
        install(server, registered, fleet)
        for controller in CONTROLLERS:
            stack.callback(stop, start(controller, server, home))
        spec = {"url": url, "ref": {"branch": "main"}, "interval": "1m", "secretRef": {"name": "git-ca"}}
        source = {"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository", "metadata": {"name": "fleet"}}
        server.must("POST", SOURCES, {**source, "spec": spec})
        for found in registered:
            if found["kind"] == "Kustomization":
                server.must("POST", FLUX, {**found, "metadata": {"name": found["metadata"]["name"]}})
        yield Flux(server, fleet, home)


def install(server: ApiServer, registered: list[Object], fleet: Fleet) -> None:
    """What the program registers of rights and policies, and the two Secrets that Flux reads."""
    for which in CONTROLLERS:
        for document in custom_resource_definitions(HOME / ".tools/manifests", which):
            server.must("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", document)
    bootstrap = fleet.read().catalogue.bootstrap_namespaces
    for name in ("flux-system", "secret-authority", "vault", *bootstrap):
        server.must("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    roots = {
        "ClusterRole": RBAC,
        "ClusterRoleBinding": RBAC,
        "Role": RBAC,
        "RoleBinding": RBAC,
        "ServiceAccount": "/api/v1",
    }
    roots |= {"ValidatingAdmissionPolicy": ADMISSION, "ValidatingAdmissionPolicyBinding": ADMISSION}
    for found in registered:
        kind, namespace = found["kind"], found["metadata"].get("namespace", "")
        if kind in roots and namespace in ("", "flux-system", *bootstrap):
            plural = f"{kind[:-1]}ies" if kind.endswith("Policy") else f"{kind}s"
            place = f"/namespaces/{namespace}" if namespace else ""
            server.must("POST", f"{roots[kind]}{place}/{plural.lower()}", found)
    for name, values in (("git-ca", {"ca.crt": ""}), ("sops-age", {"age.agekey": fleet.identity().as_file()})):
        body = {"metadata": {"name": name}, "stringData": values}
        server.must("POST", "/api/v1/namespaces/flux-system/secrets", body)


def start(controller: str, server: ApiServer, home: Path) -> subprocess.Popen[bytes]:
    """The controller with a token of its own account."""
    path = f"/api/v1/namespaces/flux-system/serviceaccounts/{controller}/token"
    token = server.must("POST", path, {"spec": {"expirationSeconds": 3600}})["status"]["token"]
    connection = kubeconfig(server, home / f"{controller}.kubeconfig", token)
    arguments = ["--watch-all-namespaces=false", f"--metrics-addr=127.0.0.1:{free_port()}"]
    arguments.append(f"--health-addr=127.0.0.1:{free_port()}")
    if controller == "source-controller":
        (home / "data").mkdir()
        artifacts = f"127.0.0.1:{free_port()}"
        arguments += [
            f"--storage-path={home / 'data'}",
            f"--storage-addr={artifacts}",
            f"--storage-adv-addr={artifacts}",
        ]
    else:
        arguments += ["--no-cross-namespace-refs=true", "--no-remote-bases=true"]
        arguments.append("--feature-gates=DisableConfigWatchers=true")
    environment = {**os.environ, "KUBECONFIG": str(connection.kubeconfig), "RUNTIME_NAMESPACE": "flux-system"}
    log = (home / f"{controller}.log").open("wb")
    return subprocess.Popen([str(layout.binary(controller)), *arguments], env=environment, stdout=log, stderr=log)


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait()


def test_the_narrowed_rights_are_enough(flux: Flux) -> None:
    for name in ("namespaces", "bootstrap-secrets"):
        until(lambda name=name: flux.applied(name), lambda name=name: f"{name}: {flux.message(name)}", 180)  # type: ignore[misc]
    secrets = flux.server.must("GET", "/api/v1/secrets")["items"]
    found = {(secret["metadata"]["namespace"], secret["metadata"]["name"]) for secret in secrets}
    assert {(secret.namespace, secret.name) for secret in flux.fleet.read().encrypted} <= found
    assert flux.server.request("GET", "/api/v1/namespaces/shop")[0] == 200
    assert flux.forbidden() == []


def test_two_commits_cannot_delete_vault(flux: Flux) -> None:
    """The first names the namespace, so that the second could prune it."""
    before = flux.server.must("GET", VAULT)
    labels = {"pod-security.kubernetes.io/enforce": "privileged"}
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "vault", "labels": labels}}
    file = "clusters/dev/namespaces/vault.yaml"
    flux.push(file, json.dumps(manifest))
    words = "namespace vault belongs to the platform: Git cannot change it"
    until(lambda: words in flux.message("namespaces"), lambda: flux.message("namespaces"), 120)
    assert flux.server.must("GET", VAULT) == before
    revision = flux.push(file, None)
    until(lambda: flux.applied("namespaces", revision), lambda: flux.message("namespaces"), 120)
    assert flux.server.must("GET", VAULT) == before


def test_a_namespace_that_leaves_git_stays(flux: Flux) -> None:
    file = "clusters/dev/namespaces/team.yaml"
    revision = flux.push(file, json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}}))
    until(lambda: flux.applied("namespaces", revision), lambda: flux.message("namespaces"), 120)
    revision = flux.push(file, None)
    until(lambda: flux.applied("namespaces", revision), lambda: flux.message("namespaces"), 120)
    found = flux.server.must("GET", "/api/v1/namespaces/team")
    assert "deletionTimestamp" not in found["metadata"]
