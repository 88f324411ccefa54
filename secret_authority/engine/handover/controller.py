"""A run of the handover over every bootstrap secret of the catalogue."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from secret_authority.clients.kubernetes import Api, ApiRefusedError
from secret_authority.clients.vault import Vault, VaultRefusedError
from secret_authority.core.catalogue.admission import is_admitted
from secret_authority.core.catalogue.schema import CatalogueSecret, SecretClass
from secret_authority.core.claims.conflicts import Conflict
from secret_authority.core.claims.from_catalogue import conflicts_by_secret
from secret_authority.core.errors import Unavailable
from secret_authority.core.handover.runner import Result, hand_over
from secret_authority.core.handover.state_machine import Blocked, Done, Reason, Step
from secret_authority.engine.common.audit_events import RunInfo, digest_key
from secret_authority.engine.handover.cluster_adapter import ClusterAdapter, plan_for
from secret_authority.engine.handover.git_state import GitState

log = logging.getLogger(__name__)

# Vault's requests wait mostly for Raft's log on disk; a few at once share its writes.
WORKERS = 8


@dataclass(frozen=True)
class Refused(Unavailable):
    """Vault or the API server said no: a missing right or mount. It needs a change outside of the engine."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Summary:
    """How a run left the secrets of the catalogue. `skipped`: how many it did not look at, as it was stopped."""

    results: tuple[Result, ...]
    skipped: int = 0

    @property
    def done(self) -> tuple[Result, ...]:
        return tuple(result for result in self.results if isinstance(result.end, Done))

    @property
    def open(self) -> tuple[Result, ...]:
        return tuple(result for result in self.results if not isinstance(result.end, Done))

    @property
    def complete(self) -> bool:
        return not self.open and not self.skipped

    @property
    def settled(self) -> bool:
        """Whether nothing changes by itself soon: what is not done waits for a person, or for another revision."""
        return not self.skipped and all(waits_for_a_person(result) for result in self.open)


class Handover:
    """Hands over what is in the catalogue. One object lives as long as the engine.

    `admitted`: what the Pulumi program has checked, as `admitted_entries` gives it.
    """

    def __init__(
        self,
        cluster: str,
        api: Api,
        vault: Vault,
        run_name: str,
        admitted: Mapping[str, str],
        workers: int = WORKERS,
    ) -> None:
        self._cluster, self._api, self._vault, self._run_name = cluster, api, vault, run_name
        self._admitted, self._workers = admitted, workers
        # By secret: what was reported last of why it is blocked, and of what is to be noticed.
        self._reported: dict[str, list[str]] = {}
        self._last: dict[str, Result] = {}

    def run(
        self,
        git: GitState,
        key: bytes,
        stop: Callable[[], bool] = lambda: False,
        due: Callable[[str], bool] = lambda _name: True,
    ) -> Summary:
        """Take every secret as far as possible. `stop` is asked between secrets.

        Of a secret that is not `due` nothing is read: it is as the last run left it.

        A secret is not touched when the catalogue names two authorities over it (RFC §3.3), or when its entry is not
        the one that the program has checked.
        """
        run = RunInfo(self._run_name, git.revision)
        conflicts = conflicts_by_secret(self._cluster, git.catalogue)
        secrets = git.catalogue.of_class(SecretClass.BOOTSTRAP)
        with ThreadPoolExecutor(max_workers=self._workers) as pool:
            results = list(
                pool.map(
                    lambda secret: self._last_result(secret, due) or self._one(secret, git, key, run, stop, conflicts),
                    secrets,
                )
            )
        self._last = {result.secret: result for result in results if result is not None}
        seen = tuple(result for result in results if result is not None)
        return Summary(seen, len(results) - len(seen))

    def _last_result(self, secret: CatalogueSecret, due: Callable[[str], bool]) -> Result | None:
        last = self._last.get(secret.name)
        return None if last is None or due(secret.name) else replace(last, steps=())

    def key(self) -> bytes:
        return digest_key(self._vault)

    def _one(
        self,
        secret: CatalogueSecret,
        git: GitState,
        key: bytes,
        run: RunInfo,
        stop: Callable[[], bool],
        conflicts: Mapping[str, Conflict],
    ) -> Result | None:
        if stop():
            return None
        if reason := self._not_to_touch(secret, git, conflicts):
            result = Result(secret.name, reason, ())
            self._report(result)
            return result
        plan = plan_for(self._cluster, secret)
        backend = ClusterAdapter(secret, self._api, self._vault, key, run, git.value_of(secret.name))
        try:
            result = hand_over(plan, backend)
        except Unavailable as error:
            result = Result(secret.name, error, ())
        except (VaultRefusedError, ApiRefusedError, ValueError) as error:
            result = Result(secret.name, Refused(str(error)), ())
        self._report(result)
        return result

    def _not_to_touch(
        self, secret: CatalogueSecret, git: GitState, conflicts: Mapping[str, Conflict]
    ) -> Blocked | None:
        if conflict := conflicts.get(secret.name):
            return Blocked(secret.name, Reason.TWO_AUTHORITIES, str(conflict))
        if not is_admitted(secret, self._admitted):
            return Blocked(secret.name, Reason.NOT_ADMITTED, f"revision {git.revision}")
        return None

    def _report(self, result: Result) -> None:
        """Log what was done, and what is in the way when that has changed."""
        for step in result.steps:
            log.info("%s: %s done", result.secret, step)
        if isinstance(result.end, Done) and Step.AUDIT in result.steps:
            record = result.end.record
            log.info("%s: authority git -> vault at %s, handover %s", result.secret, record.at, record.id)
        lines_now = [f"{result.secret}: {notice}" for notice in result.notices]
        if isinstance(result.end, Blocked):
            lines_now.insert(0, str(result.end))
        elif isinstance(result.end, Unavailable):
            lines_now.insert(0, f"{result.secret}: {result.end}")
        if lines_now != self._reported.get(result.secret, []):
            for text in lines_now:
                log.warning("%s", text)
        self._reported[result.secret] = lines_now


def waits_for_a_person(result: Result) -> bool:
    return isinstance(result.end, Refused) or (isinstance(result.end, Blocked) and not result.end.passing)


def lines(results: Iterable[Result], ciphertexts: Mapping[str, str] | None = None) -> list[dict[str, object]]:
    """The results as plain data for the status, without any value.

    `ciphertexts`: marks of the encrypted values that were compared, for `secret-authority tombstone`.
    """
    return [
        {
            "secret": result.secret,
            "state": _state(result),
            "message": "" if isinstance(result.end, Done) else str(result.end),
            "notices": [str(notice) for notice in result.notices],
            "ciphertext": (ciphertexts or {}).get(result.secret, ""),
        }
        for result in results
    ]


def _state(result: Result) -> str:
    if isinstance(result.end, Done):
        return "done"
    return "conflict" if waits_for_a_person(result) else "waiting"
