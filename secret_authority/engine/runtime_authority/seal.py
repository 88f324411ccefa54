"""Initialisation and unseal: one look at every Vault pod, then the one thing to do.

Only the first pod is ever initialised, only by who holds the create-only claim, and only while no shares are
stored; the others join it (retry_join). So pods that start together make one cluster. RFC-SECOPS-0001 §5:
unseal material is stored sealed; §7: it belongs to the root.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from secret_authority.clients.kubernetes import ApiRefusedError
from secret_authority.clients.vault import Vault, VaultRefusedError
from secret_authority.contract.names import INITIALISATION, VAULT, VAULT_NAMESPACE
from secret_authority.core.errors import Unavailable
from secret_authority.engine.runtime_authority.initial_configuration import (
    FirstConfiguration,
    RootAttemptError,
    configure,
    generate_root,
    revoke_every_root,
)
from secret_authority.engine.runtime_authority.unseal_shares import SealedShares, SharesError, open_shares, seal_shares

log = logging.getLogger(__name__)

# How long the answer of sys/init is awaited, and how often the wait is shown to be alive.
INIT_SECONDS = 900.0
HEARTBEAT_SECONDS = 10.0
# A pod without data takes its shares, joins the others, and opens by itself when their data have arrived. Shares given
# again meanwhile would open it twice: two loops of one Vault 1.21 then wait for leadership, one takes the word that was
# meant for the other, and the pod does not notice when it has lost it: it serves old values, and nobody can write. It
# is left alone for this long.
JOIN_SECONDS = 120.0


class Stage(StrEnum):
    """How far the initialisation of this Vault has come, on record outside of Vault."""

    NOTHING = "nothing"
    CLAIMED = "claimed"
    REFUSED = "refused"  # it was claimed, but Vault had been initialised by somebody else
    STORED = "stored"  # the shares are stored in ciphertext
    CONFIGURED = "configured"  # first configuration done, root token revoked


@dataclass(frozen=True)
class Placeholder:
    """One state of the object that a cleared Vault leaves in the place of its shares; each clearing changes it."""

    uid: str
    version: str


class SealStore(Protocol):
    """Keeps the stage and the sealed shares. All changes are create-only or forward."""

    def stage(self) -> Stage: ...

    def claim(self) -> None:
        """Create the record of the initialisation. Raises `LostRace` when there is one."""

    def refuse(self) -> None:
        """Record that Vault had been initialised by somebody else when it was asked to initialise."""

    def load(self) -> SealedShares: ...

    def placeholder(self) -> Placeholder | None:
        """What a cleared Vault has left in the place of its shares. Raises `LostRace` when shares are stored."""

    def store(self, shares: SealedShares, placeholder: Placeholder | None) -> None:
        """Create the stored shares, or put them in the place of that very `placeholder`.

        Raises `LostRace` when there are some, and when Vault was cleared since `placeholder` was read.
        """

    def root_attempt(self) -> str:
        """The nonce of the last generation of a root token that an engine began; empty for none."""

    def note_root_attempt(self, nonce: str) -> None: ...

    def mark_configured(self) -> None: ...


class SealProblem(StrEnum):
    """Why Vault is not in service although the engine runs."""

    FIRST_POD_AWAY = "the first Vault pod cannot be reached"
    SHARES_LOST = (
        "Vault was initialised, but the answer with its unseal shares was lost before they were stored. It was never "
        "unsealed, so it holds nothing. `pulumi up` clears it and has it initialised again; by hand: "
        f"kubectl --namespace {VAULT_NAMESPACE} delete configmap/{INITIALISATION} "
        f"pvc/data-{VAULT}-0 pvc/audit-{VAULT}-0 pod/{VAULT}-0"
    )
    SHARES_UNUSABLE = (
        "the stored unseal shares could not open Vault after a restart. While it is unsealed, put those of Git back: "
        "secret-authority cluster restore-shares CLUSTER"
    )
    STORAGE_LOST = (
        "shares are stored, but no Vault pod has data. Restore a snapshot, or, to start over with an empty Vault, "
        "delete the stored shares and the ConfigMap of the initialisation"
    )
    STRANGER = (
        "Vault was initialised by somebody else, and may hold values: nothing is done to it (docs/runbooks/unseal.md)"
    )
    ROOT_ATTEMPT = (
        "Vault is unsealed, but its first configuration waits: somebody generates a root token, which is not cancelled "
        "for them. If nobody does any more, run: "
        f"kubectl --namespace {VAULT_NAMESPACE} exec {VAULT}-0 --container {VAULT} -- "
        "/bin/vault operator generate-root -cancel -tls-skip-verify"
    )
    SEALED = "Vault is sealed and does not open with the stored shares"


@dataclass(frozen=True)
class SealState:
    """What a round found and left behind. `unsealed` counts pods in service."""

    stage: Stage
    pods: int
    reachable: int
    unsealed: int
    problem: SealProblem | None = None
    # More on the problem, without any share.
    detail: str = ""

    @property
    def in_service(self) -> bool:
        return self.stage is Stage.CONFIGURED and self.unsealed == self.pods and self.problem is None


@dataclass(frozen=True)
class SealSettings:
    shares: int
    threshold: int
    # From the text of the cluster's identity file, the age recipients: the cluster and the admitted root recipients.
    # Raises `SharesError` when nobody admitted them.
    recipients: Callable[[str], tuple[str, ...]]
    first: FirstConfiguration


class Seal:
    """Keeps the pods of one Vault initialised and unsealed. `identity` reads the cluster's age identity.

    `heartbeat` is called while a round has to wait, so that it is seen to be alive.
    """

    def __init__(
        self,
        pods: Sequence[Vault],
        store: SealStore,
        settings: SealSettings,
        identity: Callable[[], str],
        pause: Callable[[float], object] = time.sleep,
        heartbeat: Callable[[], object] = lambda: None,
    ) -> None:
        self._pause, self._heartbeat = pause, heartbeat
        self._pods, self._store, self._settings, self._identity = list(pods), store, settings, identity
        self._root_token: str | None = None
        # When a pod was given all shares and had not opened yet, by address.
        self._joining: dict[str, float] = {}

    def reconcile(self) -> SealState:
        """Look, do what can be done now, and give the state. Raises `Unavailable` when a system is away."""
        statuses = [_status(pod) for pod in self._pods]
        stage = self._store.stage()
        reachable = sum(status is not None for status in statuses)

        def state(problem: SealProblem | None = None, unsealed: int = 0, detail: str = "") -> SealState:
            return SealState(stage, len(self._pods), reachable, unsealed, problem, detail)

        if stage in (Stage.NOTHING, Stage.CLAIMED, Stage.REFUSED):
            first = statuses[0]
            if first is None:
                return state(SealProblem.FIRST_POD_AWAY)
            if stage is Stage.REFUSED:
                return state(SealProblem.STRANGER)
            initialised = [status for status in statuses if status and status["initialized"]]
            if initialised:
                return state(SealProblem.SHARES_LOST if self._is_empty(stage, initialised) else SealProblem.STRANGER)
            self._initialise(stage)
            stage = Stage.STORED
            statuses = [_status(pod) for pod in self._pods]
        elif reachable == len(self._pods) and not any(status and status["initialized"] for status in statuses):
            return state(SealProblem.STORAGE_LOST)
        shares, detail = self._open_shares()
        for pod, status in zip(self._pods, statuses, strict=True):
            if status is None or not status["sealed"]:
                # Open, or ended: a new process takes shares again.
                self._joining.pop(pod.address, None)
        sealed = [(pod, s) for pod, s in zip(self._pods, statuses, strict=True) if s is not None and s["sealed"]]
        if sealed and shares:
            self._unseal([(pod, status) for pod, status in sealed if not self._joins(pod)], shares)
        statuses = [_status(pod) for pod in self._pods]
        unsealed = sum(status is not None and not status["sealed"] for status in statuses)
        if not shares:
            return state(SealProblem.SHARES_UNUSABLE, unsealed, detail)
        if stage is Stage.STORED and unsealed:
            try:
                self._configure(shares)
            except RootAttemptError:
                return state(SealProblem.ROOT_ATTEMPT, unsealed)
            stage = Stage.CONFIGURED
        stuck = bool(sealed) and not unsealed
        return state(SealProblem.SEALED if stuck else None, unsealed)

    def _is_empty(self, stage: Stage, initialised: Sequence[Mapping[str, Any]]) -> bool:
        """Whether this Vault can never have held a value.

        This program asked for its initialisation and was not refused, nobody has the shares, and it is sealed. Anything
        else may be somebody's.
        """
        wanted = (self._settings.shares, self._settings.threshold)
        return stage is Stage.CLAIMED and all(
            status["sealed"] and (status.get("n", wanted[0]), status.get("t", wanted[1])) == wanted
            for status in initialised
        )

    def _open_shares(self) -> tuple[tuple[str, ...], str]:
        """The shares that would open Vault after a restart; none, and why, when they would not."""
        try:
            return open_shares(self._store.load(), self._identity()), ""
        except SharesError as error:
            return (), str(error)

    def _request_initialisation(self) -> dict[str, Any]:
        """sys/init, once. Its answer holds the shares and cannot be had again, so it is awaited for minutes."""
        body = {"secret_shares": self._settings.shares, "secret_threshold": self._settings.threshold}
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(self._pods[0].write, "sys/init", body, INIT_SECONDS)
            while not wait([asked], HEARTBEAT_SECONDS).done:
                self._heartbeat()
        try:
            return asked.result()
        except VaultRefusedError as error:
            if any("already initialized" in text for text in error.errors):
                self._store.refuse()
            raise

    def _initialise(self, stage: Stage) -> None:
        recipients = self._settings.recipients(self._identity())
        # Read before Vault is asked: shares of a Vault that is cleared meanwhile can then never be stored.
        placeholder = self._store.placeholder()
        if stage is Stage.NOTHING:
            self._store.claim()
        settings = self._settings
        answer = self._request_initialisation()
        sealed = seal_shares(answer["keys_base64"], settings.threshold, recipients)
        root_token = str(answer["root_token"])
        del answer
        # Until this is done the shares exist in this process alone, so it does not give up while it lives.
        while True:
            try:
                self._store.store(sealed, placeholder)
            except (Unavailable, ApiRefusedError) as error:
                log.error("the unseal shares cannot be stored yet: %s", error)
                self._heartbeat()  # a restart of this process would lose them
                self._pause(1.0)
            else:
                break
        self._root_token = root_token
        log.info("Vault is initialised; %d shares are stored, encrypted", settings.shares)

    def _unseal(self, sealed: Sequence[tuple[Vault, dict[str, Any]]], shares: Sequence[str]) -> None:
        for pod, status in sealed:
            try:
                if status.get("progress"):
                    # Of an attempt that ended early, or of somebody else: shares of another set would spoil this one.
                    pod.write("sys/unseal", {"reset": True})
                for number, share in enumerate(shares, 1):
                    if number == len(shares):
                        # Before the request: where the pod joins, the answer may take longer than it is awaited.
                        self._joining[pod.address] = time.monotonic()
                    if not pod.write("sys/unseal", {"key": share})["sealed"]:
                        log.info("%s is unsealed", pod.address)
                        self._joining.pop(pod.address, None)
                        break
            except VaultRefusedError as error:
                # A pod that has not found the others yet; the next round tries again.
                self._joining.pop(pod.address, None)
                log.info("%s cannot be unsealed yet: %s", pod.address, "; ".join(error.errors))
            except Unavailable as error:
                log.info("%s cannot be unsealed yet: %s", pod.address, error)

    def _joins(self, pod: Vault) -> bool:
        return time.monotonic() - self._joining.get(pod.address, float("-inf")) < JOIN_SECONDS

    def _configure(self, shares: Sequence[str]) -> None:
        active = next((pod for pod in self._pods if _health(pod) == 200), None)
        if active is None:
            raise Unavailable("no Vault pod is active yet")
        if self._root_token is None:
            log.info("taking up a first configuration that was not finished")
            self._root_token = generate_root(active, shares, self._store.root_attempt(), self._store.note_root_attempt)
        root = active.with_token(self._root_token)
        # Whatever happens next, this token is not used a second time: a later try makes one of its own, and
        # revokes this one with the others.
        self._root_token = None
        try:
            configure(root, self._settings.first)
            count = revoke_every_root(root)
        except Exception:
            _end(root)
            raise
        self._store.mark_configured()
        log.info("first configuration done; %d root token(s) revoked, none works", count)


def _end(root: Vault) -> None:
    """Revoke the root token of a first configuration that failed: tries come often, and each makes one."""
    try:
        root.write("auth/token/revoke-self", {})
        log.warning("the first configuration failed; its root token is revoked")
    except (Unavailable, VaultRefusedError) as error:
        log.error(
            "the first configuration failed, and whether its root token works is not known (%s); "
            "the next one that ends well revokes every root token",
            error,
        )


def _status(pod: Vault) -> dict[str, Any] | None:
    try:
        return pod.read("sys/seal-status")
    except Unavailable:
        return None


def _health(pod: Vault) -> int | None:
    try:
        return pod.health()
    except Unavailable:
        return None
