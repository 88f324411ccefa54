"""Layer 5 on a real node: values arrive, follow Vault within seconds, and stay when anything is away.

The tests walk one stack at phase 4 and put back what they break.
"""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from secret_authority.core.digest import keyed_digest
from tests.support.recorded_stack import RecordedStack, Run
from tests.support.vault_way import broken_glass, serves
from tests.support.waiting import until
from tests.support.workloads import away, scale, steady
from toolchain.local_stack import CHECKOUT
from toolchain.node.api import ApiError

pytestmark = pytest.mark.cluster

SHOP = "/api/v1/namespaces/shop"
ESO = "/apis/external-secrets.io/v1/namespaces/shop"
ENGINE = "secret-authority"
APPS = "/apis/apps/v1/namespaces"
VAULT = f"{APPS}/vault/statefulsets/vault"
# One for each consumer namespace.
CONTROLLERS = f"{APPS}/external-secrets/deployments/external-secrets"


class Consuming:
    """The stack at phase 4 and what the tests ask of it."""

    def __init__(self, stack: RecordedStack) -> None:
        self.stack, self.objects = stack, stack.objects

    def up(self, *more: str) -> Run:
        """`pulumi up` at phase 4."""
        return self.stack.reach(4, *more)

    def secret(self, name: str, namespace: str = "shop") -> dict[str, bytes] | None:
        found = self.objects.secret(namespace, name)
        return {k: base64.b64decode(v) for k, v in (found.get("data") or {}).items()} if found else None

    def everything(self) -> dict[tuple[str, str], tuple[str, dict[str, bytes]]]:
        """Uid and content of every Secret that External Secrets made."""
        found: dict[tuple[str, str], tuple[str, dict[str, bytes]]] = {}
        for namespace in ("shop", "reports", "data", "edge"):
            selector = "labelSelector=reconcile.external-secrets.io/managed=true"
            listed = self.objects.get(f"/api/v1/namespaces/{namespace}/secrets?{selector}") or {}
            for item in listed["items"]:
                data = {k: base64.b64decode(v) for k, v in (item.get("data") or {}).items()}
                found[namespace, item["metadata"]["name"]] = (item["metadata"]["uid"], data)
        return found

    def enter(self, value: str, *options: str, name: str = "payment-api") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cli.main", "enter", "--repository", str(self.stack.fleet)]
        done = subprocess.run(
            [*command, "--cluster", self.stack.name, "--kubeconfig", str(self.stack.kubeconfig), *options, name],
            cwd=CHECKOUT,
            input=value,
            text=True,
            capture_output=True,
            check=False,
        )
        self.stack.transcript += [done.stdout, done.stderr]
        return done

    def put(self, value: str) -> None:
        """A new version of payment-api, whether it was entered before or not."""
        done = self.enter(value)
        if done.returncode == 2:
            done = self.enter(value, "--replace")
        assert done.returncode == 0, done.stderr

    def payment(self) -> bytes | None:
        return (self.secret("payment-api") or {}).get("API_KEY")

    def status(self) -> dict[str, Any]:
        found = self.objects.get(f"/api/v1/namespaces/{ENGINE}/configmaps/consumption-status") or {}
        return {key: json.loads(text) for key, text in (found.get("data") or {}).items()}

    def ready(self, path: str) -> str:
        """The Ready condition of a custom object: its status, else "none"."""
        conditions = ((self.objects.get(path) or {}).get("status") or {}).get("conditions") or []
        return next((str(c["status"]) for c in conditions if c["type"] == "Ready"), "none")

    def pods(self, namespace: str, selector: str) -> list[dict[str, Any]]:
        found = self.objects.get(f"/api/v1/namespaces/{namespace}/pods?labelSelector={selector}") or {}
        return [pod for pod in found["items"] if "deletionTimestamp" not in pod["metadata"]]

    def vault_in_service(self) -> bool:
        return steady(self.stack, VAULT, 1)

    def proof(self) -> dict[str, str]:
        """The last line that the demo workload printed."""
        pods = [p for p in self.pods("shop", "app=fingerprint") if p["status"]["phase"] == "Running"]
        if not pods:
            return {}
        lines = self.objects.text(f"{SHOP}/pods/{pods[-1]['metadata']['name']}/log").decode().splitlines()
        proofs = [json.loads(line) for line in lines if line.startswith("{") and "hmac-sha256:" in line]
        return proofs[-1] if proofs else {}


