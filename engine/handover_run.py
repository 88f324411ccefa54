"""A run of the handover over every bootstrap secret of the catalogue."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from authority.catalogue import Catalogue, CatalogueSecret, SecretClass
from authority.handover import Blocked, Done, Step
from authority.transfer import Result, Unavailable, hand_over
from engine.git_view import GitState
from engine.handover_world import ClusterWorld, Run, digest_key, plan_for
from engine.kubernetes_api import Api, ApiRefusedError
from engine.vault import Vault, VaultRefusedError

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
    """How a run left the secrets of the catalogue."""

    results: tuple[Result, ...]

    @property
    def done(self) -> tuple[Result, ...]:
        return tuple(result for result in self.results if isinstance(result.end, Done))

    @property
    def open(self) -> tuple[Result, ...]:
        return tuple(result for result in self.results if not isinstance(result.end, Done))

    @property
    def complete(self) -> bool:
        return not self.open


def twice_in_vault(catalogue: Catalogue) -> list[str]:
    """Bootstrap secrets that share a Vault path: only one of them could be the first to write it."""
    seen: dict[str, str] = {}
    found: list[str] = []
    for secret in catalogue.of_class(SecretClass.BOOTSTRAP):
        other = seen.setdefault(str(secret.vault), secret.name)
        if other != secret.name:
            found.append(f"{secret.name} and {other} have one Vault path, {secret.vault}: give each its own")
    return found


class Handover:
    """Hands over what is in the catalogue. One object lives as long as the engine."""

    def __init__(self, cluster: str, api: Api, vault: Vault, run_name: str, workers: int = WORKERS) -> None:
        self._cluster, self._api, self._vault, self._run_name, self._workers = cluster, api, vault, run_name, workers

    def run(self, git: GitState, key: bytes, stop: Callable[[], bool] = lambda: False) -> Summary:
        """Take every secret as far as it goes. `stop` is asked between secrets."""
        run = Run(self._run_name, git.revision)
        secrets = git.catalogue.of_class(SecretClass.BOOTSTRAP)
        with ThreadPoolExecutor(max_workers=self._workers) as pool:
            results = pool.map(lambda secret: self._one(secret, git, key, run, stop), secrets)
            return Summary(tuple(result for result in results if result is not None))

    def key(self) -> bytes:
        return digest_key(self._vault)

    def _one(
        self, secret: CatalogueSecret, git: GitState, key: bytes, run: Run, stop: Callable[[], bool]
    ) -> Result | None:
        if stop():
            return None
        plan = plan_for(self._cluster, secret)
        world = ClusterWorld(secret, self._api, self._vault, key, run, git.digests.get)
        try:
            result = hand_over(plan, world)
        except (VaultRefusedError, ApiRefusedError, ValueError) as error:
            result = Result(secret.name, Refused(str(error)), ())
        _tell(result)
        return result


def _tell(result: Result) -> None:
    for step in result.steps:
        log.info("%s: %s done", result.secret, step)
    if isinstance(result.end, Done) and Step.AUDIT in result.steps:
        record = result.end.record
        log.info("%s: authority git -> vault at %s, handover %s", result.secret, record.at, record.id)
    if isinstance(result.end, Blocked):
        log.warning("%s", result.end)
    elif isinstance(result.end, Unavailable):
        log.warning("%s: %s", result.secret, result.end)
    for notice in result.notices:
        log.warning("%s: %s", result.secret, notice)


def lines(results: Iterable[Result]) -> list[dict[str, object]]:
    """The results as plain data for the status, without any value."""
    return [
        {
            "secret": result.secret,
            "state": _state(result),
            "message": "" if isinstance(result.end, Done) else str(result.end),
            "notices": [str(notice) for notice in result.notices],
        }
        for result in results
    ]


def _state(result: Result) -> str:
    if isinstance(result.end, Done):
        return "done"
    return "waiting" if isinstance(result.end, Unavailable) or result.end.passing else "conflict"
