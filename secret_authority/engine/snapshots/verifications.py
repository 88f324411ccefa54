"""What the engine of snapshots knows of verifications: it reads the reports that their pods have left.

The pods have no right in the cluster and none to write to the store. Their report is in their status, which only the
kubelet writes. The engine records it, and marks a verified bundle in the store.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from secret_authority.clients.kubernetes import Api
from secret_authority.clients.object_store import ObjectExistsError, ObjectStore, StoreRefusedError
from secret_authority.contract.names import PREPARE_CONTAINER, SNAPSHOT_VERIFIER, VERIFY_CONTAINER
from secret_authority.core.errors import Unavailable
from secret_authority.core.snapshots.naming import VERIFIED, BundleName
from secret_authority.core.snapshots.verification import Report, Verification, Verifications
from secret_authority.engine.common.backoff import Backoff

log = logging.getLogger(__name__)

# The key of the published status.
KEY = "verifications"
LEAST_PAUSE_SECONDS, MOST_PAUSE_SECONDS = 30.0, 900.0


class KnownVerifications:
    """`state` is what is known; `restore` reads it from a published status, `data` is what to publish."""

    def __init__(
        self,
        cluster: str,
        api: Api,
        namespace: str,
        open_store: Callable[[], ObjectStore],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backoff = Backoff(clock)
        self._cluster, self._api, self._open_store = cluster, api, open_store
        self._pods = f"api/v1/namespaces/{namespace}/pods"
        self._marked = ""
        self.state = Verifications()

    def restore(self, status: Mapping[str, str]) -> None:
        try:
            self.state = Verifications.from_json(status.get(KEY, ""), self._cluster)
        except ValueError:
            # Nothing is verified then, until the next verification.
            log.warning("what was verified last cannot be read from the status")

    def data(self) -> dict[str, str]:
        return {KEY: self.state.to_json()}

    def collect(self) -> None:
        """Read the reports of pods that have ended. Raises `Unavailable` and `ApiRefusedError`."""
        ended = [found for pod in self._api.list(self._pods, f"app={SNAPSHOT_VERIFIER}") if (found := self._ended(pod))]
        for one in sorted(ended, key=lambda one: one.at):
            self.state = self.state.and_then(one)
        if self.state.verified is not None:
            self._mark(self.state.verified)

    def _ended(self, pod: Mapping[str, Any]) -> Verification | None:
        """The report of a pod; None while it has none yet."""
        status = pod.get("status") or {}
        containers = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
        for name in (PREPARE_CONTAINER, VERIFY_CONTAINER):
            for one in containers:
                done = (one.get("state") or {}).get("terminated")
                if one.get("name") == name and done and (name == VERIFY_CONTAINER or done.get("exitCode") != 0):
                    return self._read(done)
        return None

    def _read(self, done: Mapping[str, Any]) -> Verification:
        at = datetime.fromisoformat(str(done["finishedAt"])).astimezone(UTC)
        try:
            report = Report.from_json(str(done.get("message") or ""), self._cluster)
        except ValueError:
            report = Report("", f"the verification ended without a report ({done.get('reason') or 'unknown'})")
        if done.get("exitCode") != 0 and not report.problem:
            report = Report(report.snapshot, f"the verification ended with exit code {done.get('exitCode')}")
        return Verification(report, at)

    def _mark(self, verified: Verification) -> None:
        """Write beside the bundle that it was verified, so that `snapshot list` shows it without the cluster."""
        name = BundleName.parse(verified.report.snapshot)
        if self._marked == name.folder or not self._backoff.due(name.folder):
            return
        try:
            self._open_store().put_new(name.part(VERIFIED), f"{verified.at.isoformat()}\n".encode())
        except ObjectExistsError:
            pass
        except (Unavailable, StoreRefusedError) as error:
            # The snapshot is as good without the mark.
            log.warning("%s is verified, which cannot be written to the store: %s", name.folder, error)
            self._backoff.looked(name.folder, "failed", LEAST_PAUSE_SECONDS, MOST_PAUSE_SECONDS)
            return
        self._backoff.forget(name.folder)
        self._marked = name.folder
        log.info("%s is verified: %d paths", name.folder, verified.report.paths)
