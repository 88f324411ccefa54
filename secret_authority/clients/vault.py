"""A small client of Vault's HTTP API: just the calls that the engine makes, with errors it can act on.

API: developer.hashicorp.com/vault/api-docs, Vault 1.21. A call takes at most `TIMEOUT_SECONDS` and raises
`Unavailable` when Vault cannot answer now (sealed, starting, unreachable, a standby that cannot forward; statuses 3xx,
412, 429, 473 and 5xx) and `VaultRefusedError` when it says no. Paths have no leading `/v1/`. Tokens and values stay in
memory; no error message carries a request or response body except Vault's own `errors` list.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import urllib3

from secret_authority.core.errors import LostRace, Unavailable

TIMEOUT_SECONDS = 15
# Answers with a status of 5xx that another try does not change: the value is larger than Vault or its storage takes.
_NEVER = ("exceeds allowed length", "value being too large", "request body too large", "exceeds maximum")
# A standby answers this with 200 too: its clock is as good, and a Service may always lead to the same standby.
TIME_PATH = "sys/health?standbyok=true&perfstandbyok=true"
_CAS_MISMATCH = "check-and-set parameter did not match"


class VaultRefusedError(Exception):
    """Vault answered and said no. `status` is the HTTP status."""

    def __init__(self, method: str, path: str, status: int, errors: list[str]) -> None:
        self.status, self.path, self.errors = status, path, errors
        super().__init__(f"Vault refused {method} {path} ({status}): {'; '.join(errors) or 'no reason given'}")

    @property
    def says_unknown_accessor(self) -> bool:
        """Whether the token of an accessor has ended since it was listed.

        403 may be that too, where the own token is known to have the right.
        """
        return self.status == 404 or (self.status == 400 and "invalid accessor" in str(self))


class Vault:
    """One Vault address. `login` gives a token; it is asked again when the one at hand is refused.

    One object may be used by many threads at once.
    """

    def __init__(
        self,
        address: str,
        ca_file: str | None = None,
        login: Callable[[Vault], str] | None = None,
        server_name: str | None = None,
    ) -> None:
        """`ca_file` has the CA certificates, without it the system's count.

        `server_name` is the name of Vault's certificate, where it is not that of `address`, as at the end of a tunnel.
        """
        self.address = address.rstrip("/")
        self.ca_file, self._server_name = ca_file, server_name
        self._login = login
        self.token: str | None = None
        self._lock = threading.Lock()
        # Threads do not share connections, so that one that gives up its own disturbs no other.
        self._local = threading.local()

    def with_token(self, token: str) -> Vault:
        """The same address with a fixed token."""
        other = Vault(self.address, self.ca_file, server_name=self._server_name)
        other.token = token
        return other

    def read(self, path: str) -> dict[str, Any] | None:
        """GET; the body, also that of a 404 that has data (a deleted version), None for a plain 404."""
        return self.request("GET", path, None)

    def list(self, path: str) -> list[str]:
        """The keys below a path, an empty list when there are none."""
        body = self.request("LIST", path, None)
        return list(body["data"]["keys"]) if body else []

    def write(self, path: str, data: Mapping[str, Any], seconds: float = TIMEOUT_SECONDS) -> dict[str, Any]:
        """POST; the body of the answer, empty for none. It is awaited for so many `seconds`.

        Raises `LostRace` when `options.cas` does not fit the version that is there (KV v2, "Create/Update Secret").
        """
        return self.request("POST", path, data, seconds) or {}

    def patch(self, path: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """A JSON merge patch (RFC 7396): a null deletes a key."""
        return self.request("PATCH", path, data) or {}

    def delete(self, path: str) -> None:
        """DELETE. Of KV v2 a `data/` path ends the newest version, a `metadata/` path everything."""
        self.request("DELETE", path, None)

    def text(self, path: str) -> str:
        """GET of what is no JSON when it succeeds, such as metrics in Prometheus' format.

        A standby does not forward every path: it names the active server, whose certificate is of the same CA.
        """
        answer = self._answer("GET", path, None)
        if answer.status == 307:
            active, found, _ = answer.headers.get("Location", "").partition(f"/v1/{path}")
            if not found or not active.startswith("https://"):
                raise Unavailable(f"Vault does not say which server is active to GET {path}")
            answer = self._send("GET", path, None, self.token, active)
        if answer.status == 400:
            # That it has no metrics in this format, Vault says in plain text.
            raise VaultRefusedError("GET", path, 400, [])
        if answer.status != 200:
            self._read("GET", path, answer)
            raise Unavailable(f"Vault answered {answer.status} to GET {path}")
        return answer.data.decode("utf-8", "replace")

    def content(self, path: str, seconds: float = TIMEOUT_SECONDS) -> bytes:
        """GET of bytes, from this very server: another one that it names is not asked."""
        answer = self._answer("GET", path, None, seconds)
        if answer.status != 200:
            self._read("GET", path, answer)
            raise Unavailable(f"Vault answered {answer.status} to GET {path}")
        return answer.data

    def upload(self, path: str, content: bytes, seconds: float = TIMEOUT_SECONDS) -> None:
        """POST of bytes."""
        self._read("POST", path, self._answer("POST", path, content, seconds))

    def health(self) -> int:
        """The status of sys/health: 200 active, 429 standby, 501 not initialised, 503 sealed."""
        return self._send("GET", "sys/health", None, None).status

    def request(
        self, method: str, path: str, data: Mapping[str, Any] | None, seconds: float = TIMEOUT_SECONDS
    ) -> dict[str, Any] | None:
        """What every method but `text` and `health` does. `seconds`: how long the answer is awaited."""
        return self._read(method, path, self._answer(method, path, data, seconds))

    def _answer(
        self, method: str, path: str, data: Mapping[str, Any] | bytes | None, seconds: float = TIMEOUT_SECONDS
    ) -> urllib3.BaseHTTPResponse:
        token = self._current_token()
        answer = self._send(method, path, data, token, seconds=seconds)
        if answer.status == 403 and self._login is not None:
            # The token may have ended. A second refusal is a real one.
            answer = self._send(method, path, data, self._renew(token), seconds=seconds)
        return answer

    def _current_token(self) -> str | None:
        if self.token is None and self._login is not None:
            return self._renew(None)
        return self.token

    def _renew(self, refused: str | None) -> str:
        with self._lock:
            if self.token is None or self.token == refused:
                assert self._login is not None  # noqa: S101  the callers checked it
                self.token = self._login(Vault(self.address, self.ca_file, server_name=self._server_name))
            return self.token

    def _send(
        self,
        method: str,
        path: str,
        data: Mapping[str, Any] | bytes | None,
        token: str | None,
        address: str | None = None,
        seconds: float = TIMEOUT_SECONDS,
    ) -> urllib3.BaseHTTPResponse:
        connections = getattr(self._local, "connections", None)
        if connections is None:
            connections = self._local.connections = self._new_connections()
        headers = {"X-Vault-Request": "true", "Content-Type": "application/json"}
        if token:
            headers["X-Vault-Token"] = token
        if method == "PATCH":
            headers["Content-Type"] = "application/merge-patch+json"
        try:
            answer = connections.request(
                method,
                f"{address or self.address}/v1/{path}",
                body=data if data is None or isinstance(data, bytes) else _body(data),
                headers=headers,
                timeout=urllib3.Timeout(connect=TIMEOUT_SECONDS, read=seconds),
                redirect=False,
            )
        except urllib3.exceptions.HTTPError as error:
            where = address or self.address
            raise Unavailable(f"Vault at {where} cannot be reached: {type(error).__name__}") from None
        if _cannot_now(answer.status):
            # A Service leads one connection to one server. The next one may reach another, which is not sealed.
            connections.clear()
        return answer

    def _new_connections(self) -> urllib3.PoolManager:
        """Knows neither proxies nor .netrc of the surroundings, tries nothing twice and follows nobody elsewhere."""
        name = self._server_name
        names: dict[str, Any] = {"server_hostname": name, "assert_hostname": name} if name else {}
        return urllib3.PoolManager(retries=False, cert_reqs="CERT_REQUIRED", ca_certs=self.ca_file, **names)

    @staticmethod
    def _read(method: str, path: str, answer: urllib3.BaseHTTPResponse) -> dict[str, Any] | None:
        try:
            body: dict[str, Any] = json.loads(answer.data) if answer.data else {}
        except ValueError:
            raise Unavailable(f"Vault answered {answer.status} to {method} {path} without JSON") from None
        if 300 <= answer.status < 400:
            # Of a standby that cannot forward: nothing was read and nothing written. Its empty body is no answer.
            raise Unavailable(f"a standby of Vault did not take {method} {path}: another server is active")
        if answer.status < 300:
            return body
        errors = [str(error) for error in body.get("errors") or []]
        if answer.status == 404 and method in ("GET", "LIST") and not errors:
            return body if body.get("data") else None
        if answer.status == 400 and any(_CAS_MISMATCH in error for error in errors):
            raise LostRace(path)
        if answer.status >= 500 and any(text in error for error in errors for text in _NEVER):
            raise VaultRefusedError(method, path, answer.status, errors)
        if _cannot_now(answer.status):
            raise Unavailable(f"Vault answered {answer.status} to {method} {path}: {'; '.join(errors)}")
        raise VaultRefusedError(method, path, answer.status, errors)


def server_time(vault: Vault) -> datetime:
    """The clock of an unsealed Vault server, active or standby: UTC, to the second. Raises `Unavailable`."""
    found = vault.read(TIME_PATH) or {}
    if "server_time_utc" not in found:
        raise Unavailable("Vault does not tell its time")
    return datetime.fromtimestamp(int(found["server_time_utc"]), UTC)


def _cannot_now(status: int) -> bool:
    return status >= 500 or 300 <= status < 400 or status in (412, 429, 473)


def _body(data: Mapping[str, Any]) -> bytes:
    """JSON in UTF-8, without escapes where none are needed: Vault counts a text as it was sent against its limit."""
    return json.dumps(data, ensure_ascii=False).encode()


def kubernetes_login(role: str, token_file: str) -> Callable[[Vault], str]:
    """A login with the service account token that the kubelet keeps fresh in `token_file`.

    The Kubernetes auth method, "Login". The login raises OSError when the file cannot be read, and what `Vault.write`
    raises.
    """

    def login(vault: Vault) -> str:
        with open(token_file, encoding="ascii") as file:  # noqa: PTH123  read again at each login
            jwt = file.read().strip()
        answer = vault.write("auth/kubernetes/login", {"role": role, "jwt": jwt})
        return str(answer["auth"]["client_token"])

    return login
