"""Clears a Vault that lost its unseal shares before they were stored, with the rights of who runs `pulumi up`.

First the place of the shares is taken: whoever holds those of the old Vault can never store them from then on, and
without stored shares nobody opens a Vault. Only then the volume goes, and the pod. Each deletion is of the very object
that was seen before, so a run that wakes up late deletes nothing of a newer Vault.
docs/decisions/0020-what-may-touch-the-process-that-unseals.md has the reasons.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi

from secret_authority.access.cluster_state import ClusterState, read_cluster_state
from secret_authority.access.kubeconfig import NO_CLUSTER, ClusterConnection
from secret_authority.access.person import kubernetes_user
from secret_authority.access.vault_session import ca_bundle_of
from secret_authority.access.vault_tunnel import ERRORS, free_port, open_tunnel
from secret_authority.clients.kubernetes import Api, ApiRefusedError, Object, collection, named
from secret_authority.clients.vault import Vault
from secret_authority.contract.names import (
    CONSUMED,
    INITIALISATION,
    RESTORE_RECORD,
    SERVER_NAME,
    STATE_LABEL,
    UNSEAL_SHARES,
    VAULT,
    VAULT_NAMESPACE,
)
from secret_authority.core.errors import LostRace, Unavailable
from secret_authority.core.phases import Phase
from secret_authority.core.unopened_vault import SealSeen, Traces, UnopenedVault, why_not_cleared
from secret_authority.engine.runtime_authority.seal_store import is_placeholder, placeholder_secret
from secret_authority.engine.runtime_authority.share_replacement import NEXT
from secret_authority.repository.intent.intent import Intent
from secret_authority.repository.intent.tombstones import read_tombstones
from secret_authority.repository.trust.share_export import export_file

LOOK_SECONDS = 3.0
# How long one and the same Vault is seen like that before it is cleared: an engine may be about to store the shares.
GRACE_SECONDS = 20.0
# After so many tries within one run, something else is wrong.
MOST_TRIES = 3
_SHARES = named("secrets", VAULT_NAMESPACE, UNSEAL_SHARES)
_POD = named("pods", VAULT_NAMESPACE, f"{VAULT}-0")
_VOLUME = f"data-{VAULT}-0"
_CLAIM = named("persistentvolumeclaims", VAULT_NAMESPACE, _VOLUME)
# What says that something could not be seen or understood.
_UNKNOWN = (*ERRORS, *NO_CLUSTER, ApiRefusedError, LostRace, ValueError, LookupError, TypeError)


@dataclass(frozen=True)
class Expected:
    """`pods`: how many Vault pods there are. `wanted`: unseal shares and threshold as configured.

    `in_git`: what Git has of a Vault that was in service. `stack`: the phase that the stack has on record.
    """

    pods: int
    wanted: tuple[int, int]
    in_git: tuple[str, ...]
    stack: Phase | None


@dataclass(frozen=True)
class Look:
    """One look, with the objects that a clearing is about; None for those that are not there."""

    seen: UnopenedVault
    pod: Object | None
    volume: Object | None
    place: Object | None  # the placeholder of an earlier clearing

    @property
    def reason(self) -> str:
        """Why nothing is cleared; empty when it may be."""
        if reason := why_not_cleared(self.seen):
            return reason
        mounted = [(one.get("persistentVolumeClaim") or {}).get("claimName") for one in _volumes(self.pod)]
        return "" if self.volume is not None and _VOLUME in mounted else f"its pod does not use the volume {_VOLUME}"

    @property
    def identity(self) -> tuple[str, ...]:
        """The same for two looks at the same objects."""
        return (*(_uid(one) for one in (self.pod, self.volume, self.place)), _version(self.place))


class VaultClearing:
    """`vaults`: each Vault pod by number, reached also while it is sealed. `say` tells people what is done."""

    def __init__(
        self,
        way: ClusterConnection,
        expected: Expected,
        vaults: Callable[[int], Vault],
        say: Callable[[str], object],
    ) -> None:
        self._way, self._expected, self._vaults, self._say = way, expected, vaults, say
        self.api: Api = way.api()

    def watch(self, ended: threading.Event) -> None:
        """Look until `ended`, and clear what is seen to need it for long enough. Never raises for what is unknown."""
        known: tuple[str, ...] = ()
        since, tries = 0.0, 0
        while tries < MOST_TRIES and not ended.wait(LOOK_SECONDS):
            look = self._try_look()
            now = time.monotonic()
            if look is None or look.reason:
                known = ()
            elif look.identity != known:
                known, since = look.identity, now
            elif now - since >= GRACE_SECONDS:
                known = ()
                tries += self._try_clear(look)

    def _try_look(self) -> Look | None:
        try:
            return self.look()
        except _UNKNOWN:
            return None

    def _try_clear(self, look: Look) -> bool:
        """Whether this was a try; it was none when somebody else was faster."""
        try:
            self.clear(look)
        except LostRace:
            return False  # somebody was faster: an engine stored its shares, or another run has cleared
        except _UNKNOWN as error:
            self._say(f"Vault lost its unseal shares before they were stored, and could not be cleared: {error}")
        return True

    def look(self) -> Look:
        """Raises what is in `ERRORS` and `NO_CLUSTER`, and `ApiRefusedError`, when something cannot be seen."""
        state = read_cluster_state(self._way)
        if not state.reachable:
            raise Unavailable("the cluster does not answer")
        record = self.api.get(named("configmaps", VAULT_NAMESPACE, INITIALISATION))
        data = None if record is None else {str(key): str(text) for key, text in (record.get("data") or {}).items()}
        stored = self.api.get(_SHARES)
        traces = Traces(tuple(self._objects(state, stored)), self._expected.in_git, state.reached, self._expected.stack)
        pod, volume = self.api.get(_POD), self.api.get(_CLAIM)
        # Asked last: what is read of it is not older than the rest.
        pods = tuple(_seal(self._vaults(number)) for number in range(self._expected.pods))
        seen = UnopenedVault(data, pods, self._expected.wanted, traces)
        return Look(seen, pod, volume, stored)

    def _objects(self, state: ClusterState, stored: Object | None) -> Iterator[str]:
        """What is in the cluster of a Vault that was in service."""
        if stored is not None and not is_placeholder(stored):
            yield f"Secret {VAULT_NAMESPACE}/{UNSEAL_SHARES}"
        for kind, name in (("secrets", NEXT), ("configmaps", RESTORE_RECORD)):
            if self.api.get(named(kind, VAULT_NAMESPACE, name)) is not None:
                yield f"{kind.removesuffix('s')} {VAULT_NAMESPACE}/{name}"
        if state.events:
            yield "an audit trail"
        yield from state.strange_records
        for found in self.api.list("api/v1/secrets", f"{STATE_LABEL}={CONSUMED}"):
            yield f"Secret {found['metadata']['namespace']}/{found['metadata']['name']}, which is consumed"

    def clear(self, look: Look) -> None:
        """Raises `LostRace` when something is not as `look` saw it any more; then the Vault that is there is whole."""
        placeholder: Any = placeholder_secret(kubernetes_user(self._way))
        if look.place is None:
            self.api.create(collection("secrets", VAULT_NAMESPACE), placeholder)
        else:
            placeholder["metadata"] |= {"uid": _uid(look.place), "resourceVersion": _version(look.place)}
            self.api.replace(_SHARES, placeholder)
        self.api.delete(_CLAIM, _uid(look.volume))
        self.api.delete(_POD, _uid(look.pod))
        self._say(
            "Vault lost its unseal shares before they were stored. It was never opened, so it is cleared: the engine "
            "initialises it again"
        )


class ClearingWatch:
    """Watches a Vault for as long as Pulumi waits for it: `hooks` are those of the resource that it waits for.

    Hooks do not run in a preview. `stack`: the phase that the stack has on record. Raises `InvalidInputError`.
    """

    def __init__(
        self,
        way: ClusterConnection,
        pods: int,
        wanted: tuple[int, int],
        intent: Intent,
        stack: pulumi.Output[Phase | None],
    ) -> None:
        self._way, self._pods, self._wanted, self._stack = way, pods, wanted, stack
        self._in_git = in_git(intent)
        self._ended = threading.Event()
        begin = pulumi.ResourceHook("watch-first-minutes", self.begin)
        end = pulumi.ResourceHook("end-watch-of-first-minutes", self.end)
        self.hooks = pulumi.ResourceHookBinding(
            before_create=[begin], before_update=[begin], after_create=[end], after_update=[end]
        )

    async def begin(self, _args: pulumi.ResourceHookArgs) -> None:
        stack = await self._stack.future()
        reached = None if stack is None else Phase(stack)
        expected = Expected(self._pods, self._wanted, self._in_git, reached)
        threading.Thread(target=self._watch, args=(expected,), name="first-minutes", daemon=True).start()

    def end(self, _args: pulumi.ResourceHookArgs) -> None:
        self._ended.set()

    def _watch(self, expected: Expected) -> None:
        with suppress(*NO_CLUSTER), tunnels(self._way) as vaults:
            VaultClearing(self._way, expected, vaults, pulumi.log.warn).watch(self._ended)


def in_git(intent: Intent) -> tuple[str, ...]:
    """What the repository has of a Vault of this cluster that was in service. Raises `InvalidInputError`."""
    found = [f"the tombstone of {name}" for name in sorted(read_tombstones(intent))]
    file = export_file(intent.layout.cluster)
    return (*found, *([file] if (intent.root / file).exists() else []))


@contextmanager
def tunnels(way: ClusterConnection) -> Iterator[Callable[[int], Vault]]:
    """Each Vault pod by number. What it yields raises what is in `ERRORS`."""
    ports: dict[int, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        ca = Path(folder) / "ca.crt"

        def vault(number: int) -> Vault:
            ca.write_text(ca_bundle_of(way))
            if number not in ports:
                port = free_port()
                open_tunnel(way, port, f"{VAULT}-{number}")
                ports[number] = port
            return Vault(f"https://127.0.0.1:{ports[number]}", str(ca), server_name=SERVER_NAME)

        yield vault


def _seal(vault: Vault) -> SealSeen | None:
    try:
        found = vault.read("sys/seal-status") or {}
    except Unavailable:
        return None
    with suppress(KeyError, TypeError, ValueError):
        return SealSeen(
            initialised=found["initialized"] is not False,
            sealed=found["sealed"] is True,
            shares=int(found["n"]),
            threshold=int(found["t"]),
        )
    return None


def _uid(found: Object | None) -> str:
    return str(((found or {}).get("metadata") or {}).get("uid", ""))


def _version(found: Object | None) -> str:
    return str(((found or {}).get("metadata") or {}).get("resourceVersion", ""))


def _volumes(pod: Object | None) -> list[Object]:
    return list(((pod or {}).get("spec") or {}).get("volumes") or [])