@pytest.fixture(scope="module")
def consuming(complete: RecordedStack) -> Consuming:
    made = Consuming(complete)
    made.put(f"first-{secrets.token_hex(8)}")
    until(lambda: made.payment() is not None, "the entered value has arrived", 30)
    return made


@pytest.fixture
def kept(consuming: Consuming) -> Iterator[dict[tuple[str, str], tuple[str, dict[str, bytes]]]]:
    """What the consumer Secrets hold before a test; afterwards it is still all there."""
    before = consuming.everything()
    assert len(before) == 15
    yield before
    until(consuming.vault_in_service, "Vault is in service again", 120)
    assert consuming.everything() == before


def test_every_consumer_holds_what_git_said_before_the_handover(consuming: Consuming) -> None:
    wanted = consuming.stack.wanted_values()
    assert consuming.secret("orders-db") == {
        "DB_USER": wanted["bootstrap-data", "orders-db"]["username"],
        "DB_PASSWORD": wanted["bootstrap-data", "orders-db"]["password"],
    }
    assert consuming.secret("edge-tls", "edge") == wanted["bootstrap-edge", "edge-tls"], "many lines"
    assert consuming.secret("broker-keystore", "reports") == wanted["bootstrap-messaging", "broker-keystore"], "bytes"
    assert consuming.secret("orders-db-endpoint") == {"DB_HOST": b"orders-db.data.svc", "DB_PORT": b"5432"}
    born = consuming.secret("session-key")
    assert born is not None and len(born["SESSION_KEY"]) == 43


def test_the_demo_workload_proves_that_it_reads_these_values(consuming: Consuming) -> None:
    def proved() -> bool:
        key = (consuming.secret("session-key") or {})["SESSION_KEY"]
        names = [name for namespace, name in consuming.everything() if namespace == "shop"]
        return consuming.proof() == {name: keyed_digest(key, consuming.secret(name) or {}) for name in names}

    until(proved, "the fingerprints fit the Secrets", 120)
    said = json.dumps(consuming.proof())
    assert not any(value.decode() in said for value in (consuming.secret("orders-db") or {}).values())


def test_a_second_run_changes_nothing(consuming: Consuming) -> None:
    run = consuming.stack.record("pulumi up at phase 4, no change", consuming.up("--skip-preview").passed())
    words = [line.split() for line in run.output.splitlines()]
    # A resource's line: a sign, then its type, such as kubernetes:core/v1:ConfigMap.
    changed = [w for w in words if len(w) > 2 and set(w[0]) <= set("+-~") and w[1].count(":") == 2]
    assert "unchanged" in run.output and not changed, run.output


def test_a_new_value_reaches_the_secret_within_seconds_and_restarts_who_asks(consuming: Consuming) -> None:
    (old,) = consuming.pods("shop", "app=fingerprint")
    before = consuming.proof()["payment-api"]
    value = secrets.token_hex(16)
    consuming.put(value)
    begun = time.monotonic()
    until(lambda: consuming.payment() == value.encode(), "the new value is in the Secret", 60)
    consuming.stack.measured.append(("new value in Vault to consumer Secret", time.monotonic() - begun))

    def restarted() -> bool:
        pods = consuming.pods("shop", "app=fingerprint")
        return len(pods) == 1 and pods[0]["metadata"]["uid"] != old["metadata"]["uid"]

    until(restarted, "the workload runs anew", 60)
    until(lambda: consuming.proof().get("payment-api", before) != before, "it reads the new value", 60)
    consuming.stack.measured.append(("new value in Vault to restarted workload", time.monotonic() - begun))


def test_entering_over_a_value_needs_to_be_said(consuming: Consuming) -> None:
    before = consuming.payment()
    done = consuming.enter("by mistake")
    assert done.returncode == 2 and "--replace" in done.stderr
    assert consuming.payment() == before


