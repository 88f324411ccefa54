"""What the admission policies refuse to the platform's own accounts, and what they let pass: a real API server."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from components.consumption.adoption_guard import adoption_guard
from components.consumption.engine_guard import GUARD as ENGINE_GUARD
from components.consumption.external_secrets_manifests import custom_resource_definitions
from components.gitops.guard import NAMESPACES, TOKENS
from components.kit.admission import AdmissionGuard
from components.settings.stack import HOME
from secret_authority.contract.names import CONSUMPTION_ACCOUNT, ESO_NAMESPACE, SECRET_VERSIONS, VERSION_ANNOTATION
from tests.support.api_server import ApiServer, api_server, programs_missing
from tests.support.waiting import until

pytestmark = pytest.mark.skipif(bool(programs_missing()), reason=programs_missing())

FLUX = "system:serviceaccount:flux-system:reconcile-namespaces"
FLUX_SECRETS = "system:serviceaccount:flux-system:reconcile-bootstrap-secrets"
ESO = f"system:serviceaccount:{ESO_NAMESPACE}:external-secrets-shop"
ENGINE = f"system:serviceaccount:secret-authority:{CONSUMPTION_ACCOUNT}"
ADMISSION = "/apis/admissionregistration.k8s.io/v1"
NAMESPACE_PATH = "/api/v1/namespaces"
ENFORCE = "pod-security.kubernetes.io/enforce"
PLATFORM = ["flux-system", "vault", "secret-authority", "external-secrets", "kube-system", "kube-public"]
API = "external-secrets.io/v1"
OBJECTS = f"/apis/{API}/namespaces/shop"
OWNER = {"apiVersion": API, "kind": "ExternalSecret", "name": "db", "uid": "1", "controller": True}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with api_server(tmp_path_factory.mktemp("api")) as found:
        for name in ("flux-system", "vault", "secret-authority", "external-secrets", "shop"):
            found.must("POST", NAMESPACE_PATH, {"metadata": {"name": name, "labels": {ENFORCE: "restricted"}}})
        for document in custom_resource_definitions(HOME / ".tools/manifests"):
            found.must("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", document)
        guards = (NAMESPACES, TOKENS, adoption_guard(ESO_NAMESPACE), ENGINE_GUARD)
        for guard in guards:
            install(found, guard)
        until(lambda: all(in_force(found, guard) for guard in guards), "the policies are in force", 60)
        yield found


def install(server: ApiServer, guard: AdmissionGuard) -> None:
    metadata = {"name": guard.name}
    server.must("POST", f"{ADMISSION}/validatingadmissionpolicies", {"metadata": metadata, "spec": guard.spec()})
    binding = {"policyName": guard.name, "validationActions": ["Deny"]}
    server.must("POST", f"{ADMISSION}/validatingadmissionpolicybindings", {"metadata": metadata, "spec": binding})


def in_force(server: ApiServer, guard: AdmissionGuard) -> bool:
    """The API server has compiled the policy: a request that it must refuse is refused."""
    tries: dict[str, tuple[str, str, dict[str, Any], str]] = {
        NAMESPACES.name: ("POST", f"{NAMESPACE_PATH}?dryRun=All", {"metadata": {"name": "kube-probe"}}, FLUX),
        TOKENS.name: ("POST", f"{NAMESPACE_PATH}/shop/secrets?dryRun=All", token_secret(), FLUX_SECRETS),
        adoption_guard(ESO_NAMESPACE).name: ("POST", f"{NAMESPACE_PATH}/shop/secrets?dryRun=All", secret(), ESO),
    }
    if guard.name not in tries:
        return True
    method, path, body, user = tries[guard.name]
    return server.request(method, path, body, user=user)[0] == 403


def token_secret() -> dict[str, Any]:
    annotations = {"kubernetes.io/service-account.name": "default"}
    return {
        "metadata": {"name": "token", "annotations": annotations, "ownerReferences": [OWNER]},
        "type": "kubernetes.io/service-account-token",
    }


def secret(**metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": "db", **metadata}, "stringData": {"a": "b"}}


def refused(answer: tuple[int, str], *words: str) -> None:
    status, text = answer
    assert status == 403, text
    assert all(word in text for word in words), text


@pytest.mark.parametrize("name", PLATFORM)
def test_git_changes_no_namespace_of_the_platform(server: ApiServer, name: str) -> None:
    path = f"{NAMESPACE_PATH}/{name}"
    apply = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"a": "b"}}}
    words = f"namespace {name} belongs to the platform", "remove it from the folder of namespaces"
    refused(server.merge(path, {"metadata": {"labels": {"a": "b"}}}, FLUX), *words)
    refused(
        server.request(
            "PATCH", f"{path}?fieldManager=f&force=true", apply, user=FLUX, kind="application/apply-patch+yaml"
        ),
        *words,
    )
    # Kubernetes itself keeps its own, with words of its own.
    refused(server.request("DELETE", path, user=FLUX), *(() if name.startswith("kube-") else words))
    assert server.request("GET", path)[0] == 200
    assert server.merge(path, {"metadata": {"labels": {"a": "b"}}})[0] == 200, "an administrator may"


def test_git_creates_no_namespace_of_the_platform(server: ApiServer) -> None:
    refused(server.request("POST", NAMESPACE_PATH, {"metadata": {"name": "kube-other"}}, user=FLUX), "kube-other")


def test_git_deletes_no_namespace_at_all(server: ApiServer) -> None:
    server.must("POST", NAMESPACE_PATH, {"metadata": {"name": "team"}}, user=FLUX)
    refused(server.request("DELETE", f"{NAMESPACE_PATH}/team", user=FLUX), "Git deletes no namespace")


@pytest.mark.parametrize(
    ("level", "status"), [("privileged", 403), ("baseline", 201), ("restricted", 201), (None, 201)]
)
def test_pod_security_of_a_new_namespace(server: ApiServer, level: str | None, status: int) -> None:
    name = f"new-{level or 'none'}"
    labels = {ENFORCE: level} if level else {}
    body = {"metadata": {"name": name, "labels": {"team": "a", **labels}}}
    assert server.request("POST", NAMESPACE_PATH, body, user=FLUX)[0] == status


@pytest.mark.parametrize(
    ("labels", "allowed"),
    [
        ({ENFORCE: "privileged"}, False),
        ({ENFORCE: "baseline"}, False),
        ({ENFORCE: None}, False),
        ({f"{ENFORCE}-version": "v1.0"}, False),
        ({f"{ENFORCE}-version": "latest"}, True),
        ({"pod-security.kubernetes.io/warn": "baseline"}, True),
        ({"team": "b"}, True),
        ({ENFORCE: "restricted"}, True),
    ],
)
def test_pod_security_of_a_namespace_that_is_there(server: ApiServer, labels: dict[str, Any], allowed: bool) -> None:
    answer = server.merge(f"{NAMESPACE_PATH}/shop", {"metadata": {"labels": labels}}, FLUX)
    assert answer[0] == (200 if allowed else 403), answer[1]


def test_git_may_raise_pod_security_and_administrators_set_what_they_want(server: ApiServer) -> None:
    path = f"{NAMESPACE_PATH}/legacy"
    server.must("POST", NAMESPACE_PATH, {"metadata": {"name": "legacy", "labels": {ENFORCE: "privileged"}}})
    assert server.merge(path, {"metadata": {"labels": {"a": "b"}}}, FLUX)[0] == 200, "what is set may stay"
    assert server.merge(path, {"metadata": {"labels": {ENFORCE: "restricted"}}}, FLUX)[0] == 200


@pytest.mark.parametrize("user", [FLUX_SECRETS, ESO, "system:serviceaccount:secret-authority:secret-authority-engine"])
def test_no_account_of_the_platform_mints_the_token_of_another(server: ApiServer, user: str) -> None:
    path = f"{NAMESPACE_PATH}/shop/secrets"
    refused(server.request("POST", path, token_secret(), user=user), "token of an")
    assert server.request("POST", f"{path}?dryRun=All", token_secret())[0] == 201, "an administrator may"


def test_external_secrets_creates_its_own_secrets_only(server: ApiServer) -> None:
    path = f"{NAMESPACE_PATH}/shop/secrets"
    refused(server.request("POST", path, secret(), user=ESO), "no ExternalSecret as its controlling owner")
    other = secret(ownerReferences=[{**OWNER, "kind": "Deployment", "apiVersion": "apps/v1"}])
    refused(server.request("POST", path, other, user=ESO), "no ExternalSecret as its controlling owner")
    server.must("POST", path, secret(ownerReferences=[OWNER]), user=ESO)
    assert server.merge(f"{path}/db", {"stringData": {"a": "c"}}, ESO)[0] == 200
    refused(server.merge(f"{path}/db", {"metadata": {"ownerReferences": None}}, ESO), "controlling owner")


def test_external_secrets_adopts_nothing(server: ApiServer) -> None:
    path = f"{NAMESPACE_PATH}/shop/secrets"
    server.must("POST", path, {**secret(), "metadata": {"name": "foreign"}})
    adopt = {"metadata": {"ownerReferences": [OWNER]}, "stringData": {"a": "c"}}
    refused(server.merge(f"{path}/foreign", adopt, ESO), "may not adopt it")


CONTAINER = {"name": "app", "image": "app:1", "env": [{"name": "A", "value": "b"}]}
DEPLOYMENT = {
    "metadata": {"name": "app", "labels": {"app": "app"}},
    "spec": {
        "selector": {"matchLabels": {"app": "app"}},
        "template": {
            "metadata": {"labels": {"app": "app"}, "annotations": {"team": "a"}},
            "spec": {"containers": [CONTAINER]},
        },
    },
}
MARK = {SECRET_VERSIONS: "db=1"}


@pytest.fixture(scope="module")
def deployment(server: ApiServer) -> str:
    path = "/apis/apps/v1/namespaces/shop/deployments"
    server.must("POST", path, DEPLOYMENT)
    # The policy takes effect some moments after it was created.
    until(
        lambda: server.merge(f"{path}/app?dryRun=All", {"spec": {"replicas": 0}}, ENGINE)[0] == 403, "it is guarded", 60
    )
    return f"{path}/app"


def test_the_engine_restarts_a_workload(server: ApiServer, deployment: str) -> None:
    patch = {"metadata": {"annotations": MARK}, "spec": {"template": {"metadata": {"annotations": MARK}}}}
    status, text = server.merge(deployment, patch, ENGINE)
    assert status == 200, text
    assert server.merge(deployment, {"metadata": {"annotations": {SECRET_VERSIONS: "db=2"}}}, ENGINE)[0] == 200


@pytest.mark.parametrize("kind", ["statefulsets", "daemonsets"])
def test_the_engine_restarts_every_kind_of_workload(server: ApiServer, deployment: str, kind: str) -> None:
    """The API server itself counts the templates of a DaemonSet in an annotation, in the same request."""
    path = deployment.replace("deployments", kind)
    server.must("POST", path.removesuffix("/app"), DEPLOYMENT)
    patch = {"metadata": {"annotations": MARK}, "spec": {"template": {"metadata": {"annotations": MARK}}}}
    status, text = server.merge(path, patch, ENGINE)
    assert status == 200, text
    for other in ({"metadata": {"annotations": {"team": "b"}}}, {"spec": {"template": {"spec": {"hostPID": True}}}}):
        refused(server.merge(path, other, ENGINE), "the engine of consumption changes")


@pytest.mark.parametrize(
    "patch",
    [
        {"spec": {"replicas": 3}},
        {"spec": {"paused": True}},
        {"spec": {"template": {"spec": {"containers": [{**CONTAINER, "image": "evil:1"}]}}}},
        {"spec": {"template": {"spec": {"serviceAccountName": "admin"}}}},
        {"spec": {"template": {"spec": {"volumes": [{"name": "s", "secret": {"secretName": "other"}}]}}}},
        {"spec": {"template": {"metadata": {"annotations": {"team": "b"}}}}},
        {"spec": {"template": {"metadata": {"annotations": {"team": None}}}}},
        {"spec": {"template": {"metadata": {"labels": {"extra": "b"}}}}},
        {"metadata": {"annotations": {"team": "b"}}},
        {"metadata": {"labels": {"app": "b"}}},
        {"metadata": {"finalizers": ["a/b"]}},
        {"metadata": {"ownerReferences": [OWNER]}},
    ],
)
def test_the_engine_changes_nothing_else_of_a_workload(
    server: ApiServer, deployment: str, patch: dict[str, Any]
) -> None:
    refused(server.merge(deployment, patch, ENGINE), "the engine of consumption changes")
    assert server.merge(f"{deployment}?dryRun=All", patch)[0] == 200, "an administrator may"


STORE = {
    "apiVersion": API,
    "kind": "SecretStore",
    "metadata": {"name": "data"},
    "spec": {"provider": {"vault": {"server": "https://vault:8200", "caBundle": "YQ==", "auth": {}}}},
}


@pytest.fixture(scope="module")
def store(server: ApiServer) -> str:
    until(lambda: server.request("GET", f"{OBJECTS}/secretstores")[0] == 200, "the CRD is served", 30)
    server.must("POST", f"{OBJECTS}/secretstores", STORE)
    return f"{OBJECTS}/secretstores/data"


def test_the_engine_changes_the_ca_of_a_store_and_nothing_else(server: ApiServer, store: str) -> None:
    status, text = server.merge(store, {"spec": {"provider": {"vault": {"caBundle": "Yg=="}}}}, ENGINE)
    assert status == 200, text
    assert server.merge(store, {"metadata": {"annotations": {VERSION_ANNOTATION: "1"}}}, ENGINE)[0] == 200
    for change in ({"server": "https://evil:8200"}, {"path": "other"}, {"auth": {"tokenSecretRef": {"name": "x"}}}):
        refused(server.merge(store, {"spec": {"provider": {"vault": change}}}, ENGINE), "the CA certificates")
    refused(server.merge(store, {"spec": {"refreshInterval": 5}}, ENGINE), "the CA certificates")


def test_the_engine_annotates_a_store_of_another_kind(server: ApiServer, store: str) -> None:
    foreign = copy.deepcopy(STORE)
    foreign["metadata"] = {"name": "foreign"}
    foreign["spec"] = {"provider": {"fake": {"data": []}}}
    server.must("POST", f"{OBJECTS}/secretstores", foreign)
    path = f"{OBJECTS}/secretstores/foreign"
    assert server.merge(path, {"metadata": {"annotations": {VERSION_ANNOTATION: "1"}}}, ENGINE)[0] == 200


def test_the_engine_changes_annotations_of_an_external_secret_only(server: ApiServer, store: str) -> None:
    body = {
        "apiVersion": API,
        "kind": "ExternalSecret",
        "metadata": {"name": "db"},
        "spec": {"secretStoreRef": {"name": "data"}, "data": [{"secretKey": "a", "remoteRef": {"key": "k"}}]},
    }
    server.must("POST", f"{OBJECTS}/externalsecrets", body)
    path = f"{OBJECTS}/externalsecrets/db"
    assert server.merge(path, {"metadata": {"annotations": {VERSION_ANNOTATION: "1"}}}, ENGINE)[0] == 200
    refused(server.merge(path, {"spec": {"refreshInterval": "5s"}}, ENGINE), "no specification")
    refused(server.merge(path, {"metadata": {"annotations": {"other": "1"}}}, ENGINE), "no other metadata")
