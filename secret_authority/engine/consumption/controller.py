"""The loop of layer 5: first values, configuration, delivery to consumers, restarts, status.

RFC-SECOPS-0001 §3.2 (phase 4). It reads no value of a bootstrap secret and no Kubernetes Secret; workloads
never talk to Vault.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

from secret_authority.clients.kubernetes import Api, ApiRefusedError, create_or_patch
from secret_authority.clients.vault import Vault, VaultRefusedError
from secret_authority.contract.consumption_settings import ConsumptionSettings
from secret_authority.contract.names import CONSUMPTION_LEASE, CONSUMPTION_STATUS, STATUS_LABELS
from secret_authority.core.catalogue.schema import CatalogueSecret, SecretClass
from secret_authority.core.errors import LostRace, Unavailable
from secret_authority.core.evidence import Evidence, EvidenceResult, Outcome
from secret_authority.core.phases import Phase
from secret_authority.engine.common.audit_events import consumption_digest_key
from secret_authority.engine.common.backoff import Backoff
from secret_authority.engine.common.barrier import run_step
from secret_authority.engine.common.lease import Lease
from secret_authority.engine.common.loop import LeasedLoop, Part, rest_after
from secret_authority.engine.common.status import Status
from secret_authority.engine.consumption.config_sync import sync_config
from secret_authority.engine.consumption.delivery import SecretDelivery, SyncStatus
from secret_authority.engine.consumption.first_write import FirstWrites, RunInfo, State
from secret_authority.engine.consumption.restarts import WorkloadRestarts
from secret_authority.engine.consumption.versions import newest_version
from secret_authority.engine.tls.secret_store_bundles import SecretStoreBundles

log = logging.getLogger(__name__)


# Conditions.
TRUSTED = "StoresTrustVault"
VALUES = "ValuesInVault"
DELIVERED = "Delivered"
NOT_ROLLED_BACK = "VaultNotRolledBack"

# Between two rounds, and how often Vault is asked meanwhile whether something was written: a new version waits for no
# more than that.
BUSY_SECONDS = 1.0
QUIET_SECONDS = 2.0
PEEK_SECONDS = 0.5
# The same after a round that something written has brought about: more often follows.
SOON_SECONDS = 0.5
# First values and configuration change rarely: how soon the next look follows, and the longest pause between two while
# nothing changes. A new version of a secret with a consumer is seen by delivery, and looked at at once.
VALUES_SECONDS = 30.0
SETTLED_SECONDS = 600.0
# For so long in a round are secrets looked at again: a thousand can be due at once, and a new version does not wait for
# them. The others have their turn in the next round.
AGAIN_SECONDS = 0.25
# The longest pause between two looks at a secret that waits for its first value, and at one that is in disorder.
WAITING_SECONDS = 300.0
FAILING_SECONDS = 60.0
PUBLISH_SECONDS = 10.0


class ConsumptionController:
    """One engine. `run` returns when it is stopped or has lost its lease."""

    def __init__(
        self,
        task: ConsumptionSettings,
        api: Api,
        vault: Vault,
        namespace: str,
        run_name: str,
        status: Status,
        ca_file: Path,
        versions: Vault | None = None,
    ) -> None:
        """`versions`: Vault for an identity that reads metadata with few rules, by default `vault`."""
        self._task, self._api, self._vault = task, api, vault
        self._namespace, self._run_name, self._status = namespace, run_name, status
        self._loop = LeasedLoop(Lease(api, namespace, CONSUMPTION_LEASE, run_name), status, QUIET_SECONDS)
        self._metadata = versions or vault
        self._delivery = SecretDelivery(api, self._metadata)
        self._restarts = WorkloadRestarts(api)
        stores = {(consumer.namespace, consumer.mount) for consumer in task.consumers}
        self._bundles = SecretStoreBundles(api, ca_file, stores)
        self.pace = Backoff()
        self._published: tuple[float, object] = (0.0, None)
        # The next round is due then, also when nothing was written.
        self._due = float("-inf")
        self._waiting: dict[str, str] = {}
        # The version of each secret with a consumer, as delivery saw it last.
        self._marks: dict[str, str] = {}
        self._failing: dict[str, str] = {}

    def stop(self) -> None:
        self._loop.stop()

    def run(self) -> int:
        """The loop. Returns an exit code: 0 when stopped, 1 when another engine holds the lease."""
        return self._loop.run(Part("DeliveryRunning", self.round_if_due, 15.0))

    def round_if_due(self) -> float:
        """A round when it is time, or when something was written; how many seconds to rest after it."""
        begun = time.monotonic()
        early = begun < self._due
        if early and not self._delivery.written():
            return min(PEEK_SECONDS, self._due - begun)
        quiet = self.reconcile(deliver_first=early)
        ended = time.monotonic()
        self._status.number("round_seconds", ended - begun)
        self._due = ended + rest_after(ended - begun, QUIET_SECONDS if quiet else BUSY_SECONDS)
        # A third of what it took: another value that was written meanwhile waits for this.
        least = SOON_SECONDS if early else PEEK_SECONDS
        return min(rest_after((ended - begun) / 3, least), self._due - ended)

    def reconcile(self, deliver_first: bool = False) -> bool:
        """One round; True when nothing is left to do.

        `deliver_first`: something was written, which does not wait for what is looked at now and then.
        """
        parts: list[tuple[str, Callable[[], bool]]] = [
            (TRUSTED, self._sync_bundles),
            (VALUES, self.reconcile_values),
            (DELIVERED, self._deliver),
        ]
        if deliver_first:
            parts.insert(0, parts.pop())
        done = {name: run_step(self._status, name, part, (ValueError,)) for name, part in parts}
        if done[DELIVERED] is None:
            self._after_failed_delivery()
        return all(done.values())

    def _after_failed_delivery(self) -> None:
        self._publish([], force=False)
        # Vault may be sealed or away: the stores are to try again as soon as it is back.
        try:
            self._delivery.resync_failed_stores(self._namespaces)
        except (Unavailable, LostRace, ApiRefusedError) as error:
            log.warning("the stores cannot be looked at: %s", error)

    @property
    def _namespaces(self) -> list[str]:
        return sorted({consumer.namespace for consumer in self._task.consumers})

    def _sync_bundles(self) -> bool:
        for store in self._bundles.reconcile():
            log.info("store %s: it has the certificates of today's CA of Vault", store)
        self._status.set(TRUSTED, True)
        return True

    def reconcile_values(self) -> bool:
        """First values on record, configuration as Git says. Each secret is looked at ever more rarely.

        One that waits for a person costs Vault's audit log next to nothing: its path is read ever more rarely, and at
        once when `_deliver` sees that something was written there.
        """
        due = sorted(filter(lambda secret: self.pace.due(secret.name), self._task.catalogue), key=self._looked_at)
        if due:
            self._reconcile_those(due)
        self._status.number("secrets_without_value", len(self._waiting))
        self._status.set(VALUES, not self._failing, "; ".join([*self._failing.values(), *self._waiting.values()]))
        return not self._failing

    def _looked_at(self, secret: CatalogueSecret) -> bool:
        return self.pace.seen(secret.name)

    def _reconcile_those(self, secrets: Iterable[CatalogueSecret]) -> None:
        key = consumption_digest_key(self._vault)
        writes = FirstWrites(self._vault, key, RunInfo(self._task.cluster, self._run_name))
        waiting, failing = dict(self._waiting), dict(self._failing)
        until = self.pace.now() + AGAIN_SECONDS
        for secret in secrets:
            if self._looked_at(secret) and self.pace.now() >= until:
                break
            waiting.pop(secret.name, None)
            failing.pop(secret.name, None)
            try:
                state = self._reconcile_one(writes, secret)
            except (LostRace, VaultRefusedError, LookupError, ValueError) as error:
                # One secret in disorder holds up no other.
                failing[secret.name] = f"{secret.name}: {error}"
                self.pace.looked(secret.name, failing[secret.name], BUSY_SECONDS, FAILING_SECONDS)
                continue
            if state is State.ON_RECORD:
                self.pace.looked(secret.name, state, VALUES_SECONDS, SETTLED_SECONDS)
            else:
                waiting[secret.name] = _what_is_missing(secret, state, self._task.cluster)
                self.pace.looked(secret.name, state, QUIET_SECONDS, WAITING_SECONDS)
        self._waiting, self._failing = waiting, failing

    def _reconcile_one(self, writes: FirstWrites, secret: CatalogueSecret) -> State:
        match secret.secret_class:
            case SecretClass.CONFIG:
                return self._sync_configuration(secret)
            case SecretClass.INTERNAL | SecretClass.EXTERNAL:
                return writes.reconcile(secret)
            case SecretClass.BOOTSTRAP:
                return State.ON_RECORD  # the handover is its first write

    def _sync_configuration(self, secret: CatalogueSecret) -> State:
        values = self._task.config.get(secret.name)
        if values is None:
            entered = newest_version(self._metadata, secret.vault.mount, secret.vault.path)
            return State.ON_RECORD if entered.number else State.NOT_ENTERED
        if sync_config(self._vault, secret, values):
            log.info("%s: configuration of Git written to %s", secret.name, secret.vault)
        return State.ON_RECORD

    def _deliver(self) -> bool:
        deliveries = self._delivery.deliver(self._task.consumers)
        for delivery in deliveries:
            secret, mark = delivery.consumer.secret, delivery.version.mark
            if self._marks.get(secret, mark) != mark or (delivery.version.number and secret in self._waiting):
                self.pace.forget(secret)
            self._marks[secret] = mark
        open_ones = [d for d in deliveries if d.problem and d.consumer.secret not in self._waiting]
        if any(d.problem for d in deliveries):
            self._delivery.resync_failed_stores(self._namespaces)
        for workload in self._restarts.reconcile(deliveries):
            log.info("restarted %s: a Secret that it uses has a new value", workload)
        done = sum(1 for delivery in deliveries if not delivery.problem)
        self._status.number("consumers", len(deliveries))
        self._status.number("consumers_with_newest_version", done)
        problems = [*(f"{d.consumer}: {d.problem}" for d in open_ones), *self._restarts.problems]
        first = f"; {problems[0]}" if problems else ""
        self._status.set(DELIVERED, not problems, f"{done} of {len(deliveries)} consumer Secrets are current{first}")
        older = [f"{d.consumer}: {d.problem}" for d in deliveries if d.rolled_back]
        self._status.set(NOT_ROLLED_BACK, not older, "; ".join(older))
        self._publish(deliveries, force=bool(problems))
        return not problems

    def _publish(self, deliveries: list[SyncStatus], force: bool) -> None:
        """Status and evidence as a ConfigMap; at once when something has changed, else now and then."""
        findings = findings_of(deliveries, self._waiting)
        shown = (findings, tuple(sorted(self._waiting.items())), self._status.shown())
        now = time.monotonic()
        if not force and shown == self._published[1] and now - self._published[0] < PUBLISH_SECONDS:
            return
        data = {
            "conditions": json.dumps(self._status.as_dict(), sort_keys=True),
            "waiting": json.dumps(self._waiting, sort_keys=True),
            "failing": json.dumps(self._failing, sort_keys=True),
            "versions": json.dumps({str(d.consumer): d.version.number for d in deliveries}, sort_keys=True),
        }
        if deliveries:
            evidence = Evidence(Phase.CONSUMPTION, "", datetime.now(UTC), findings)
            data["evidence"] = evidence.to_json()
        try:
            create_or_patch(self._api, "configmaps", self._namespace, CONSUMPTION_STATUS, {"data": data}, STATUS_LABELS)
            self._published = (now, shown)
        except (Unavailable, LostRace) as error:
            log.warning("the status cannot be published: %s", error)


def findings_of(deliveries: Iterable[SyncStatus], waiting: dict[str, str]) -> tuple[EvidenceResult, ...]:
    """One finding for each secret with consumers; a secret that waits for its first value has none."""
    by_secret: dict[str, list[SyncStatus]] = {}
    for delivery in deliveries:
        by_secret.setdefault(delivery.consumer.secret, []).append(delivery)
    found: list[EvidenceResult] = []
    for secret, mine in by_secret.items():
        if secret in waiting:
            continue
        problems = [f"{delivery.consumer}: {delivery.problem}" for delivery in mine if delivery.problem]
        if problems:
            found.append(EvidenceResult(secret, Outcome.NOT_CONSUMED, "; ".join(problems)))
        else:
            where = ", ".join(f"{d.consumer} version {d.version.number}" for d in mine)
            found.append(EvidenceResult(secret, Outcome.MATCHES, where))
    return tuple(found)


def _what_is_missing(secret: CatalogueSecret, state: State, cluster: str) -> str:
    if state is State.NOT_ENTERED:
        return f"{secret.name} is not entered yet: run `secret-authority enter --cluster {cluster} {secret.name}`"
    return f"{secret.name}: {state}"
