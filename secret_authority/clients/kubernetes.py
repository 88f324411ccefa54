"""The Kubernetes API as dicts, with errors the engine can act on: a thin layer over the official client.

The package `kubernetes` finds the server, checks certificates, keeps connections and authenticates. It reads the
service account token again when a minute has passed since it last did, as the kubelet replaces it while the engine
runs. Nothing of it logs headers or bodies unless `Configuration.debug` is set, which nobody does here.

One `Api` may be used by many threads at once. A call takes at most `TIMEOUT_SECONDS` and raises `Unavailable` when the
server cannot answer now (unreachable; statuses 429 and 5xx) and `ApiRefusedError` when it says no. Paths are those of
kubernetes.io/docs/reference/using-api, with or without a leading slash.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import urllib3
from kubernetes.client.api_client import ApiClient
from kubernetes.client.configuration import Configuration
from kubernetes.client.exceptions import ApiException
from kubernetes.config import load_incluster_config, load_kube_config

from secret_authority.core.errors import LostRace, Unavailable

TIMEOUT_SECONDS = 15
# Connections that are kept open: more than there are threads that use one `Api`.
_CONNECTIONS = 32

Object = dict[str, Any]


class ApiRefusedError(Exception):
    """The API server answered and said no. The message holds its short reason only: others may quote an object."""

    def __init__(self, method: str, path: str, status: int, reason: str) -> None:
        self.status, self.reason = status, reason
        super().__init__(f"the API server refused {method} {path} ({status}): {reason}")


class Api:
    """One API server as one identity."""

    def __init__(self, configuration: Configuration) -> None:
        """`configuration` says where and as whom. It is changed: nothing may repeat a request behind the caller."""
        configuration.retries = False
        configuration.connection_pool_maxsize = _CONNECTIONS
        self._client = ApiClient(configuration)
        self._client.user_agent = "secret-authority"

    @property
    def server(self) -> str:
        """The address of the API server."""
        return str(self._client.configuration.host)

    @classmethod
    def in_cluster(cls) -> Api:
        """The API server of the pod's own cluster, as its service account. Raises `ConfigException` elsewhere."""
        configuration = _without_environment()
        load_incluster_config(client_configuration=configuration)
        return cls(configuration)

    @classmethod
    def from_kubeconfig(cls, path: Path, context: str | None = None) -> Api:
        """A context of a kubeconfig, None for the current one. Raises `ConfigException` when it cannot be used."""
        configuration = _without_environment()
        load_kube_config(str(path), context, client_configuration=configuration)
        return cls(configuration)

    def get(self, path: str) -> Object | None:
        """The object, None when there is none."""
        return self._call("GET", path, None, missing_ok=True)

    def list(self, path: str, label_selector: str = "") -> list[Object]:
        """All objects of a collection, or those with the labels ("key=value", as kubectl takes them)."""
        selector = {"labelSelector": label_selector} if label_selector else None
        return list((self._call("GET", path, None, query=selector) or {}).get("items") or [])

    def create(self, path: str, body: Mapping[str, Any]) -> Object:
        """POST to a collection. Raises `LostRace` when the object is there already."""
        return self._call("POST", path, body) or {}

    def replace(self, path: str, body: Mapping[str, Any]) -> Object:
        """PUT. With metadata.resourceVersion in `body`, raises `LostRace` when the object has changed since."""
        return self._call("PUT", path, body) or {}

    def merge(self, path: str, body: Mapping[str, Any]) -> Object:
        """A JSON merge patch (RFC 7396): a null deletes a field. Raises `ApiRefusedError` when there is no object."""
        return self._call("PATCH", path, body) or {}

    def delete(self, path: str, uid: str | None = None) -> None:
        """DELETE; nothing happens when it is gone. With `uid`, only that very object, else `LostRace`."""
        body = {"preconditions": {"uid": uid}} if uid else {}
        self._call("DELETE", path, body, missing_ok=True)

    def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        missing_ok: bool = False,
        query: Mapping[str, str] | None = None,
    ) -> Object | None:
        shown = path.partition("?")[0]
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        _, url, headers, content, _ = self._client.param_serialize(
            method,
            f"/{path.lstrip('/')}",
            query_params=query,
            header_params={"Accept": "application/json", "Content-Type": kind},
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            answer = self._client.call_api(method, url, headers, content, _request_timeout=TIMEOUT_SECONDS)
            text: bytes = answer.read()
        except urllib3.exceptions.HTTPError as error:
            raise Unavailable(f"the API server cannot be reached: {type(error).__name__}") from None
        except ApiException as error:
            # The package's word for a failed TLS handshake: the name of the error, then a line with its text.
            name, *_ = str(error.reason).splitlines()
            raise Unavailable(f"the API server cannot be reached: {name}") from None
        if 200 <= answer.status < 300:
            found: Object = json.loads(text)
            return found
        if answer.status == 404 and missing_ok:
            return None
        if answer.status == 409:
            raise LostRace(shown)
        if answer.status >= 500 or answer.status == 429:
            raise Unavailable(f"the API server answered {answer.status} to {method} {shown}")
        raise ApiRefusedError(method, shown, answer.status, _reason(text))


def _without_environment() -> Configuration:
    """No proxy that an environment variable names gets to see a token; one in a kubeconfig is meant."""
    configuration = Configuration(no_proxy="")
    configuration.proxy = None  # left alone, the next change of the host would look at the environment again
    return configuration


def _reason(text: bytes) -> str:
    try:
        return str(json.loads(text).get("reason") or "no reason given")
    except (ValueError, AttributeError):
        return "no reason given"


def collection(kind: str, namespace: str) -> str:
    """The path of the objects of a core kind, such as `secrets`, in a namespace."""
    return f"api/v1/namespaces/{namespace}/{kind}"


def named(kind: str, namespace: str, name: str) -> str:
    """The path of one object of a core kind."""
    return f"{collection(kind, namespace)}/{name}"


def create_or_patch(api: Api, kind: str, namespace: str, name: str, content: Object, labels: Mapping[str, str]) -> None:
    """Make the object be as `content` says, whether it exists or not."""
    body = {"metadata": {"name": name, "labels": dict(labels)}, **content}
    if api.get(named(kind, namespace, name)) is None:
        api.create(collection(kind, namespace), body)
    else:
        api.merge(named(kind, namespace, name), body)
