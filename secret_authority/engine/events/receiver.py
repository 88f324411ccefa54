"""The receiver of events: checks who speaks, files a request, and that is all.

It decides nothing and reads no value but the keys of its senders. Its identity in Vault may create requests and never
change one, so an event that is sent again finds its request there. The engine of rotation does the rest.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from secret_authority.clients.kubernetes import Api, ApiRefusedError
from secret_authority.clients.vault import Vault, VaultRefusedError
from secret_authority.contract.names import ESO_API, ROTATE_ANNOTATION, ROTATION_MOUNT, ROTATION_REQUESTS
from secret_authority.contract.rotation_settings import RotationSettings
from secret_authority.core.catalogue.events import Events, EventSender
from secret_authority.core.errors import LostRace, Unavailable
from secret_authority.core.rotation.document import Request
from secret_authority.core.rotation.events import (
    NotAllowedError,
    NotAuthenticError,
    ReplayedError,
    keys_of,
    read,
    request_of,
    request_of_annotation,
    verified,
)
from secret_authority.engine.common.status import Status
from secret_authority.engine.events.rate import Bucket

log = logging.getLogger(__name__)

RECEIVING = "EventsReceived"
PATH = "/v1/events/"
# Messages a minute: of one sender, and of everybody before it is known who speaks.
OF_A_SENDER, OF_ALL = 30, 300
KEY_SECONDS = 30.0
ANNOTATION_SECONDS = 10.0


class Receiver:
    """`receive` is called in threads of the server, `run` looks at annotations until it is stopped."""

    def __init__(
        self,
        settings: RotationSettings,
        api: Api,
        vault: Vault,
        status: Status,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        events = settings.catalogue.events or Events()
        self._settings, self._api, self._vault, self._status = settings, api, vault, status
        self._events, self._clock = events, clock
        self._senders = {sender.name: sender for sender in events.senders}
        self._buckets = {name: Bucket(OF_A_SENDER, clock) for name in self._senders}
        self._all = Bucket(OF_ALL, clock)
        self._keys: dict[str, tuple[float, list[bytes]]] = {}
        self._filed: set[str] = set()
        self._stop = threading.Event()
        for result in ("filed", "repeated", "refused", "replayed", "unauthorised", "limited", "unavailable"):
            self._count(result, 0)

    def _count(self, result: str, by: int = 1) -> None:
        self._status.count(f'events_total{{result="{result}"}}', by)

    def receive(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str]:
        """The HTTP status and the body of the answer. Neither repeats what was sent."""
        result, code, words = self._receive(path, headers, body)
        self._count(result)
        if code >= 400:
            log.warning("event %s: %s", result, words)
        return code, json.dumps({"status": result, "message": words}) + "\n"

    def _receive(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[str, int, str]:
        sender = self._senders.get(path.removeprefix(PATH)) if path.startswith(PATH) else None
        if sender is None:
            return "refused", 404, "there is no such sender"
        if not self._all.take():
            return "limited", 429, "too many messages; try again in a minute"
        now = datetime.now(UTC)
        try:
            event_id = verified(self._keys_of(sender), headers, body, now)
            if not self._buckets[sender.name].take():
                return "limited", 429, f"too many messages of {sender.name}; try again in a minute"
            request = request_of(sender, event_id, message := read(body), now)
            return self._file(message.secret, request)
        except NotAuthenticError as error:
            return "unauthorised", 401, str(error)
        except ReplayedError as error:
            return "replayed", 401, str(error)
        except NotAllowedError as error:
            return "refused", 403, str(error)
        except ValueError as error:
            return "refused", 400, str(error)
        except (Unavailable, VaultRefusedError) as error:
            log.error("event of %s: %s", sender.name, error)
            return "unavailable", 503, "the request could not be filed; send it again"

    def _keys_of(self, sender: EventSender) -> list[bytes]:
        """Raises `Unavailable` while Vault has none that can be used."""
        read_at, keys = self._keys.get(sender.name, (float("-inf"), []))
        if self._clock() - read_at < KEY_SECONDS:
            return keys
        place = next(secret.vault for secret in self._settings.catalogue if secret.name == sender.key)
        found = ((self._vault.read(f"{place.mount}/data/{place.path}") or {}).get("data") or {}).get("data") or {}
        try:
            keys = keys_of({name: text for name, text in found.items() if isinstance(text, str)})
        except ValueError as error:
            raise Unavailable(f"secret {sender.key}: {error}") from None
        self._keys[sender.name] = (self._clock(), keys)
        return keys

    def _file(self, secret: str, request: Request) -> tuple[str, int, str]:
        """Create-only. What is there already has to be the same request."""
        path = f"{ROTATION_MOUNT}/data/{ROTATION_REQUESTS}/{secret}/{request.id}"
        try:
            self._vault.write(path, {"options": {"cas": 0}, "data": request.fields()})
        except (LostRace, VaultRefusedError):
            found = ((self._vault.read(path) or {}).get("data") or {}).get("data")
            if not found:
                raise
            held = Request.from_fields({**found, "id": request.id})
            if (held.why, held.trigger, held.cut_off) != (request.why, request.trigger, request.cut_off):
                return "refused", 409, "an event of this id says something else"
            return "repeated", 200, f"request {request.id} was filed before"
        log.info("%s: request %s filed (%s)", secret, request.id, request.trigger)
        return "filed", 202, f"request {request.id} is filed"

    # Annotations.

    def stop(self) -> None:
        self._stop.set()

    def run(self) -> int:
        """Look at annotations again and again. Returns 0 when stopped."""
        while not self._stop.is_set():
            self.look()
            self._status.heartbeat()
            self._stop.wait(ANNOTATION_SECONDS)
        return 0

    def look(self) -> None:
        """File what annotations ask for, each once."""
        if not self._events.annotations:
            self._status.set(RECEIVING, True)
            return
        problems: list[str] = []
        for secret in self._settings.catalogue:
            for consumer in secret.consumers if secret.rotator else ():
                try:
                    self._look(secret.name, consumer.namespace, consumer.secret)
                except (Unavailable, ApiRefusedError, VaultRefusedError, ValueError) as error:
                    problems.append(f"{consumer.namespace}/{consumer.secret}: {error}")
        self._status.set(RECEIVING, not problems, "; ".join(problems[:3]))

    def _look(self, secret: str, namespace: str, name: str) -> None:
        found = self._api.get(f"{ESO_API}/namespaces/{namespace}/externalsecrets/{name}")
        details = (found or {}).get("metadata") or {}
        text = (details.get("annotations") or {}).get(ROTATE_ANNOTATION)
        if not text:
            return
        request = request_of_annotation(f"{namespace}/{name}", str(details.get("uid", "")), text, datetime.now(UTC))
        if request is None:
            raise ValueError(f"annotation {ROTATE_ANNOTATION} is not `ID WHY`")
        if request.id not in self._filed:
            result, _, _ = self._file(secret, request)
            self._count(result)
            self._filed.add(request.id)


def posts(receiver: Receiver) -> Callable[[str, Mapping[str, str], bytes], tuple[int, str]]:
    """What the server calls for each message: no error of a message ends anything."""

    def post(path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str]:
        try:
            return receiver.receive(path, headers, body)
        except Exception as error:
            log.error("an event was not foreseen: %s", type(error).__name__)
            return 500, ""

    return post