def test_a_changed_secret_is_repaired_from_vault(consuming: Consuming) -> None:
    before = consuming.secret("orders-db")
    drifted = {"data": {"DB_PASSWORD": base64.b64encode(b"by hand").decode()}}
    consuming.objects.request("PATCH", f"{SHOP}/secrets/orders-db", drifted)
    until(lambda: consuming.secret("orders-db") == before, "the drift is repaired", 30)
    consuming.objects.request("DELETE", f"{SHOP}/secrets/orders-db")
    until(lambda: consuming.secret("orders-db") == before, "the deleted Secret is made anew", 30)


@pytest.mark.nightly
def test_vault_pod_deleted(consuming: Consuming, kept: object) -> None:
    (pod,) = consuming.pods("vault", "app.kubernetes.io/name=vault")
    consuming.objects.request("DELETE", f"/api/v1/namespaces/vault/pods/{pod['metadata']['name']}")
    until(lambda: not consuming.vault_in_service(), "Vault is away", 30)
    until(consuming.vault_in_service, "Vault is in service again", 120)


def test_vault_away_for_long_takes_nothing_and_is_followed_at_once_when_it_is_back(
    consuming: Consuming, kept: dict[tuple[str, str], object]
) -> None:
    with away(consuming.stack, VAULT):
        consuming.objects.request("PATCH", f"{ESO}/secretstores/platform-data", touched())
        consuming.objects.request("PATCH", f"{ESO}/externalsecrets/orders-db", touched())
        until(lambda: consuming.ready(f"{ESO}/externalsecrets/orders-db") == "False", "External Secrets sees it", 120)
        until(lambda: consuming.status()["conditions"]["Delivered"]["status"] is False, "the engine says so", 30)
        assert consuming.everything() == kept
    begun = time.monotonic()
    until(lambda: consuming.ready(f"{ESO}/externalsecrets/orders-db") == "True", "delivery goes on", 60)
    consuming.stack.measured.append(("Vault unsealed to delivery again", time.monotonic() - begun))


def test_vault_sealed_by_hand(consuming: Consuming, kept: object, tmp_path: Path) -> None:
    root, _ = consuming.stack.identities()
    with broken_glass(consuming.stack.kubeconfig, tmp_path, root.secret) as vault:
        vault.write("sys/seal", {})
        until(lambda: serves(vault), "the engine has unsealed it", 60)
    consuming.objects.request("PATCH", f"{ESO}/externalsecrets/orders-db", touched())
    until(lambda: consuming.ready(f"{ESO}/externalsecrets/orders-db") == "True", "delivery goes on", 60)


def test_a_value_deleted_in_vault_is_neither_taken_nor_made_anew(
    consuming: Consuming, kept: object, tmp_path: Path
) -> None:
    """The internal secret keeps its record and its policy, and its consumer keeps the value."""
    root, _ = consuming.stack.identities()
    path = "sessions/shop"
    with broken_glass(consuming.stack.kubeconfig, tmp_path, root.secret) as vault:
        before = (vault.read(f"platform-data/metadata/{path}") or {})["data"]
        assert before["custom_metadata"]["authority"] == "vault" and before["custom_metadata"]["ttl"] == "168h"
        vault.delete(f"platform-data/data/{path}")
        try:
            until(lambda: "is deleted" in str(consuming.status()["evidence"]["findings"]), "it is said", 30)
            consuming.objects.request("PATCH", f"{ESO}/externalsecrets/session-key", touched())
            until(lambda: consuming.ready(f"{ESO}/externalsecrets/session-key") == "False", "it was looked at", 30)
            after = (vault.read(f"platform-data/metadata/{path}") or {})["data"]
            assert after["custom_metadata"] == before["custom_metadata"]
            assert after["current_version"] == before["current_version"]
        finally:
            vault.write(f"platform-data/undelete/{path}", {"versions": [before["current_version"]]})
    until(lambda: consuming.ready(f"{ESO}/externalsecrets/session-key") == "True", "it is there again", 60)


