"""The handover against External Secrets' PushSecret and against raw KV writes: the same Vault, in one run.

    python -m benchmarks.bench_handover_eso --kubeconfig FILE --root-identity FILE [--secrets 1000]

It needs a stack at phase 4 on a local node. It works in a namespace and below Vault paths of its own, opens the
network policy of Vault for this machine meanwhile, runs a controller of External Secrets with PushSecret (the
project's own controllers have it switched off), and takes all of it away. Ratios carry over to other machines,
seconds do not.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from secret_authority.clients.kubernetes import Api, collection, named
from secret_authority.clients.vault import Vault
from secret_authority.contract.names import (
    AUDIENCE,
    CA_CONFIG,
    CA_KEY,
    ENGINE_ACCOUNT,
    SERVER_NAME,
    VAULT_NAMESPACE,
    VAULT_PORT,
)
from secret_authority.core.catalogue.admission import admitted_entries
from secret_authority.core.catalogue.schema import parse_catalogue
from secret_authority.core.digest import value_digest
from secret_authority.core.handover.state_machine import InGit
from secret_authority.engine.handover.controller import Handover
from secret_authority.engine.handover.git_state import GitState
from tests.support.vault_way import broken_glass

NAMESPACE = "bench-handover"
READER = "pusher"
ESO = "apis/external-secrets.io"
ESO_NAMESPACE = "external-secrets"
DEADLINE_SECONDS = 1800


def _timed(work: Callable[[], object]) -> float:
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def _many(work: Callable[[int], object], count: int) -> None:
    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(work, range(count)))


class Place:
    """The cluster, Vault as root, and what is made for the measurement."""

    def __init__(self, api: Api, root: Vault, count: int) -> None:
        self.api, self.root, self.count = api, root, count
        self._values: dict[str, bytes] = {}

    def make_secrets(self, prefix: str) -> None:
        def make(number: int) -> None:
            name, value = f"{prefix}-{number}", secrets.token_hex(16).encode()
            self._values[name] = value
            data = {"password": base64.b64encode(value).decode()}
            body = {"metadata": {"name": name}, "type": "Opaque", "data": data}
            self.api.create(collection("secrets", NAMESPACE), body)

        _many(make, self.count)

    def raw(self, prefix: str) -> None:
        """One client, one request a secret."""
        for number in range(self.count):
            body = {"options": {"cas": 0}, "data": {"password": f"value-{number}"}}
            self.root.write(f"platform-data/data/{prefix}/{number}", body)

    def hand_over(self, vault: Vault) -> None:
        entries = [
            {
                "name": f"h-{number}",
                "class": "bootstrap",
                "owner": "bench",
                "bootstrap": {"namespace": NAMESPACE, "secret": f"h-{number}", "keys": ["password"]},
                "vault": {"datasource": "bench", "consumer": f"h-{number}"},
                "rotation": {"type": "static"},
            }
            for number in range(self.count)
        ]
        document = {
            "apiVersion": "secret-authority.dev/v1",
            "kind": "SecretCatalogue",
            "bootstrapNamespaces": [NAMESPACE],
            "secrets": entries,
        }
        catalogue = parse_catalogue(document, "bench")
        handover = Handover("bench", self.api, vault, "bench", admitted_entries(catalogue))
        key = handover.key()
        known = {
            entry.name: InGit(value_digest(key, entry.name, str(entry.vault), {"password": self._values[entry.name]}))
            for entry in catalogue
        }
        summary = handover.run(GitState("none", catalogue, known), key)
        if not summary.complete:
            raise SystemExit(f"not handed over: {summary.open[0].end}")

    def push(self) -> None:
        """Create the PushSecrets and wait until each is Ready."""

        def make(number: int) -> None:
            remote = {"remoteKey": f"bench-push/{number}", "property": "password"}
            body = {
                "apiVersion": "external-secrets.io/v1alpha1",
                "kind": "PushSecret",
                "metadata": {"name": f"p-{number}"},
                "spec": {
                    "updatePolicy": "IfNotExists",
                    "refreshInterval": "1h0m0s",
                    "secretStoreRefs": [{"name": "bench", "kind": "SecretStore"}],
                    "selector": {"secret": {"name": f"p-{number}"}},
                    "data": [{"match": {"secretKey": "password", "remoteRef": remote}}],
                },
            }
            self.api.create(f"{ESO}/v1alpha1/namespaces/{NAMESPACE}/pushsecrets", body)

        _many(make, self.count)
        _wait(lambda: self._ready() == self.count, f"{self.count} PushSecrets", DEADLINE_SECONDS)

    def _ready(self) -> int:
        items = self.api.list(f"{ESO}/v1alpha1/namespaces/{NAMESPACE}/pushsecrets")
        return sum(
            any(c["type"] == "Ready" and c["status"] == "True" for c in item.get("status", {}).get("conditions", []))
            for item in items
        )


@contextlib.contextmanager
def push_controller(api: Api, manifests: Path) -> Iterator[None]:
    """A controller for PushSecrets of the namespace: a copy of one that the project runs, with other switches."""
    crd = yaml.safe_load((manifests / "external-secrets.io_pushsecrets.yaml").read_text())
    crds = "apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    roles = f"apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}"
    deployments = f"apis/apps/v1/namespaces/{ESO_NAMESPACE}/deployments"
    api.create(crds, crd)
    try:
        rules = [
            {"apiGroups": ["external-secrets.io"], "resources": ["*"], "verbs": ["*"]},
            {"apiGroups": ["generators.external-secrets.io"], "resources": ["*"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]},
            {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
        ]
        api.create(f"{roles}/roles", {"metadata": {"name": NAMESPACE}, "rules": rules})
        binding = {
            "metadata": {"name": NAMESPACE},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": NAMESPACE},
            "subjects": [{"kind": "ServiceAccount", "name": NAMESPACE, "namespace": ESO_NAMESPACE}],
        }
        api.create(f"{roles}/rolebindings", binding)
        api.create(collection("serviceaccounts", ESO_NAMESPACE), {"metadata": {"name": NAMESPACE}})
        template = api.list(deployments)[0]["spec"]["template"]
        labels = {**template["metadata"]["labels"], "bench": NAMESPACE}
        pod = {**template["spec"], "serviceAccountName": NAMESPACE, "serviceAccount": NAMESPACE}
        kept = [arg for arg in pod["containers"][0]["args"] if "namespace=" not in arg and "=false" not in arg]
        off = ["cluster-store", "cluster-external-secret", "cluster-push-secret"]
        switches = [f"--enable-{what}-reconciler=false" for what in off]
        pod["containers"][0]["args"] = [f"--namespace={NAMESPACE}", *switches, *kept]
        spec = {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        }
        api.create(deployments, {"metadata": {"name": NAMESPACE}, "spec": spec})
        _wait(lambda: (api.get(f"{deployments}/{NAMESPACE}") or {})["status"].get("readyReplicas") == 1, "controller")
        yield
    finally:
        api.delete(f"{deployments}/{NAMESPACE}")
        api.delete(named("serviceaccounts", ESO_NAMESPACE, NAMESPACE))
        api.delete(f"{crds}/{crd['metadata']['name']}")


def _wait(condition: Callable[[], bool], what: str, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"not ready after {seconds:.0f} s: {what}")
        time.sleep(0.5)


@contextlib.contextmanager
def place(api: Api, kubeconfig: Path, root_identity: str, count: int, node_network: str) -> Iterator[Place]:
    """Make the surroundings of the measurement, and take them away again."""
    api.create("api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    policies = f"apis/networking.k8s.io/v1/namespaces/{VAULT_NAMESPACE}/networkpolicies"
    rule = {"from": [{"ipBlock": {"cidr": node_network}}], "ports": [{"protocol": "TCP", "port": VAULT_PORT}]}
    spec = {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [rule]}
    api.create(policies, {"metadata": {"name": NAMESPACE}, "spec": spec})
    try:
        with tempfile.TemporaryDirectory() as folder, broken_glass(kubeconfig, Path(folder), root_identity) as glass:
            pod = api.get(named("pods", VAULT_NAMESPACE, "vault-0"))
            assert pod is not None and glass.token is not None  # noqa: S101
            address = f"https://{pod['status']['podIP']}:{VAULT_PORT}"
            direct = Vault(address, str(Path(folder) / "ca.crt"), server_name=SERVER_NAME)
            root = direct.with_token(glass.token)
            _make_store(api, root)
            try:
                yield Place(api, root, count)
            finally:
                root.delete("sys/policies/acl/bench-push")
                root.delete("auth/kubernetes/role/bench-push")
                for path in ("raw-1", "raw-2", "bench", "bench-push"):
                    for name in root.list(f"platform-data/metadata/{path}"):
                        root.delete(f"platform-data/metadata/{path}/{name}")
                for number in range(count):
                    events = f"platform-authority/metadata/events/h-{number}"
                    for name in root.list(events):
                        root.delete(f"{events}/{name}")
    finally:
        api.delete(f"{policies}/{NAMESPACE}")
        api.delete(f"api/v1/namespaces/{NAMESPACE}")


def _make_store(api: Api, root: Vault) -> None:
    verbs = '{ capabilities = ["create", "read", "update"] }'
    text = "".join(f'path "platform-data/{part}/bench-push/*" {verbs}\n' for part in ("data", "metadata"))
    own = 'path "auth/token/lookup-self" { capabilities = ["read"] }\n'
    root.write("sys/policies/acl/bench-push", {"policy": text + own})
    role = {
        "bound_service_account_names": [READER],
        "bound_service_account_namespaces": [NAMESPACE],
        "audience": AUDIENCE,
        "token_policies": ["bench-push"],
        "token_ttl": 3600,
    }
    root.write("auth/kubernetes/role/bench-push", role)
    api.create(collection("serviceaccounts", NAMESPACE), {"metadata": {"name": READER}})
    bundle = api.get(named("configmaps", VAULT_NAMESPACE, CA_CONFIG))
    assert bundle is not None  # noqa: S101
    vault = {
        "server": f"https://{SERVER_NAME}:{VAULT_PORT}",
        "path": "platform-data",
        "version": "v2",
        "caBundle": base64.b64encode(bundle["data"][CA_KEY].encode()).decode(),
        "checkAndSet": {"required": True},
        "auth": {
            "kubernetes": {
                "mountPath": "kubernetes",
                "role": "bench-push",
                "serviceAccountRef": {"name": READER, "audiences": [AUDIENCE]},
            }
        },
    }
    store = {
        "apiVersion": "external-secrets.io/v1",
        "kind": "SecretStore",
        "metadata": {"name": "bench"},
        "spec": {"provider": {"vault": vault}},
    }
    api.create(f"{ESO}/v1/namespaces/{NAMESPACE}/secretstores", store)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--root-identity", type=Path, required=True)
    parser.add_argument("--secrets", type=int, default=1000)
    parser.add_argument("--node-network", default="10.220.0.0/16", help="where this machine's requests come from")
    manifests = Path(".tools/manifests/external-secrets-crds/bases")
    parser.add_argument("--manifests", type=Path, default=manifests, help="CRDs of External Secrets")
    options = parser.parse_args()
    api = Api.from_kubeconfig(options.kubeconfig)
    identity = options.root_identity.read_text()
    where = place(api, options.kubeconfig, identity, options.secrets, options.node_network)
    with where as found, push_controller(api, options.manifests):
        token = found.root.write(
            "auth/token/create", {"policies": [ENGINE_ACCOUNT], "no_default_policy": True, "ttl": "1h"}
        )
        engine = found.root.with_token(token["auth"]["client_token"])
        found.make_secrets("h")
        found.make_secrets("p")
        rows = {"raw KV writes by one client": _timed(lambda: found.raw("raw-1"))}
        rows["handover"] = _timed(lambda: found.hand_over(engine))
        rows["looking at all of them again"] = _timed(lambda: found.hand_over(engine))
        rows["External Secrets PushSecret"] = _timed(found.push)
        rows["raw KV writes by one client, again"] = _timed(lambda: found.raw("raw-2"))
    raw = (rows["raw KV writes by one client"] + rows["raw KV writes by one client, again"]) / 2
    print(f"{options.secrets} secrets, one Vault, one run")
    for way, seconds in rows.items():
        print(f"  {seconds:8.2f} s  {1000 * seconds / options.secrets:8.2f} ms each  {seconds / raw:6.2f} x raw  {way}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
