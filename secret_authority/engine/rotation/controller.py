"""The loop of rotation: what is due or asked for, a few at once, each taken as far as it goes; status and metrics.

RFC-SECOPS-0001 §6. Everything that has to survive is in Vault. Git and Pulumi are not asked: the catalogue comes as a
mounted file, and where the policy in a secret's metadata differs from it, the metadata wins and the
difference is reported.
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from secret_authority.clients.kubernetes import Api, ApiRefusedError, create_or_patch
from secret_authority.clients.vault import Vault, VaultRefusedError
from secret_authority.contract.names import (
    ROTATION_GIVEN,
    ROTATION_LEASE,
    ROTATION_MOUNT,
    ROTATION_REQUESTS,
    ROTATION_STATUS,
    STATUS_LABELS,
)
from secret_authority.contract.rotation_settings import RotationSettings
from secret_authority.core.catalogue.rotation_policy import RotationPolicy, parse_duration
from secret_authority.core.catalogue.schema import CatalogueSecret, is_watched
from secret_authority.core.errors import LostRace, Unavailable
from secret_authority.core.handover.state_machine import Record
from secret_authority.core.rotation import record
from secret_authority.core.rotation.cycle import Cycle
from secret_authority.core.rotation.document import Document, Request, RequestKind, Start, State
from secret_authority.core.rotation.rotator import (
    Accepts,
    Connected,
    Dated,
    Overlap,
    Provisioner,
    Rotator,
    TargetRefusedError,
    Value,
)
from secret_authority.core.rotation.runner import advance
from secret_authority.core.rotation.schedule import Candidate, InFlight, admit, candidate, due_at, expires_at
from secret_authority.core.rotation.state_machine import DRAIN, Answer, Clean, Rules
from secret_authority.core.rotation.strategies import alerts
from secret_authority.engine.common.audit_events import digest_key
from secret_authority.engine.common.barrier import run_step
from secret_authority.engine.common.lease import Lease
from secret_authority.engine.common.loop import LeasedLoop, Part, rest_after
from secret_authority.engine.common.status import Status
from secret_authority.engine.rotation.evidence import DeliveryEvidence
from secret_authority.engine.rotation.expiry import ExpiryWatch
from secret_authority.engine.rotation.metrics import attempts, of_secret
from secret_authority.engine.rotation.policies import answer_watched, apply_policies
from secret_authority.engine.rotation.rotators import registry
from secret_authority.engine.rotation.store import VaultRotationStore, read_requests, vault_clock

log = logging.getLogger(__name__)

# Conditions.
RUNNING = "RotationRunning"
WORKING = "RotationWorks"
HEALTHY = "RotationsHealthy"
ACCEPTED = "CredentialsAccepted"

# The rest between two rounds: while a rotation waits for something, and else, when a request is what it may find.
BUSY_SECONDS = 0.5
QUIET_SECONDS = 2.0
# Every secret's metadata are read this often, whatever happens: somebody may have changed a policy.
FULL_LOOK_SECONDS = 300.0
# Each current value is tried at its target about this often. One whose target could not be set up yet is tried sooner,
# after so many times ever more rarely.
VERIFY_SECONDS = 600.0
PROVISION_SECONDS = 3.0
PROVISION_ATTEMPTS = 10
PUBLISH_SECONDS = 10.0


@dataclass
class Known:
    """What is known of one secret between two looks. `since`: when its present value came in force."""

    entry: CatalogueSecret
    rotator: Rotator
    cycle: Cycle
    store: VaultRotationStore
    policy: RotationPolicy
    drain: timedelta = DRAIN
    since: datetime | None = None
    # When the value itself says that it ends.
    until: datetime | None = None
    due: datetime | None = None
    document: Document = field(default_factory=Document)
    unclean: bool = True
    waits_for: str = ""
    problem: str = ""
    drift: str = ""
    requests: tuple[Request, ...] = ()
    # It was admitted in an earlier round and could not begin.
    waited: bool = False
    accepted: Accepts = Accepts.UNKNOWN
    verify_at: float = float("-inf")
    # How often its target could not be set up, and why not.
    attempts: int = 0
    unprovisioned: str = ""
    # The facts of which metrics and the entry of the status were made last: at rest nothing is made again.
    told: tuple[object, ...] = ()
    shown_for: tuple[object, ...] = ()
    shown: dict[str, object] = field(default_factory=dict)

    @property
    def facts(self) -> tuple[object, ...]:
        """What metrics and status are made of, but for the time."""
        return (
            *(self.document, self.policy, self.since, self.until, self.accepted, self.requests),
            *(self.waits_for, self.problem, self.unprovisioned, self.drift),
        )

    @property
    def rules(self) -> Rules:
        """Applying may break an older value only where a target knows them."""
        settled = self.rotator.overlap in (Overlap.NONE, Overlap.TWO_SLOTS)
        return Rules(self.policy.revoke_old, self.drain, settled)

    @property
    def workloads(self) -> frozenset[str]:
        """Consumer Secrets stand for the workloads that use them."""
        return frozenset(f"{consumer.namespace}/{consumer.secret}" for consumer in self.entry.consumers)


class RotationController:
    """One engine. `run` returns when it is stopped or has lost its lease."""

    def __init__(
        self,
        settings: RotationSettings,
        api: Api,
        vault: Vault,
        namespace: str,
        run_name: str,
        status: Status,
        drain: timedelta = DRAIN,
        looks: Vault | None = None,
    ) -> None:
        """`looks`: Vault for an identity that looks at every secret with few rules, by default `vault`."""
        self._drain = drain
        self._settings, self._api, self._vault, self._looks = settings, api, vault, looks or vault
        self._namespace, self._run_name, self._status = namespace, run_name, status
        self._loop = LeasedLoop(Lease(api, namespace, ROTATION_LEASE, run_name), status, QUIET_SECONDS)
        self._entries = {secret.name: secret for secret in settings.catalogue if secret.rotator is not None}
        self._watched: dict[str, VaultRotationStore] = {}
        self._known: dict[str, Known] = {}
        self._answered: set[str] = set()
        for secret in filter(is_watched, settings.catalogue):
            self._watched[secret.name] = VaultRotationStore(vault, secret, b"", self._answered, self._looks)
        self._expiry = ExpiryWatch(self._looks, self._watched, status, run_name)
        self._looked_at = float("-inf")
        self._published: tuple[float, object] = (float("-inf"), None)
        self._unpublished = True

    def stop(self) -> None:
        self._loop.stop()

    def run(self) -> int:
        """The loop. Returns an exit code: 0 when stopped, 1 when another engine holds the lease."""
        return self._loop.run(Part(RUNNING, self._timed_round, 15.0))

    def _timed_round(self) -> float:
        """A round; how many seconds to rest after it."""
        begun = time.monotonic()
        quiet = self.reconcile()
        return rest_after(time.monotonic() - begun, QUIET_SECONDS if quiet else BUSY_SECONDS)

    def reconcile(self) -> bool:
        """One round; True when nothing is in flight."""
        quiet = run_step(self._status, WORKING, self._round, (ValueError,))
        self._publish()
        return quiet is not False

    def look_again(self) -> None:
        """Read every secret's document and metadata in the next round, whenever that was done last."""
        self._looked_at = float("-inf")

    def _round(self) -> bool:
        now, clock_ok = vault_clock(self._vault)
        self._status.number("vault_clock_agrees", int(clock_ok))
        self._status.number("vault_clock_skew_seconds", abs(datetime.now(UTC) - now).total_seconds())
        if time.monotonic() - self._looked_at >= FULL_LOOK_SECONDS:
            self._look_at_all(now)
            self._looked_at = time.monotonic()
        self._read_requests(now)
        started = self._admit(now)
        for name, known in self._known.items():
            known.cycle.start, known.cycle.admitted = started.get(name), known.document.generation
            if name in started or known.document.in_flight or known.requests or known.unclean:
                self._advance(name, known)
                self._measure(name, known, now)
        self._verify_one()
        self._tell(now)
        self._status.set(WORKING, True)
        return not any(known.document.in_flight or known.requests for known in self._known.values())

    def _look_at_all(self, now: datetime) -> None:
        key = digest_key(self._vault)
        given = {name.rstrip("/") for name in self._looks.list(f"{ROTATION_MOUNT}/metadata/{ROTATION_GIVEN}")}
        for name, entry in self._entries.items():
            known = self._known.get(name) or self._new(entry, key)
            self._known[name] = known
            self._look(known)
            self._measure(name, known, now)
            if name in given:
                known.store.forget_given(now)
        self._expiry.look()

    def _new(self, entry: CatalogueSecret, key: bytes) -> Known:
        store = VaultRotationStore(self._vault, entry, key, self._answered, self._looks)
        rotator = registry.build(entry, self._login)
        policy = entry.rotation or RotationPolicy(type="static")
        evidence = DeliveryEvidence(self._api, entry, lambda: vault_clock(self._vault)[0])
        cycle = Cycle(store, rotator, evidence, self._run_name, policy.revoke_old)
        return Known(entry, rotator, cycle, store, policy, drain_of(entry) or self._drain)

    def _login(self, name: str) -> Mapping[str, str]:
        """The present value of another secret of the catalogue, for a rotator that has to log in to its target."""
        entry = next(secret for secret in self._settings.catalogue if secret.name == name)
        newest = VaultRotationStore(self._vault, entry, b"\0" * 32).newest()
        if newest.value is None:
            raise Unavailable(f"Vault has no value of {name} yet")
        return newest.value.fields

    def _look(self, known: Known) -> None:
        """Read the document and the metadata of one secret: where it is, its policy, since when its value is."""
        self._read(known)
        known.due = due_at(known.entry.name, known.policy, known.since, known.until) if known.since else None

    def _read(self, known: Known) -> None:
        try:
            known.document, _, leftovers = known.store.document()
            custom = known.store.metadata()
            found = Record.from_metadata(custom)
            policy = RotationPolicy.from_metadata(custom)
        except (ValueError, VaultRefusedError) as error:
            known.problem, known.since = str(error), None
            return
        known.unclean = bool(leftovers)
        wanted = known.entry.rotation
        known.drift = "its policy in Vault differs from the catalogue's" if policy and policy != wanted else ""
        known.policy = policy or known.policy
        known.cycle.revoke_old = known.policy.revoke_old
        if found is None or found.secret != known.entry.name:
            # Only what Vault is the authority of is rotated.
            known.problem, known.since = "Vault is not its authority yet", None
            return
        known.problem = ""
        known.since = datetime.fromisoformat(custom.get(record.AT) or found.at)
        if isinstance(known.rotator, Dated):
            newest = known.store.newest().value
            known.until = known.rotator.expires(newest) if newest else None

    def _read_requests(self, now: datetime) -> None:
        asked = {name.rstrip("/") for name in self._looks.list(f"{ROTATION_MOUNT}/metadata/{ROTATION_REQUESTS}")}
        for name, known in self._known.items():
            try:
                known.requests = read_requests(self._vault, name, self._answered) if name in asked else ()
            except ValueError as error:
                known.requests = ()
                log.error("%s: a request is invalid: %s", name, error)
            if apply_policies(known.store, known.requests, self._run_name, now):
                known.requests = tuple(one for one in known.requests if one.kind is not RequestKind.POLICY)
                self._look(known)
        for name, store in self._watched.items():
            if name in asked and answer_watched(store, self._run_name, now):
                self._expiry.look()

    def _admit(self, now: datetime) -> dict[str, Start]:
        waiting: list[Candidate] = []
        in_flight: dict[str, InFlight] = {}
        for name, known in self._known.items():
            if known.document.state is not State.IDLE:
                in_flight[name] = InFlight(known.rotator.target, known.workloads)
            elif known.since is not None and (known.requests or (known.due is not None and known.due <= now)):
                target, workloads = known.rotator.target, known.workloads
                one = candidate(name, known.policy, known.since, now, known.requests, target, workloads, known.until)
                if one is not None:
                    waiting.append(replace(one, waited=known.waited))
        return admit(waiting, in_flight)

    def _advance(self, name: str, known: Known) -> None:
        if known.since is None and not known.document.in_flight:
            known.waits_for = known.problem
            return
        # Until a look has come to its end: an answer of Vault may be lost although the document was written.
        known.unclean = True
        try:
            with _connected(known.rotator):
                result = advance(known.rules, known.policy.failure_strategy, known.cycle, random.random)
        except (VaultRefusedError, ApiRefusedError, ValueError, KeyError) as error:
            log.error("%s: %s", name, error)
            known.problem = str(error)
            return
        for move in result.moves:
            if not isinstance(move, (Clean, Answer)):
                log.info("%s: %s", name, getattr(move, "what", type(move).__name__.lower()))
        known.waits_for = result.unavailable or result.waits_for
        known.waited = known.cycle.start is not None
        for counter in attempts(known.document, result.moves, result.document.trigger):
            self._status.count(counter)
        if result.moves:
            self._look(known)
        elif not result.unavailable:
            known.document, known.unclean = result.document, False

    def _measure(self, name: str, known: Known, now: datetime) -> None:
        """The metrics of a rotation, and of what it took: they change with time."""
        for metric, value in of_secret(name, known.document, known.cycle.seen, known.policy, now).items():
            self._status.number(metric, value)

    def _verify_one(self) -> None:
        """Try one current value at its target: somebody may have changed the target behind Vault's back.

        What the target lacks is made before, unless a rotation is in flight.
        """
        now = time.monotonic()
        for name, known in self._known.items():
            if known.verify_at > now or known.document.in_flight or known.since is None or not known.rotator.target:
                continue
            newest = known.store.newest()
            if newest.value is None:
                known.accepted, known.verify_at = Accepts.UNKNOWN, now + VERIFY_SECONDS
                return
            known.unprovisioned = _provision(name, known.rotator, newest.value)
            known.attempts = known.attempts + 1 if known.unprovisioned else 0
            more = min(max(known.attempts - PROVISION_ATTEMPTS, 0), 10)
            again = PROVISION_SECONDS * 2**more if known.unprovisioned else VERIFY_SECONDS
            known.accepted = Accepts.UNKNOWN if known.unprovisioned else known.rotator.accepts(newest.value)
            known.verify_at = time.monotonic() + min(again, VERIFY_SECONDS)
            return

    def _tell(self, now: datetime) -> None:
        bad: list[str] = []
        for name, known in self._known.items():
            if known.facts != known.told:
                self._tell_of(name, known)
                known.told = known.facts
            document = known.document
            if document.failures or document.state in (State.HELD, State.CONFLICT):
                late = now - known.due if known.due else timedelta()
                if alerts(document, known.policy.failure_strategy, late, known.policy.rotate_before):
                    bad.append(f"{name} is {document.state}: {document.error or document.ending or known.waits_for}")
            bad += [f"{name}: {problem}" for problem in (known.problem, known.unprovisioned) if problem]
        self._expiry.tell(now)
        refused = sorted(name for name, known in self._known.items() if known.accepted is Accepts.NO)
        self._status.number("rotations_in_flight", sum(known.document.in_flight for known in self._known.values()))
        self._status.set(HEALTHY, not bad, "; ".join(bad[:5]))
        words = f"the target refuses what Vault holds of {', '.join(refused)}" if refused else ""
        self._status.set(ACCEPTED, not refused, words)

    def _tell_of(self, name: str, known: Known) -> None:
        """The metrics of one secret that change with what is known of it; the others are in `_measure`."""
        label = f'{{secret="{name}"}}'
        for state in State:
            held = int(known.document.state is state)
            self._status.number(f'rotation_state{{secret="{name}",state="{state}"}}', held)
        if known.since is not None:
            expires = known.until or expires_at(known.policy, known.since)
            self._status.number(f"rotation_last_success_timestamp_seconds{label}", known.since.timestamp())
            for metric, moment in (
                ("rotation_due_timestamp_seconds", known.due),
                ("secret_expiry_timestamp_seconds", expires),
            ):
                self._status.number(f"{metric}{label}", moment.timestamp() if moment else None)
        self._status.number(f"rotation_failures{label}", known.document.failures)
        accepted = None if known.accepted is Accepts.UNKNOWN else int(known.accepted is Accepts.YES)
        self._status.number(f"credential_accepted{label}", accepted)

    def _publish(self) -> None:
        """The status as a ConfigMap, at once when it has changed. It holds no value."""
        for name, known in self._known.items():
            if known.facts != known.shown_for:
                known.shown_for, known.shown = known.facts, shown(name, known)
                self._unpublished = True
        watched = {name: one.shown() for name, one in sorted(self._expiry.found.items())}
        rest, now = (watched, self._status.shown()), time.monotonic()
        if not self._unpublished and rest == self._published[1] and now - self._published[0] < PUBLISH_SECONDS:
            return
        secrets = {name: known.shown for name, known in self._known.items()}
        data = {"secrets": json.dumps(secrets, sort_keys=True), "watched": json.dumps(watched, sort_keys=True)}
        data["conditions"] = json.dumps(self._status.as_dict())
        try:
            create_or_patch(self._api, "configmaps", self._namespace, ROTATION_STATUS, {"data": data}, STATUS_LABELS)
            self._published, self._unpublished = (now, rest), False
        except (Unavailable, LostRace, ApiRefusedError) as error:
            log.warning("the status cannot be published: %s", error)


