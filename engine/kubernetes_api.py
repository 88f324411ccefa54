"""A small client of the Kubernetes API: get, create, replace, delete, with errors the engine can act on.

The service account token is read anew for each request, as the kubelet replaces it while the engine runs.
"""

from __future__ import annotations

import base64
import json
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests
import yaml

from authority.transfer import LostRace, Unavailable

TIMEOUT_SECONDS = 15
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

Object = dict[str, Any]


class ApiRefusedError(Exception):
    """The API server answered and said no. The message holds its short reason only: others may quote an object."""

    def __init__(self, method: str, path: str, status: int, reason: str) -> None:
        self.status, self.reason = status, reason
        super().__init__(f"the API server refused {method} {path} ({status}): {reason}")


class Api:
    """One API server as one identity."""

    def __init__(
        self,
        server: str,
        ca_file: str | bool,
        token: Callable[[], str] | None = None,
        client_cert: tuple[str, str] | None = None,
    ) -> None:
        self.server = server.rstrip("/")
        self._ca_file, self._token, self._client_cert = ca_file, token, client_cert
        self._local = threading.local()

    @classmethod
    def in_cluster(cls) -> Api:
        """The API server of the pod's own cluster, as its service account."""
        return cls(
            "https://kubernetes.default.svc",
            str(_ACCOUNT / "ca.crt"),
            token=lambda: (_ACCOUNT / "token").read_text().strip(),
        )

    @classmethod
    def from_kubeconfig(cls, path: Path) -> Api:
        """The current context of a kubeconfig that has a client certificate or a token."""
        config = yaml.safe_load(path.read_text())
        context = next(c["context"] for c in config["contexts"] if c["name"] == config["current-context"])
        cluster = next(c["cluster"] for c in config["clusters"] if c["name"] == context["cluster"])
        user = next(u["user"] for u in config["users"] if u["name"] == context["user"])
        folder = Path(tempfile.mkdtemp(prefix="secret-authority-"))

        def as_file(section: Mapping[str, str], name: str) -> str:
            if name in section:
                return section[name]
            target = folder / name
            target.touch(mode=0o600)
            target.write_bytes(base64.b64decode(section[f"{name}-data"]))
            return str(target)

        ca_file = as_file(cluster, "certificate-authority")
        if "token" in user:
            return cls(cluster["server"], ca_file, token=lambda: str(user["token"]))
        pair = (as_file(user, "client-certificate"), as_file(user, "client-key"))
        return cls(cluster["server"], ca_file, client_cert=pair)

    def get(self, path: str) -> Object | None:
        """The object, None when there is none."""
        return self._call("GET", path, None, missing_ok=True)

    def list(self, path: str, label_selector: str = "") -> list[Object]:
        query = f"{path}?labelSelector={quote(label_selector)}" if label_selector else path
        return list((self._call("GET", query, None) or {}).get("items") or [])

    def create(self, path: str, body: Mapping[str, Any]) -> Object:
        """POST to a collection. Raises `LostRace` when the object is there already."""
        return self._call("POST", path, body) or {}

    def replace(self, path: str, body: Mapping[str, Any]) -> Object:
        """PUT. With metadata.resourceVersion in `body`, raises `LostRace` when the object has changed since."""
        return self._call("PUT", path, body) or {}

    def merge(self, path: str, body: Mapping[str, Any]) -> Object:
        """A JSON merge patch."""
        return self._call("PATCH", path, body) or {}

    def delete(self, path: str, uid: str | None = None) -> None:
        """DELETE; nothing happens when it is gone. With `uid`, only that very object, else `LostRace`."""
        body = {"preconditions": {"uid": uid}} if uid else {}
        self._call("DELETE", path, body, missing_ok=True)

    def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None, missing_ok: bool = False
    ) -> Object | None:
        session = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
            session.trust_env = False
        patch = method == "PATCH"
        headers = {"Content-Type": "application/merge-patch+json" if patch else "application/json"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token()}"
        shown = path.partition("?")[0]
        try:
            answer = session.request(
                method,
                f"{self.server}/{path.lstrip('/')}",
                data=None if body is None else json.dumps(body),
                headers=headers,
                verify=self._ca_file,
                cert=self._client_cert,
                timeout=TIMEOUT_SECONDS,
            )
        except requests.RequestException as error:
            raise Unavailable(f"the API server cannot be reached: {type(error).__name__}") from None
        if answer.ok:
            found: Object = answer.json()
            return found
        if answer.status_code == 404 and missing_ok:
            return None
        if answer.status_code == 409:
            raise LostRace(shown)
        if answer.status_code >= 500 or answer.status_code == 429:
            raise Unavailable(f"the API server answered {answer.status_code} to {method} {shown}")
        raise ApiRefusedError(method, shown, answer.status_code, _reason(answer))


def _reason(answer: requests.Response) -> str:
    try:
        return str(answer.json().get("reason") or "no reason given")
    except requests.JSONDecodeError:
        return "no reason given"


def collection(kind: str, namespace: str) -> str:
    """The path of the objects of a core kind, such as `secrets`, in a namespace."""
    return f"api/v1/namespaces/{namespace}/{kind}"


def named(kind: str, namespace: str, name: str) -> str:
    return f"{collection(kind, namespace)}/{name}"
