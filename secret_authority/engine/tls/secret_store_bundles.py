"""Keeps the CA certificates in the stores of External Secrets equal to those that Vault's clients trust.

A SecretStore has them inline (external-secrets v0.20, provider.vault.caBundle), as the Pulumi program read them at
its last run. After a renewed or lost CA External Secrets could not reach Vault until the next one.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Collection
from pathlib import Path

from cryptography import x509

from secret_authority.clients.kubernetes import Api, Object
from secret_authority.contract.names import CONSUMPTION_ACCOUNT, ESO_API, PART_OF
from secret_authority.core.errors import Unavailable

# How long a store may have other certificates, in seconds, once they are in the engine's pod.
LOOK_SECONDS = 15.0
# What the Pulumi program writes on its objects; a store of somebody else is left alone.
_OURS = ",".join(f"{label}={value}" for label, value in PART_OF.items())


class SecretStoreBundles:
    """`ca_file` holds the certificates, PEM. `stores` are pairs of namespace and name."""

    def __init__(self, api: Api, ca_file: Path, stores: Collection[tuple[str, str]]) -> None:
        self._api, self.ca_file, self._stores = api, ca_file, frozenset(stores)
        self._looked_at: float | None = None

    def reconcile(self) -> list[str]:
        """Put right what differs; looks at most every `LOOK_SECONDS`. Returns the stores that it changed.

        Raises `Unavailable` when the file cannot be read and `ValueError` when it holds no certificate; the stores
        then stay as they are.
        """
        now = time.monotonic()
        if self._looked_at is not None and now - self._looked_at < LOOK_SECONDS:
            return []
        bundle = self._bundle()
        changed: list[str] = []
        for namespace in sorted({namespace for namespace, _ in self._stores}):
            for store in self._api.list(f"{ESO_API}/namespaces/{namespace}/secretstores", _OURS):
                name = store["metadata"]["name"]
                if (namespace, name) in self._stores and _bundle_of(store) != bundle:
                    self._put(namespace, store, bundle)
                    changed.append(f"{namespace}/{name}")
        self._looked_at = now
        return changed

    def _bundle(self) -> str:
        try:
            content = self.ca_file.read_bytes()
        except OSError as error:
            raise Unavailable(f"the CA certificates of Vault cannot be read: {error.strerror}") from None
        x509.load_pem_x509_certificates(content)
        return base64.b64encode(content).decode()

    def _put(self, namespace: str, store: Object, bundle: str) -> None:
        path = f"{ESO_API}/namespaces/{namespace}/secretstores/{store['metadata']['name']}"
        body = {
            "metadata": {"resourceVersion": store["metadata"]["resourceVersion"]},
            "spec": {"provider": {"vault": {"caBundle": bundle}}},
        }
        self._api.merge(f"{path}?fieldManager={CONSUMPTION_ACCOUNT}", body)


def _bundle_of(store: Object) -> str:
    return str(store["spec"]["provider"]["vault"].get("caBundle", ""))
