"""From Vault into Secrets by the real External Secrets: bytes and types, over a bare API server and a real Vault."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.consumption.consumption import external_secret_spec
from components.consumption.external_secrets_manifests import custom_resource_definitions
from secret_authority.clients.vault import Vault, VaultRefusedError
from secret_authority.core.catalogue.schema import CatalogueSecret
from secret_authority.core.digest import encode_values
from secret_authority.core.errors import Unavailable
from tests.support.flux_process import BIN, MANIFESTS, Flux, api_server, define, programs_are_there, start
from tests.support.odd_values import is_text, odd_value
from tests.support.vault_process import Server, free_ports, servers, vault_program, wait_for

pytestmark = pytest.mark.skipif(
    not programs_are_there() or vault_program() is None or not (BIN / "external-secrets").exists(),
    reason="no programs of the node: run `make tools`",
)
NUMBER, NAMESPACE = 210, "shop"
ESO = f"/apis/external-secrets.io/v1/namespaces/{NAMESPACE}"
PULL = b'{"auths": {"registry.example.org": {"auth": "dXNlcjpwYXNz"}}}'


def entry(name: str, keys: list[str], binary: list[str], kind: str | None = None) -> CatalogueSecret:
    return CatalogueSecret.model_validate(
        {
            "name": name,
            "class": "external",
            "owner": "tests",
            "vault": {"datasource": "values", "consumer": name},
            "binary": binary,
            "consumers": [{"namespace": NAMESPACE, "secret": name, "keys": {key: key for key in keys}, "type": kind}],
            "rotation": {"type": "static"},
        }
    )


def in_service(server: Server) -> Vault:
    """Vault with the mount of values; the client has the root token."""

    def answers() -> bool:
        with contextlib.suppress(Unavailable):
            return server.api.health() == 501
        return False

    wait_for(answers, "Vault answers")
    keys = server.api.write("sys/init", {"secret_shares": 1, "secret_threshold": 1})
    server.api.write("sys/unseal", {"key": keys["keys_base64"][0]})
    root = server.api.with_token(keys["root_token"])
    wait_for(lambda: root.health() == 200, "Vault is in service")
    root.write("sys/mounts/platform-data", {"type": "kv", "options": {"version": "2"}})

    def upgraded() -> bool:
        with contextlib.suppress(VaultRefusedError, Unavailable):
            return root.read("platform-data/config") is not None
        return False

    wait_for(upgraded, "the mount is ready")
    return root


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Flux, Vault]]:
    folder = tmp_path_factory.mktemp("delivery")
    (folder / "vault").mkdir()
    (folder / "api").mkdir()
    with contextlib.ExitStack() as stack:
        (server,) = stack.enter_context(servers(folder / "vault"))
        root = in_service(server)
        api = stack.enter_context(api_server(folder / "api", (NAMESPACE,)))
        for document in custom_resource_definitions(MANIFESTS):
            define(api, document)
        for kind in ("externalsecrets", "secretstores"):
            wait_for(lambda kind=kind: bool(api.call("GET", f"{ESO}/{kind}")), kind)  # type: ignore[misc]
        token = {"metadata": {"name": "vault-token"}, "stringData": {"token": root.token}}
        api.call("POST", f"/api/v1/namespaces/{NAMESPACE}/secrets", token)
        api.call("POST", f"{ESO}/secretstores", store(server))
        live, metrics = free_ports(2)
        options = [f"--namespace={NAMESPACE}", f"--live-addr=:{live}", f"--metrics-addr=:{metrics}"]
        options += [f"--enable-{kind}-reconciler=false" for kind in ("cluster-store", "push-secret")]
        options += [f"--enable-cluster-{kind}-reconciler=false" for kind in ("external-secret", "push-secret")]
        start(stack, folder / "api", "external-secrets", options, {"KUBECONFIG": f"{folder}/api/kubeconfig"})
        yield api, root


def store(server: Server) -> dict[str, Any]:
    bundle = base64.b64encode(Path(server.ca_file).read_bytes()).decode()
    auth = {"tokenSecretRef": {"name": "vault-token", "key": "token"}}
    vault = {"server": server.address, "path": "platform-data", "version": "v2", "caBundle": bundle, "auth": auth}
    return {
        "apiVersion": "external-secrets.io/v1",
        "kind": "SecretStore",
        "metadata": {"name": "platform-data", "namespace": NAMESPACE},
        "spec": {"provider": {"vault": vault}},
    }


def deliver(site: tuple[Flux, Vault], secret: CatalogueSecret, values: dict[str, bytes]) -> dict[str, Any]:
    """Write the values as `enter` and the handover do, and give the Secret that External Secrets makes."""
    api, root = site
    texts, _ = encode_values(values, secret.binary)
    root.write(f"{secret.vault.mount}/data/{secret.vault.path}", {"data": texts})
    (consumer,) = secret.consumers
    body = {
        "apiVersion": "external-secrets.io/v1",
        "kind": "ExternalSecret",
        "metadata": {"name": consumer.secret, "namespace": NAMESPACE},
        "spec": external_secret_spec(secret, consumer, "10m0s"),
    }
    api.call("POST", f"{ESO}/externalsecrets", body)
    path = f"/api/v1/namespaces/{NAMESPACE}/secrets/{consumer.secret}"
    wait_for(lambda: bool(api.call("GET", path)), f"Secret {consumer.secret}", 120)
    found: dict[str, Any] = api.call("GET", path)
    return found


def test_values_arrive_byte_for_byte(site: tuple[Flux, Vault]) -> None:
    values = {f"k{number}": odd_value(number) for number in range(NUMBER)}
    binary = [key for key, value in values.items() if not is_text(value)]
    # Texts that are named binary travel in base64 as well.
    binary += [key for key, value in values.items() if is_text(value)][:20]
    assert len(values) >= 200 and len(binary) < 100
    deliver(site, entry("odd", list(values), binary), values)
    assert site[0].secret(NAMESPACE, "odd") == values


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("kubernetes.io/tls", {"tls.crt": b"certificate\n", "tls.key": b"key\n"}),
        ("kubernetes.io/dockerconfigjson", {".dockerconfigjson": PULL}),
        ("kubernetes.io/basic-auth", {"username": b"a", "password": b"b<&>\n"}),
        ("kubernetes.io/ssh-auth", {"ssh-privatekey": b"-----BEGIN-----\nx\n-----END-----\n"}),
        ("example.com/kind", {"a": b"b"}),
        (None, {"a": b"b"}),
    ],
)
def test_types_arrive(site: tuple[Flux, Vault], kind: str | None, values: dict[str, bytes]) -> None:
    name = (kind or "none").rpartition("/")[2]
    found = deliver(site, entry(name, list(values), [], kind), values)
    assert found["type"] == (kind or "Opaque")
    assert site[0].secret(NAMESPACE, name) == values
