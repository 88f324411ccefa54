"""`issuer`: keys of an API whose provider registers values made here, or makes them, by the small HTTPS contract below.

    rotator:
      kind: issuer
      url: https://issuer.example/v1
      keys: {id: key-id, secret: api-key}   # keys of the Vault secret
      admin: issuer-admin                   # a secret of the catalogue with the key token, and ca.crt if needed
      create: true                          # the provider makes the keys; without it they are made here

    GET    URL/check       Authorization: Bearer ID:SECRET. 204 accepted, 401 refused; anything else says nothing.
    DELETE URL/keys/ID?generation=N   204, or 404 when it is gone; 412 when the key is of a newer generation.
    GET    URL/owners/OWNER           {"generation": N}, 404 for none.

Values made here:

    PUT    URL/keys/ID     {"secret", "owner", "generation"}: register. 200 or 201, also when repeated.
                           409 for another secret, 410 for an id that was deleted, 412 when the owner has a newer one.

Values made by the provider:

    POST   URL/keys        {"owner", "generation", "tag": TAG} with Idempotency-Key: TAG: create. 200 or 201 with
                           {"id", "secret"}, the same when repeated. 409 when the secret cannot be shown again, 410 for
                           a tag or a key that was ended, 412 when the owner has a newer generation.
    DELETE URL/keys?tag=TAG&generation=N    end every key with this tag, and make none with it later. 204.
    GET    URL/keys?tag=TAG                 {"ids": [ID, ...]}: those that are accepted.

All but `check` carry `Authorization: Bearer TOKEN` of the administrator. What is sent is stored before: the value, or
the rotation's id, which is the tag. So a lost answer loses no key: the same request is sent again. Bodies are never
logged.
"""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote, urlencode, urlsplit

import urllib3

from secret_authority.core.catalogue.schema import CatalogueSecret
from secret_authority.core.errors import Problem, Unavailable
from secret_authority.core.rotation.rotator import (
    Accepts,
    Fence,
    FencedError,
    GivenValueError,
    Overlap,
    Plan,
    Publication,
    TargetRefusedError,
    Value,
)
from secret_authority.engine.rotation.rotators.settings import Logins, common_problems, field

TIMEOUT_SECONDS = 10.0
_FENCED = (409, 410, 412)