def touched() -> dict[str, Any]:
    """A change of annotations, which makes External Secrets look."""
    return {"metadata": {"annotations": {"test/touched": secrets.token_hex(4)}}}


def test_external_secrets_down(consuming: Consuming, kept: object) -> None:
    (pod,) = consuming.pods("shop", "app=fingerprint")
    with away(consuming.stack, f"{CONTROLLERS}-shop"):
        consuming.objects.request("DELETE", f"{SHOP}/pods/{pod['metadata']['name']}")
        until(lambda: bool(consuming.proof()), "a new pod starts with what is there", 60)


def test_layer_5_engine_down_the_refresh_is_left(consuming: Consuming, kept: object) -> None:
    def refreshed() -> str:
        return str((consuming.objects.get(f"{ESO}/externalsecrets/orders-db") or {})["status"]["refreshTime"])

    with away(consuming.stack, f"{APPS}/{ENGINE}/deployments/secret-authority-consumption"):
        before = refreshed()
        consuming.objects.request("PATCH", f"{ESO}/externalsecrets/orders-db", touched())
        until(lambda: refreshed() != before, "External Secrets goes on alone", 60)


def test_a_wrong_path_keeps_the_secret(consuming: Consuming, kept: object) -> None:
    path = f"{ESO}/externalsecrets/dns-token".replace("shop", "edge")
    right = (consuming.objects.get(path) or {})["spec"]["data"]
    wrong = [{**entry, "remoteRef": {**entry["remoteRef"], "key": "dns/nobody"}} for entry in right]
    consuming.objects.request("PATCH", path, {"spec": {"data": wrong}})
    try:
        until(lambda: consuming.ready(path) == "False", "External Secrets says that the path is wrong", 30)
    finally:
        consuming.objects.request("PATCH", path, {"spec": {"data": right}})
    until(lambda: consuming.ready(path) == "True", "it is right again", 60)


def test_a_namespace_cannot_read_another_ones_secret(consuming: Consuming) -> None:
    """A store's identity reads the paths of its namespace only, whatever an ExternalSecret asks."""
    path = "/apis/external-secrets.io/v1/namespaces/edge/externalsecrets"
    body = {
        "apiVersion": "external-secrets.io/v1",
        "kind": "ExternalSecret",
        "metadata": {"name": "theirs"},
        "spec": {
            "secretStoreRef": {"kind": "SecretStore", "name": "platform-data"},
            "data": [{"secretKey": "password", "remoteRef": {"key": "postgres/orders", "property": "password"}}],
        },
    }
    consuming.objects.request("POST", path, body)
    try:
        until(lambda: consuming.ready(f"{path}/theirs") == "False", "Vault refuses", 30)
        assert consuming.objects.secret("edge", "theirs") is None
    finally:
        consuming.objects.request("DELETE", f"{path}/theirs")


@pytest.fixture(scope="class")
def foreign(consuming: Consuming) -> Iterator[str]:
    """A Secret that somebody else made under the name of a consumer Secret, while External Secrets is away."""
    path = "/api/v1/namespaces/data/secrets"
    body = {
        "metadata": {"name": "object-store", "labels": {"kustomize.toolkit.fluxcd.io/name": "apps"}},
        "stringData": {"access-key": "theirs"},
    }
    with away(consuming.stack, f"{CONTROLLERS}-data"):
        consuming.objects.request("DELETE", f"{path}/object-store")
        consuming.objects.request("POST", path, {"apiVersion": "v1", "kind": "Secret", **body})
        yield "object-store"
        consuming.objects.request("DELETE", f"{path}/object-store")
    until(lambda: "secret-key" in (consuming.secret("object-store", "data") or {}), "it is a cache again", 60)


