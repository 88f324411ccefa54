"""The engine of the runtime authority: certificates and seal, handover, status, each in a thread of its own.

RFC-SECOPS-0001 §4: the orchestration engine is the only thing that moves authority.
"""

from __future__ import annotations

import json
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime
from functools import partial

from secret_authority.clients.kubernetes import Api, ApiRefusedError
from secret_authority.clients.vault import Vault, kubernetes_login
from secret_authority.clients.vault_counters import change_counters
from secret_authority.clients.vault_trail import read_trail
from secret_authority.contract.engine_settings import EngineSettings
from secret_authority.contract.names import AUTHORITY_MOUNT, ENGINE_ACCOUNT, ENGINE_LEASE, EVENTS, TRAIL_WHOLE
from secret_authority.core.catalogue.schema import CONFIG_MOUNT, DATA_MOUNT, SecretClass
from secret_authority.core.errors import LostRace, Problem, Unavailable
from secret_authority.core.evidence import Evidence, EvidenceResult, Outcome
from secret_authority.core.handover.runner import Result
from secret_authority.core.handover.state_machine import Done, Step
from secret_authority.core.ledger.audit_trail import Event
from secret_authority.core.phases import Phase
from secret_authority.engine.common.audit_events import trail_signer
from secret_authority.engine.common.backoff import Backoff
from secret_authority.engine.common.barrier import run_step
from secret_authority.engine.common.lease import Lease
from secret_authority.engine.common.loop import LeasedLoop, Part
from secret_authority.engine.common.publisher import Publisher, UnknownTrailError
from secret_authority.engine.common.restore_gate import restore_in_the_way
from secret_authority.engine.common.status import Status
from secret_authority.engine.handover.controller import Handover, Summary, lines, waits_for_a_person
from secret_authority.engine.handover.git_process import read_in_process
from secret_authority.engine.handover.git_state import GitState, GitStateReader
from secret_authority.engine.runtime_authority.drift import find_drift
from secret_authority.engine.runtime_authority.initial_configuration import FirstConfiguration, fingerprint
from secret_authority.engine.runtime_authority.seal import Seal, SealSettings, SealState
from secret_authority.engine.runtime_authority.seal_store import ClusterSealStore
from secret_authority.engine.runtime_authority.shares_trail import SharesTrail
from secret_authority.engine.runtime_authority.unseal_shares import SharesError, admitted_recipients
from secret_authority.engine.tls.certificate_store import CertificateStore

log = logging.getLogger(__name__)

# Conditions.
SERVICE = "ServiceRunning"
CERTIFICATES = "CertificatesValid"
IN_SERVICE = "VaultInService"
CONFIGURED = "VaultConfigured"
RESTORE_ENDED = "RestoreEnded"
GIT_READABLE = "GitReadable"
HANDED_OVER = "HandedOver"
TRAIL_READABLE = "AuditTrailReadable"
NO_DRIFT = "NothingUnmanaged"
SHARES_RECORDED = "SharesChangeRecorded"

BUSY_SECONDS = 1.0
QUIET_SECONDS = 5.0
# Vault's audit log holds each request, so a secret to which nothing happens is looked at ever more rarely: first after
# the first of these numbers of seconds, at last after two seconds for each secret of the catalogue, but within the
# other two. After another revision of Git, or a restart, everything is looked at right away.
PASSING_SECONDS = (1.0, 10.0, 60.0)  # what may pass by itself
SETTLED_SECONDS = (10.0, 10.0, 300.0)  # what is done, or waits for a person
_SECONDS_EACH = 2.0
CONFIGURATION_SECONDS = 60.0
# How long the published conditions may be without a new time.
PUBLISH_SECONDS = 20.0


