"""Publishes the certificates of the Vault listeners: the CA in the engine's namespace, the rest beside Vault."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from secret_authority.clients.kubernetes import Api, Object, create_or_patch, named
from secret_authority.contract.names import CA_CONFIG, CA_KEY, CA_SECRET, CERTIFICATE_LABELS, TLS_SECRET
from secret_authority.engine.tls.ca import Certificates, Pair, issue, renew


class CertificateStore:
    """Keeps CA, listener certificate and bundle in the cluster as `renew` wants them."""

    def __init__(self, api: Api, engine_namespace: str, vault_namespace: str, names: Sequence[str]) -> None:
        self._api, self._engine, self._vault, self._names = api, engine_namespace, vault_namespace, tuple(names)

    def reconcile(self, now: datetime | None = None) -> str:
        """Issue what is missing or wears out. Returns the bundle that clients should trust."""
        now = now or datetime.now(UTC)
        held, changed = renew(self._load(now), "secret-authority Vault CA", self._names, now)
        changed = changed or self._api.get(named("secrets", self._vault, TLS_SECRET)) is None
        if changed or not self._is_published(held.bundle):
            # The bundle goes out before the certificate that needs it.
            for namespace in self._namespaces:
                self._put("configmaps", namespace, CA_CONFIG, {"data": {CA_KEY: held.bundle}})
            self._put_pair(self._engine, CA_SECRET, held.ca, {"bundle": held.bundle})
            self._put_pair(self._vault, TLS_SECRET, held.server, {CA_KEY: held.bundle})
        return held.bundle

    @property
    def _namespaces(self) -> tuple[str, str]:
        """Where clients look for the bundle."""
        return self._vault, self._engine

    def _is_published(self, bundle: str) -> bool:
        found = (self._api.get(named("configmaps", namespace, CA_CONFIG)) for namespace in self._namespaces)
        return all(config is not None and config.get("data") == {CA_KEY: bundle} for config in found)

    def _load(self, now: datetime) -> Certificates | None:
        ca = self._read(self._engine, CA_SECRET)
        server = self._read(self._vault, TLS_SECRET)
        if ca is None:
            return None
        pair = Pair(ca["tls.crt"], ca["tls.key"])
        if server is None:
            # Lost, or the engine was killed before it was written: the CA stays, the pair is issued now.
            return Certificates(pair, issue(pair, self._names, now), ca["bundle"])
        return Certificates(pair, Pair(server["tls.crt"], server["tls.key"]), ca["bundle"])

    def _read(self, namespace: str, name: str) -> dict[str, str] | None:
        found = self._api.get(named("secrets", namespace, name))
        if found is None:
            return None
        return {key: base64.b64decode(text).decode() for key, text in (found.get("data") or {}).items()}

    def _put_pair(self, namespace: str, name: str, pair: Pair, more: Mapping[str, str]) -> None:
        fields = {"tls.crt": pair.certificate, "tls.key": pair.key, **more}
        self._put("secrets", namespace, name, {"type": "kubernetes.io/tls", "stringData": fields})

    def _put(self, kind: str, namespace: str, name: str, content: Object) -> None:
        create_or_patch(self._api, kind, namespace, name, content, CERTIFICATE_LABELS)