class TestForeignSecret:
    """Both tests share the time without External Secrets, and the second ends it."""

    def test_a_foreign_secret_is_refused_before_the_first_change(self, consuming: Consuming, foreign: str) -> None:
        run = consuming.up()
        run.refused(
            f"Secret data/{foreign} exists and belongs to Flux (Kustomization apps)", "Fix: take the Secret out of"
        )
        assert "theirs" not in run.output

    def test_a_foreign_secret_is_not_adopted_even_when_nobody_looked(self, consuming: Consuming, foreign: str) -> None:
        scale(consuming.stack, f"{CONTROLLERS}-data", 1)
        path = f"{ESO}/externalsecrets/{foreign}".replace("shop", "data")
        consuming.objects.request("PATCH", path, touched())

        def refused() -> bool:
            log = consuming.pods("external-secrets", "app.kubernetes.io/instance=data")
            text = consuming.objects.text(f"/api/v1/namespaces/external-secrets/pods/{log[0]['metadata']['name']}/log")
            return b"may not adopt it" in text

        until(refused, "the API server refuses the adoption", 30)
        assert consuming.secret(foreign, "data") == {"access-key": b"theirs"}
        found = consuming.objects.secret("data", foreign) or {}
        assert "ownerReferences" not in found["metadata"]


def test_external_secrets_cannot_delete_a_secret_nor_look_elsewhere(consuming: Consuming) -> None:
    """Asked of the API server itself, as the controller of namespace shop."""

    def may(verb: str, resource: str, namespace: str, name: str = "", subresource: str = "") -> bool:
        attributes = {"verb": verb, "resource": resource, "namespace": namespace, "name": name}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": "system:serviceaccount:external-secrets:external-secrets-shop",
                "groups": ["system:serviceaccounts", "system:serviceaccounts:external-secrets", "system:authenticated"],
                "resourceAttributes": {**attributes, "subresource": subresource},
            },
        }
        answer = consuming.objects.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        return bool(answer["status"]["allowed"])

    assert may("update", "secrets", "shop", "orders-db") and may("list", "secrets", "shop")
    assert not may("delete", "secrets", "shop", "orders-db")
    assert not may("update", "secrets", "shop", "somebody-elses")
    for namespace in ("edge", "flux-system", "vault", ENGINE, "bootstrap-data"):
        assert not may("get", "secrets", namespace) and not may("list", "secrets", namespace)
    assert may("create", "serviceaccounts", "shop", "secret-authority-reader", "token")
    assert not may("create", "serviceaccounts", "shop", "default", "token")


def test_a_workload_account_cannot_log_in_to_vault(consuming: Consuming) -> None:
    """The roles are bound to the store's account; a token of another account of the namespace is refused."""

    def log_in(account: str) -> dict[str, Any]:
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": ["vault"], "expirationSeconds": 600},
        }
        asked = consuming.objects.request("POST", f"{SHOP}/serviceaccounts/{account}/token", request)
        # Through the API server's proxy, which the administrator may use.
        proxy = "/api/v1/namespaces/vault/services/https:vault:8200/proxy/v1/auth/kubernetes/login"
        return consuming.objects.request("POST", proxy, {"role": "consumer-shop", "jwt": asked["status"]["token"]})

    assert log_in("secret-authority-reader")["auth"]["policies"] == ["consumer-shop"]
    with pytest.raises(ApiError) as refused:
        log_in("default")
    assert refused.value.status == 403


def test_the_ledger_knows_who_holds_what_was_born_or_entered(consuming: Consuming) -> None:
    def authorities() -> dict[str, str | None]:
        command = [sys.executable, "-m", "cli.main", "ledger", "--format", "json", "--cluster", consuming.stack.name]
        where = ["--repository", str(consuming.stack.fleet), "--kubeconfig", str(consuming.stack.kubeconfig)]
        done = subprocess.run([*command, *where], cwd=CHECKOUT, text=True, capture_output=True, check=True)
        return {entry["secret"]: entry["authority"] for entry in json.loads(done.stdout)}

    def known() -> bool:
        found = authorities()
        return (found["session-key"], found["payment-api"], found["orders-db"]) == ("vault", "vault", "vault")

    until(known, "both first values are in the ledger", 120)


def test_the_evidence_names_each_version(consuming: Consuming) -> None:
    def complete() -> bool:
        findings = consuming.status()["evidence"]["findings"]
        return len(findings) == 15 and {outcome for _, outcome, _ in findings} == {"matches"}

    until(complete, "evidence over every secret with consumers", 60)
    assert consuming.status()["waiting"] == {}
