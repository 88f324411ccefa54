"""External Secrets over a bare API server: what it makes of Vault's values, as the program configures it."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from components.consumption.external_secrets_manifests import custom_resource_definitions
from secret_authority.clients.vault import Vault
from secret_authority.contract.names import MANAGED_BY
from secret_authority.core.catalogue.schema import CatalogueSecret
from secret_authority.core.digest import encode_values
from tests.support.flux_process import BIN, MANIFESTS, Flux, api_server, define, programs_are_there, start
from tests.support.vault_process import Server, free_ports, vault_program, wait_for

NAMESPACE = "shop"
ESO = f"/apis/external-secrets.io/v1/namespaces/{NAMESPACE}"


def delivery_programs() -> bool:
    """Whether the programs for it are there."""
    return programs_are_there() and vault_program() is not None and (BIN / "external-secrets").exists()


@contextlib.contextmanager
def external_secrets(folder: Path, server: Server, token: str) -> Iterator[Flux]:
    """The controller with a store that reads `server` with this token of Vault."""
    with contextlib.ExitStack() as stack:
        api = stack.enter_context(api_server(folder, (NAMESPACE,)))
        for document in custom_resource_definitions(MANIFESTS):
            define(api, document)
        for kind in ("externalsecrets", "secretstores"):
            wait_for(lambda kind=kind: bool(api.call("GET", f"{ESO}/{kind}")), kind)  # type: ignore[misc]
        secret = {"metadata": {"name": "vault-token"}, "stringData": {"token": token}}
        api.call("POST", f"/api/v1/namespaces/{NAMESPACE}/secrets", secret)
        api.call("POST", f"{ESO}/secretstores", store(server))
        live, metrics = free_ports(2)
        options = [f"--namespace={NAMESPACE}", f"--live-addr=:{live}", f"--metrics-addr=:{metrics}"]
        options += [f"--enable-{kind}-reconciler=false" for kind in ("cluster-store", "push-secret")]
        options += [f"--enable-cluster-{kind}-reconciler=false" for kind in ("external-secret", "push-secret")]
        start(stack, folder, "external-secrets", options, {"KUBECONFIG": f"{folder}/kubeconfig"})
        yield api


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


def store(server: Server) -> dict[str, Any]:
    bundle = base64.b64encode(Path(server.ca_file).read_bytes()).decode()
    auth = {"tokenSecretRef": {"name": "vault-token", "key": "token"}}
    vault = {"server": server.address, "path": "platform-data", "version": "v2", "caBundle": bundle, "auth": auth}
    return custom("SecretStore", "platform-data", {"provider": {"vault": vault}})


def custom(kind: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": NAMESPACE, "labels": MANAGED_BY}
    return {"apiVersion": "external-secrets.io/v1", "kind": kind, "metadata": metadata, "spec": dict(spec)}


def write(root: Vault, secret: CatalogueSecret, values: Mapping[str, bytes]) -> None:
    texts, _ = encode_values(values, secret.binary)
    root.write(f"{secret.vault.mount}/data/{secret.vault.path}", {"data": texts})


def made(api: Flux, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """The Secret that External Secrets makes of this specification."""
    api.call("POST", f"{ESO}/externalsecrets", custom("ExternalSecret", name, spec))
    path = f"/api/v1/namespaces/{NAMESPACE}/secrets/{name}"
    wait_for(lambda: bool(api.call("GET", path)), f"Secret {name}", 120)
    found: dict[str, Any] = api.call("GET", path)
    return found


def synced(api: Flux, name: str) -> tuple[str, str]:
    """The Ready condition of an ExternalSecret, and what External Secrets last brought to its Secret."""
    status = (api.call("GET", f"{ESO}/externalsecrets/{name}") or {}).get("status") or {}
    ready = [one["status"] for one in status.get("conditions") or [] if one["type"] == "Ready"]
    return (ready or [""])[0], status.get("syncedResourceVersion", "")
