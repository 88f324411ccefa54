"""The check for somebody else's objects on a real API server: it reads metadata, and refuses before it changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.consumption.external_secrets_manifests import custom_resource_definitions
from components.gitops.cluster_identity import plant
from components.preflight.foreign_objects import refuse_foreign_objects
from components.settings.stack import HOME
from secret_authority.access.kubeconfig import ClusterConnection
from secret_authority.clients.age import Identity
from secret_authority.contract.names import MANAGED_BY
from secret_authority.core.errors import InvalidInputError
from secret_authority.core.phases import Phase
from secret_authority.repository.trust.root_of_trust import RootOfTrust
from tests.support.api_server import ApiServer, api_server, kubeconfig, programs_missing

pytestmark = pytest.mark.skipif(bool(programs_missing()), reason=programs_missing())

IDENTITY = Identity.generate()
TRUST = RootOfTrust.model_validate(
    {
        "apiVersion": "secret-authority.dev/v1",
        "kind": "RootOfTrust",
        "root": [{"holder": "example", "recipient": Identity.generate().recipient}],
        "clusters": [{"name": "dev", "recipient": IDENTITY.recipient, "identity": "identity.age"}],
    }
)
SECRETS = "/api/v1/namespaces/flux-system/secrets"
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
DEPLOYMENT = {"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with api_server(tmp_path_factory.mktemp("api")) as found:
        yield found


@pytest.fixture(scope="module")
def connection(server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> ClusterConnection:
    return kubeconfig(server, tmp_path_factory.mktemp("connection") / "kubeconfig")


def refusals(connection: ClusterConnection) -> list[str]:
    try:
        refuse_foreign_objects(connection, Phase.CONSUMPTION, TRUST, "dev")
    except InvalidInputError as error:
        return [str(problem) for problem in error.problems]
    return []


def test_an_empty_cluster_is_free(connection: ClusterConnection) -> None:
    assert refusals(connection) == []


def test_a_cluster_of_this_program_is_its_own(server: ApiServer, connection: ClusterConnection) -> None:
    for namespace in ("flux-system", "secret-authority"):
        server.must("POST", "/api/v1/namespaces", {"metadata": {"name": namespace, "labels": MANAGED_BY}})
        plant(connection, namespace, IDENTITY)
    apply: dict[str, Any] = {**DEPLOYMENT, "apiVersion": "apps/v1", "kind": "Deployment"}
    apply["metadata"] = {"name": "source-controller", "namespace": "flux-system"}
    path = "/apis/apps/v1/namespaces/flux-system/deployments/source-controller"
    server.must("PATCH", f"{path}?fieldManager=pulumi-kubernetes-1a2b", apply, kind="application/apply-patch+yaml")
    assert refusals(connection) == []
    plant(connection, "flux-system", IDENTITY)


def test_what_somebody_else_made_is_named(server: ApiServer, connection: ClusterConnection) -> None:
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    server.must("POST", f"{crds}?fieldManager=helm", custom_resource_definitions(HOME / ".tools/manifests")[0])
    server.must("POST", "/api/v1/namespaces?fieldManager=kubectl-create", {"metadata": {"name": "vault"}})
    path = "/apis/apps/v1/namespaces/default/deployments?fieldManager=helm"
    server.must("POST", path, {**DEPLOYMENT, "metadata": {"name": "external-secrets"}})
    server.must("DELETE", f"{SECRETS}/sops-age")
    theirs = {"metadata": {"name": "sops-age"}, "stringData": {"age.agekey": "AGE-SECRET-KEY-theirs"}}
    before = server.must("POST", f"{SECRETS}?fieldManager=kubectl-create", theirs)
    said = "\n".join(refusals(connection))
    for words in (
        "CustomResourceDefinition externalsecrets.external-secrets.io: exists and belongs to field manager helm",
        "Namespace vault: exists and belongs to field manager kubectl-create",
        "Deployment default/external-secrets: is a running External Secrets that belongs to field manager helm",
        "Secret flux-system/sops-age: holds a decryption identity that belongs to field manager kubectl-create",
    ):
        assert words in said
    assert "theirs" not in said
    with pytest.raises(InvalidInputError, match="sops-age: holds a decryption identity"):
        plant(connection, "flux-system", IDENTITY)
    assert server.must("GET", f"{SECRETS}/sops-age") == before


def test_a_reader_without_rights_is_told_so(server: ApiServer, tmp_path: Path) -> None:
    """Nothing is taken for free because it cannot be seen."""
    connection = kubeconfig(server, tmp_path / "kubeconfig")
    text = connection.kubeconfig.read_text().replace("integration-test", "unknown")
    connection.kubeconfig.write_text(text)
    assert all("cannot be checked: the API server answers 401" in problem for problem in refusals(connection))
    assert refusals(connection)