class RuntimeAuthorityController:
    """One engine. `run` returns when it is stopped or has lost its lease."""

    def __init__(self, settings: EngineSettings, api: Api, run_name: str, status: Status) -> None:
        self._settings, self._api, self.status = settings, api, status
        lease = Lease(api, settings.namespace, ENGINE_LEASE, run_name)
        self._loop = LeasedLoop(lease, status, QUIET_SECONDS)
        self._certificates = CertificateStore(
            api, settings.namespace, settings.vault_namespace, settings.certificate_names
        )
        identity: Callable[[], str] = settings.identity_file.read_text
        ca = str(settings.ca_file)
        first = FirstConfiguration(settings.identities)
        recipients = partial(admitted_recipients, settings.admission)
        seal = SealSettings(settings.shares, settings.threshold, recipients, first)
        store = ClusterSealStore(api, settings.vault_namespace, run_name, fingerprint(first))
        pods = [Vault(pod, ca) for pod in settings.pods]
        self._seal = Seal(pods, store, seal, identity, heartbeat=partial(status.heartbeat, SERVICE))
        self._vault = Vault(settings.service, ca, kubernetes_login(ENGINE_ACCOUNT, str(settings.vault_token_file)))
        self.git_state = GitStateReader(api, settings.git, identity, read_in_process)
        self.handover = Handover(settings.cluster, api, self._vault, run_name, settings.admitted)
        self._shares_trail = SharesTrail(api, settings.vault_namespace, self._vault)
        self._publisher = Publisher(api, settings.namespace)
        # When each secret is looked at again, for the state of Git that was looked at last.
        self.pace = Backoff()
        self._paced_for: tuple[str, str] | None = None
        self._settled = False
        self._key: bytes | None = None
        self._events_known: object = None
        self._trail_looked_at = -math.inf
        self._configuration_looked_at = -math.inf
        # Replaced as a whole, never changed: another thread publishes it.
        self.published_handover: dict[str, str] = {}
        self._told: tuple[float, object] = (-math.inf, None)
        # Set while enough of Vault is in service to answer.
        self._answers = threading.Event()

    def stop(self) -> None:
        self._loop.stop()

    def run(self) -> int:
        """The loops. Returns an exit code: 0 when stopped, 1 when another engine holds the lease.

        Nothing from Git, no event and no scrape gets to the first part: Vault is unsealed whatever the others meet.
        """
        return self._loop.run(
            Part(SERVICE, lambda: QUIET_SECONDS if self.reconcile_service() else BUSY_SECONDS),
            # A look at every secret of a large catalogue may take minutes while Vault or the API server is slow.
            Part("AuthorityRunning", lambda: QUIET_SECONDS if self.reconcile_authority() else BUSY_SECONDS, 15.0),
            Part("PublishingRunning", self._publish, 5.0),
        )

    def reconcile(self) -> bool:
        """One round of every part, one after the other; True when nothing is left that can be done now."""
        quiet = self.reconcile_service() and self.reconcile_authority()
        self.publish()
        return quiet

    def reconcile_service(self) -> bool:
        """Certificates, initialisation and unseal. True when nothing is left that can be done now."""
        # Vault is unsealed with the certificates that are there, also when they cannot be looked at now.
        certified = run_step(self.status, CERTIFICATES, self.reconcile_certificates) or False
        answers = run_step(self.status, IN_SERVICE, self.reconcile_seal, (SharesError,)) or False
        if answers:
            self._answers.set()
        else:
            self._answers.clear()
        return certified and answers

    def reconcile_authority(self) -> bool:
        """Vault's configuration and the handover. True when nothing is left that can be done now."""
        if self._answers.is_set():
            allowed = run_step(self.status, RESTORE_ENDED, self.no_restore_in_the_way)
            configured = allowed and run_step(self.status, CONFIGURED, self.look_at_configuration)
            if configured and run_step(self.status, SHARES_RECORDED, self._shares_trail.record):
                self.status.set(SHARES_RECORDED, True)
            if configured and run_step(self.status, HANDED_OVER, self.hand_over):
                return True
        # What was seen before the trouble counts no more: the next round looks at everything again.
        self._key, self._configuration_looked_at = None, -math.inf
        return False

    def _publish(self) -> float:
        self.publish()
        return BUSY_SECONDS

    def publish(self) -> None:
        """Conditions and evidence, for programs and people: at once when they change, else now and then."""
        now, shown = time.monotonic(), (self.status.shown(), self.published_handover)
        try:
            if shown != self._told[1] or now - self._told[0] >= PUBLISH_SECONDS:
                conditions = json.dumps(self.status.as_dict(), sort_keys=True)
                self._publisher.status({"conditions": conditions} | self.published_handover)
                self._told = (now, shown)
            self._publisher.reconcile()
        except (Unavailable, LostRace, ApiRefusedError) as error:
            log.warning("the status cannot be published: %s", error)

    def reconcile_certificates(self) -> bool:
        bundle = self._certificates.reconcile()
        path = self._settings.ca_file
        if not path.exists() or path.read_text() != bundle:
            fresh = path.with_suffix(".new")
            fresh.write_text(bundle)
            os.replace(fresh, path)  # noqa: PTH105  atomic: a request reads the old or the new bundle
        self.status.set(CERTIFICATES, True)
        return True

    def reconcile_seal(self) -> bool:
        if not self._settings.ca_file.exists():
            raise Unavailable("there is no certificate yet to know Vault by")
        state = self._seal.reconcile()
        self.status.number("vault_pods", state.pods)
        self.status.number("vault_pods_unsealed", state.unsealed)
        text = f"{state.unsealed} of {state.pods} Vault pods are unsealed"
        self.status.set(IN_SERVICE, state.in_service, f"{text}; {_why(state)}" if state.problem else text)
        # With a majority in service Vault answers, so the rest of the round makes sense.
        return state.in_service or (state.stage.value == "configured" and state.unsealed * 2 > state.pods)

    def no_restore_in_the_way(self) -> bool:
        why = restore_in_the_way(self._api, self._settings.vault_namespace, self._settings.awaited_snapshot)
        self.status.set(RESTORE_ENDED, not why, why)
        return not why

    def look_at_configuration(self) -> bool:
        now = time.monotonic()
        if self.status.holds(CONFIGURED) and now - self._configuration_looked_at < CONFIGURATION_SECONDS:
            return True
        mounts = (self._vault.read("sys/mounts") or {}).get("data", {})
        missing = [mount for mount in (DATA_MOUNT, CONFIG_MOUNT) if f"{mount}/" not in mounts]
        if missing:
            self.status.set(CONFIGURED, False, f"not mounted yet: {', '.join(missing)}")
            return False
        self.status.set(CONFIGURED, True)
        self._configuration_looked_at = now
        drift = find_drift(self._vault)
        self.status.set(NO_DRIFT, not drift, "unmanaged: " + ", ".join(drift) if drift else "")
        self.status.number("unmanaged_configuration", len(drift))
        return True

    def hand_over(self) -> bool:
        if self._key is None:
            self._key = self.handover.key()
        git = self.git_state.read(self._key)
        self.status.set(GIT_READABLE, not git.unreadable, _unreadable(git.unreadable.values()))
        if self._paced_for != (git.revision, git.away):
            self.pace.clear()
            self._paced_for = (git.revision, git.away)
        secrets = [secret.name for secret in git.catalogue.of_class(SecretClass.BOOTSTRAP)]
        due = frozenset(name for name in secrets if self.pace.due(name))
        if secrets and not due:
            if time.monotonic() - self._trail_looked_at >= CONFIGURATION_SECONDS:
                self._look_at_trail(moved=False)
            return self._settled
        summary = self.handover.run(git, self._key, self._may_not_change, due.__contains__)
        if summary.skipped:
            self.pace.clear()
            return False  # stopped: what was not looked at has no place in the evidence; the next engine tells
        self.publish_handover(git, summary)
        for result in summary.results:
            if result.secret in due:
                self._note_look(result, len(secrets))
        self._settled = summary.settled
        return summary.settled

    def _note_look(self, result: Result, secrets: int) -> None:
        done = isinstance(result.end, Done)
        least, low, high = SETTLED_SECONDS if done or waits_for_a_person(result) else PASSING_SECONDS
        most = min(max(_SECONDS_EACH * secrets, low), high)
        self.pace.looked(result.secret, "done" if done else str(result.end), least, most)

    def _may_not_change(self) -> bool:
        return self._loop.stopped() or not self._loop.held()

    def publish_handover(self, git: GitState, summary: Summary) -> None:
        total, done = len(summary.results), len(summary.done)
        self.status.number("secrets_to_hand_over", total)
        self.status.number("secrets_handed_over", done)
        self.status.number("notices", sum(len(result.notices) for result in summary.results))
        message = f"{done} of {total} bootstrap secrets are handed over"
        # Nobody knows whether an entry that cannot be read has been handed over.
        unknown = [str(problem) for problem in git.wrong_entries]
        first = next((str(result.end) for result in summary.open), None) or next(iter(unknown), None)
        complete = summary.complete and not unknown
        self.status.set(HANDED_OVER, complete, f"{message}; {first}" if first else message)
        self._look_at_trail(any(Step.AUDIT in result.steps for result in summary.results))
        evidence = Evidence(
            Phase.RUNTIME_AUTHORITY,
            git.revision,
            datetime.now(UTC),
            tuple(_finding(result.secret, isinstance(result.end, Done), str(result.end)) for result in summary.results),
        )
        self.published_handover = {
            "handover": json.dumps(lines(summary.results, git.ciphertexts)),
            "evidence": evidence.to_json(),
        }

    def _look_at_trail(self, moved: bool) -> None:
        """Publish the trail when it has changed: the other engines and people at `enter` append events as well."""
        known = self._trail_mark()
        if known != self._events_known or moved:
            self._events_known = None  # until it is published
            trail = read_trail(self._vault)
            self.status.set(TRAIL_READABLE, not trail.malformed, "; ".join(trail.malformed))
            self._publish_trail(trail.events)
            self._events_known = known
        else:
            self.status.confirm(TRAIL_READABLE)
            self.status.confirm(TRAIL_WHOLE)
        self._trail_looked_at = time.monotonic()

    def _trail_mark(self) -> object:
        """Another one when an event may have been appended, also for a secret that has events already."""
        secrets = self._vault.list(f"{AUTHORITY_MOUNT}/metadata/{EVENTS}")
        counters = change_counters(self._vault, [AUTHORITY_MOUNT])
        if counters is not None:
            return len(secrets), counters
        return tuple((name, len(self._vault.list(f"{AUTHORITY_MOUNT}/metadata/{EVENTS}/{name}"))) for name in secrets)

    def _publish_trail(self, events: Iterable[Event]) -> None:
        try:
            missing = self._publisher.trail(events, trail_signer(self._vault))
        except UnknownTrailError as error:
            self.status.set(TRAIL_WHOLE, False, str(error))
            return
        message = ""
        if missing:
            message = (
                f"Vault's audit trail lacks {len(missing)} events that were published before, such as {missing[0].id} "
                f"of {missing[0].secret} at {missing[0].at}: Vault was restored from an older snapshot, or somebody "
                "removed them. The published copy keeps them (docs/runbooks/handover.md)"
            )
        self.status.set(TRAIL_WHOLE, not missing, message)


def _why(state: SealState) -> str:
    return f"{state.problem} ({state.detail})" if state.detail else str(state.problem)


def _finding(secret: str, done: bool, text: str) -> EvidenceResult:
    return EvidenceResult(secret, Outcome.MATCHES if done else Outcome.NOT_HANDED_OVER, "Vault" if done else text)


def _unreadable(problems: Collection[Problem]) -> str:
    """Files that cannot be decrypted, and what Flux would not apply as it is, each once."""
    closed = ", ".join(sorted({problem.file for problem in problems if problem.field == "sops"}))
    others = sorted({str(problem) for problem in problems if problem.field != "sops"})
    return "; ".join([*([f"cannot be decrypted: {closed}"] if closed else []), *others])