class IssuerRotator:
    """Keys of one owner, which is the secret's name."""

    kind: ClassVar[str] = "issuer"
    # Each key has an id of its own, and as many as are needed are valid at once.
    overlap: ClassVar[Overlap] = Overlap.TWO_SLOTS
    window: ClassVar[bool] = False

    def __init__(self, owner: str, url: str, names: Mapping[str, str], admin: str, logins: Logins) -> None:
        self._owner, self._url, self._admin, self._logins = owner, url.rstrip("/"), admin, logins
        self._id, self._secret = names["id"], names["secret"]

    @classmethod
    def build(cls, secret: CatalogueSecret, settings: Mapping[str, Any], logins: Logins) -> IssuerRotator:
        made = IssuerThatCreates if settings.get("create") else IssuerRotator
        return made(secret.name, settings["url"], settings["keys"], settings["admin"], logins)

    @classmethod
    def check(cls, secret: CatalogueSecret, settings: Mapping[str, Any], file: str) -> list[Problem]:
        found = [
            *common_problems(secret, settings, {"kind", "url", "keys", "admin", "create"}, ("url", "admin"), file),
        ]
        if not isinstance(settings.get("create", False), bool):
            fix = "write true when the provider makes the keys, or leave it out"
            found.append(Problem(file, field(secret, "rotator.create"), "is neither true nor false", fix))
        url = settings.get("url")
        if isinstance(url, str) and url and (urlsplit(url).scheme != "https" or not urlsplit(url).hostname):
            found.append(Problem(file, field(secret, "rotator.url"), "is not an https URL", "write https://HOST/PATH"))
        names = settings.get("keys")
        if not isinstance(names, Mapping) or set(names) != {"id", "secret"} or names["id"] == names["secret"]:
            fix = "write keys: {id: key-id, secret: api-key}"
            found.append(Problem(file, field(secret, "rotator.keys"), "does not name the two keys", fix))
        return found

    @property
    def target(self) -> str:
        return f"issuer {urlsplit(self._url).netloc}"

    def ready(self) -> str:
        self.generation()
        return ""

    def plan(self, current: Value, fence: Fence) -> Plan:
        fresh = {self._id: f"sa-{secrets.token_hex(12)}", self._secret: secrets.token_urlsafe(32)}
        return Plan((Publication(Value({**current.fields, **fresh})),), retires=current)

    def plan_given(self, current: Value, given: Value) -> Plan:
        if given.fields.get(self._id) == current.fields.get(self._id):
            raise GivenValueError(f"it has the {self._id} that is in use; a new key has an id of its own")
        return Plan((Publication(Value({**current.fields, **given.fields})),), retires=current)

    def apply(self, value: Value, fence: Fence) -> None:
        fence.protect(self._id, value, same_is_fine=True)
        body = {"secret": value.fields[self._secret], "owner": self._owner, "generation": fence.generation}
        self._change("PUT", self._key(value), body)

    def accepts(self, value: Value) -> Accepts:
        bearer = f"{value.fields.get(self._id, '')}:{value.fields.get(self._secret, '')}"
        try:
            status, _ = self._ask("GET", "check", bearer, None)
        except (Unavailable, TargetRefusedError):
            return Accepts.UNKNOWN
        return {204: Accepts.YES, 401: Accepts.NO}.get(status, Accepts.UNKNOWN)

    def in_use(self, value: Value) -> int | None:
        return None

    def revoke(self, value: Value, fence: Fence) -> None:
        fence.protect(self._id, value)
        self._change("DELETE", f"{self._key(value)}?generation={fence.generation}", None)

    def discard(self, value: Value, fence: Fence) -> None:
        self.revoke(value, fence)

    def generation(self) -> int | None:
        status, body = self._ask("GET", f"owners/{quote(self._owner, safe='')}", self._token(), None)
        if status == 404:
            return 0
        if status != 200 or not isinstance(body, Mapping) or not isinstance(body.get("generation"), int):
            raise self._refusal(status)
        return int(body["generation"])

    def _key(self, value: Value) -> str:
        return f"keys/{quote(value.fields[self._id], safe='')}"

    def _change(self, method: str, path: str, body: Mapping[str, Any] | None) -> None:
        status, _ = self._ask(method, path, self._token(), body)
        self._judge(method, status)

    def _judge(self, method: str, status: int) -> None:
        """Raises what a status means that is no success."""
        if status in _FENCED:
            raise FencedError(f"{self.target} knows a newer generation, or this key has ended")
        if status not in (200, 201, 204) and not (method == "DELETE" and status == 404):
            raise self._refusal(status)

    def _refusal(self, status: int) -> Exception:
        if status >= 500 or status == 429:
            return Unavailable(f"{self.target} answered {status}")
        return TargetRefusedError(f"{self.target} answered {status}")

    def _token(self) -> str:
        token = self._logins(self._admin).get("token")
        if not token:
            raise TargetRefusedError(f"secret {self._admin} has no key token")
        return token

    def _ask(
        self,
        method: str,
        path: str,
        bearer: str,
        body: Mapping[str, Any] | None,
        more: Mapping[str, str] | None = None,
    ) -> tuple[int, Any]:
        context = ssl.create_default_context(cadata=self._logins(self._admin).get("ca.crt"))
        try:
            with urllib3.PoolManager(ssl_context=context, retries=False, timeout=TIMEOUT_SECONDS) as pool:
                headers = {"Authorization": f"Bearer {bearer}", **(more or {})}
                answer = pool.request(method, f"{self._url}/{path}", json=body, headers=headers, redirect=False)
                text = answer.json() if answer.status in (200, 201) and answer.data else None
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise Unavailable(f"{self.target} cannot be reached: {type(error).__name__}") from None
        return answer.status, text


class IssuerThatCreates(IssuerRotator):
    """The provider makes each key, and shows it to who asked with the same idempotency key."""

    def plan(self, current: Value, fence: Fence) -> Plan:
        gaps = {self._id: "", self._secret: ""}
        return Plan((Publication(Value({**current.fields, **gaps})),), retires=current)

    def incomplete(self, value: Value) -> bool:
        return not (value.fields[self._id] and value.fields[self._secret])

    def complete(self, value: Value, fence: Fence) -> Value:
        body = {"owner": self._owner, "generation": fence.generation, "tag": fence.id}
        status, made = self._ask("POST", "keys", self._token(), body, {"Idempotency-Key": fence.id})
        if status == 409:
            raise TargetRefusedError(f"{self.target} cannot show the key of this rotation again: abort the rotation")
        self._judge("POST", status)
        identity, secret = (made.get("id"), made.get("secret")) if isinstance(made, Mapping) else (None, None)
        if not (isinstance(identity, str) and identity and isinstance(secret, str) and secret):
            raise TargetRefusedError(f"{self.target} has made a key, and its answer has no id and secret")
        return Value({**value.fields, self._id: identity, self._secret: secret})

    def apply(self, value: Value, fence: Fence) -> None:
        """Nothing: what was created is accepted."""
        fence.protect(self._id, value, same_is_fine=True)

    def discard(self, value: Value, fence: Fence) -> None:
        tag = urlencode({"tag": fence.id})
        self._change("DELETE", f"keys?{tag}&generation={fence.generation}", None)
        status, left = self._ask("GET", f"keys?{tag}", self._token(), None)
        self._judge("GET", status)
        if not isinstance(left, Mapping) or left.get("ids") != []:
            raise TargetRefusedError(f"{self.target} still accepts a key of this rotation, which was ended")