def drain_of(entry: CatalogueSecret) -> timedelta | None:
    """How long an old value must be out of use before it is revoked, where the entry says so."""
    text = entry.rotator.settings.get("drain") if entry.rotator else None
    return None if text is None else parse_duration(text)


def _connected(rotator: Rotator) -> AbstractContextManager[None]:
    return rotator.connected() if isinstance(rotator, Connected) else nullcontext()


def _provision(name: str, rotator: Rotator, value: Value) -> str:
    """Make what the target lacks for this value. Empty, or why that cannot be done now."""
    if not isinstance(rotator, Provisioner):
        return ""
    try:
        made = rotator.provision(value)
    except (Unavailable, TargetRefusedError) as error:
        return str(error)
    if made:
        log.info("%s: made at %s: %s", name, rotator.target, made)
    return ""


def shown(name: str, known: Known) -> dict[str, object]:
    """What `secret-authority rotation status` prints of a secret."""
    due, document = known.due, known.document
    return {
        "state": document.state.value,
        "rotator": known.rotator.kind,
        "generation": document.generation,
        "id": document.id,
        "since": known.since.astimezone(UTC).isoformat(timespec="seconds") if known.since else "",
        "due": due.astimezone(UTC).isoformat(timespec="seconds") if due else "",
        "trigger": document.trigger,
        "why": document.why,
        "result": document.result,
        "waitsFor": known.waits_for,
        "problem": known.problem or known.unprovisioned or known.drift,
        "requests": [request.id for request in known.requests],
    }
