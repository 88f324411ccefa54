"""What somebody else has in a cluster stops a run before its first change, with name, owner and what to do."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.gitops.cluster_identity import plant
from components.preflight.foreign_objects import refuse_foreign_objects
from secret_authority.access.kubeconfig import ClusterConnection
from secret_authority.clients.age import Identity
from secret_authority.core.errors import InvalidInputError
from secret_authority.core.phases import Phase
from secret_authority.repository.trust.root_of_trust import RootOfTrust

MINE, OLD, OTHER = (Identity.generate().recipient for _ in range(3))
TRUST = RootOfTrust.model_validate(
    {
        "apiVersion": "secret-authority.dev/v1",
        "kind": "RootOfTrust",
        "root": [{"holder": "example", "recipient": Identity.generate().recipient}],
        "clusters": [{"name": "dev", "recipient": MINE, "identity": "identity.age"}],
        "retired": [{"recipient": OLD, "retired": "2026-01-01", "reason": "leaked"}],
    }
)
LABELS = {"app.kubernetes.io/part-of": "secret-authority"}
SOPS = "/api/v1/namespaces/flux-system/secrets/sops-age"


class FakeCluster:
    """An API server that has `objects` (by path), refuses `hidden` paths, and notes every write."""

    def __init__(self, home: Path) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.hidden: set[str] = set()
        self.writes: list[tuple[str, str]] = []
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self, status: int, body: dict[str, Any]) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def do_GET(self) -> None:
                if self.path in cluster.hidden:
                    return self.answer(403, {"kind": "Status", "code": 403})
                if self.path in cluster.objects:
                    return self.answer(200, cluster.objects[self.path])
                return self.answer(404, {"kind": "Status", "code": 404})

            def write(self) -> None:
                length = int(self.headers["Content-Length"])
                body = json.loads(self.rfile.read(length))
                path = f"{self.path}/{body['metadata']['name']}" if self.command == "POST" else self.path
                if self.command == "POST" and path in cluster.objects:
                    return self.answer(409, {"kind": "Status", "code": 409})
                cluster.writes.append((self.command, path))
                cluster.objects[path] = body
                return self.answer(200, body)

            do_POST = do_PUT = do_PATCH = write

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        kubeconfig = home / "kubeconfig"
        server = {"cluster": {"server": f"http://127.0.0.1:{self._server.server_port}"}, "name": "c"}
        context = {"context": {"cluster": "c", "user": "u"}, "name": "c"}
        users = [{"name": "u", "user": {"token": "x"}}]
        config = {"clusters": [server], "contexts": [context], "users": users, "current-context": "c"}
        kubeconfig.write_text(yaml.safe_dump(config))
        self.connection = ClusterConnection(kubeconfig)

    def put(self, path: str, manager: str = "kubectl", **metadata: Any) -> None:
        fields = [{"manager": manager, "operation": "Apply"}]
        self.objects[path] = {"metadata": {"name": path.split("/")[-1], "managedFields": fields, **metadata}}

    def refuse(self, phase: Phase = Phase.CONSUMPTION) -> list[str]:
        """What the check says; it never writes."""
        try:
            refuse_foreign_objects(self.connection, phase, TRUST, "dev")
        except InvalidInputError as error:
            return [str(problem) for problem in error.problems]
        finally:
            assert self.writes == []
        return []

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[FakeCluster]:
    made = FakeCluster(tmp_path)
    yield made
    made.close()


def test_an_empty_cluster_is_free(cluster: FakeCluster) -> None:
    assert cluster.refuse() == []


def test_what_this_program_made_is_its_own(cluster: FakeCluster) -> None:
    for namespace in ("flux-system", "secret-authority", "vault", "external-secrets"):
        cluster.put(f"/api/v1/namespaces/{namespace}", labels=LABELS)
    crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gitrepositories.source.toolkit.fluxcd.io"
    cluster.put(crd, "pulumi-kubernetes-1a2b")
    controller = {
        "name": "source-controller",
        "namespace": "flux-system",
        "managedFields": [{"manager": "pulumi-kubernetes-1"}],
    }
    cluster.objects["/apis/apps/v1/deployments"] = {"items": [{"metadata": controller}]}
    cluster.put(SOPS, labels=LABELS, annotations={"secret-authority.dev/recipient": MINE})
    assert cluster.refuse() == []


@pytest.mark.parametrize(
    ("path", "manager", "metadata", "words"),
    [
        (
            "/api/v1/namespaces/flux-system",
            "flux",
            {"labels": {"app.kubernetes.io/part-of": "flux"}},
            "Namespace flux-system: exists and belongs to field manager flux",
        ),
        # A namespace that another Pulumi program made is not this one's.
        ("/api/v1/namespaces/vault", "pulumi-kubernetes-9", {}, "Namespace vault: exists and belongs to Pulumi"),
        (
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/kustomizations.kustomize.toolkit.fluxcd.io",
            "flux",
            {"labels": {"app.kubernetes.io/part-of": "flux"}},
            "kustomizations.kustomize.toolkit.fluxcd.io: exists and belongs to field manager flux",
        ),
        (
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/externalsecrets.external-secrets.io",
            "helm",
            {"annotations": {"meta.helm.sh/release-name": "eso"}},
            "externalsecrets.external-secrets.io: exists and belongs to Helm (release eso)",
        ),
        (
            "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/secret-authority-bootstrap-guard",
            "kubectl",
            {},
            "ValidatingAdmissionPolicy secret-authority-bootstrap-guard: exists and belongs to field manager kubectl",
        ),
        (SOPS, "kubectl-create", {}, "Secret flux-system/sops-age: holds a decryption identity that belongs to field"),
        (
            SOPS,
            "OpenAPI-Generator",
            {"labels": LABELS, "annotations": {"secret-authority.dev/recipient": OTHER}},
            f"holds the identity of {OTHER}, which root-of-trust.yaml does not name",
        ),
    ],
)
def test_what_somebody_else_made_is_named_with_its_owner_and_the_way_out(
    cluster: FakeCluster, path: str, manager: str, metadata: dict[str, Any], words: str
) -> None:
    cluster.put(path, manager, **metadata)
    (problem,) = cluster.refuse()
    assert words in problem and "Fix: " in problem


def test_controllers_of_others_are_found_wherever_they_run(cluster: FakeCluster) -> None:
    items = [
        {"metadata": {"name": "source-controller", "namespace": "gitops"}},
        {"metadata": {"name": "external-secrets", "namespace": "operators"}},
        {"metadata": {"name": "nginx", "namespace": "web"}},
    ]
    cluster.objects["/apis/apps/v1/deployments"] = {"items": items}
    flux, operator = sorted(cluster.refuse(), key=lambda text: "External" in text)
    assert "Deployment gitops/source-controller: is a running Flux" in flux
    assert "Deployment operators/external-secrets: is a running External Secrets" in operator
    assert len(cluster.refuse(Phase.GITOPS)) == 1, "External Secrets is nobody's trouble before phase 4"


def test_a_retired_identity_of_this_cluster_may_be_replaced(cluster: FakeCluster) -> None:
    cluster.put(SOPS, labels=LABELS, annotations={"secret-authority.dev/recipient": OLD})
    assert cluster.refuse() == []


def test_what_the_api_server_does_not_show_is_not_free(cluster: FakeCluster) -> None:
    cluster.hidden.add(SOPS)
    (problem,) = cluster.refuse()
    assert "Secret flux-system/sops-age: cannot be checked: the API server answers 403" in problem


def test_later_phases_are_not_looked_at_earlier(cluster: FakeCluster) -> None:
    cluster.put("/api/v1/namespaces/vault")
    assert cluster.refuse(Phase.BOOTSTRAP) == []
    assert len(cluster.refuse(Phase.RUNTIME_AUTHORITY)) == 1


def test_a_cluster_that_cannot_be_reached_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").touch()
    refuse_foreign_objects(ClusterConnection(tmp_path / "kubeconfig"), Phase.CONSUMPTION, TRUST, "dev")


def test_planting_never_replaces_an_identity_of_somebody_else(cluster: FakeCluster) -> None:
    cluster.put(SOPS, "kubectl-create")
    before = dict(cluster.objects)
    with pytest.raises(InvalidInputError, match="flux-system/sops-age: holds a decryption identity that belongs to"):
        plant(cluster.connection, "flux-system", Identity.generate())
    assert cluster.objects == before and cluster.writes == []


def test_planting_replaces_its_own_identity_and_nothing_newer(cluster: FakeCluster) -> None:
    annotations = {"secret-authority.dev/recipient": OLD}
    cluster.put(SOPS, labels=LABELS, annotations=annotations, resourceVersion="7")
    identity = Identity.generate()
    plant(cluster.connection, "flux-system", identity)
    found = cluster.objects[SOPS]
    assert found["metadata"]["annotations"] == {"secret-authority.dev/recipient": identity.recipient}
    assert found["metadata"]["resourceVersion"] == "7", "only the Secret that was judged is replaced"
