"""`bootstrap-evidence`: gather the evidence of layer 3 and publish it."""

from __future__ import annotations

import argparse
import base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from secret_authority.clients.kubernetes import Api, collection, named
from secret_authority.contract.evidence_task import EvidenceTask
from secret_authority.contract.names import BOOTSTRAP_EVIDENCE, ENGINE_NAMESPACE, FLUX_NAMESPACE
from secret_authority.core.errors import LostRace, Unavailable
from secret_authority.core.evidence import Evidence
from secret_authority.core.ledger.published_trail import MOST_PIECES, piece_name
from secret_authority.engine.common.await_evidence import wait
from secret_authority.engine.common.termination import fail
from secret_authority.engine.evidence.bootstrap import ClusterView, NotYetError, gather

_PUBLISH_SECONDS = 30  # how long an API server that is away is waited for, once the evidence is gathered


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser(BOOTSTRAP_EVIDENCE, help="compare bootstrap Secrets with Git, publish the outcome")
    verb.add_argument("--task", type=Path, required=True, help="JSON file that says what to look at")
    verb.add_argument("--identity", type=Path, required=True, help="age identity file of the cluster")
    verb.add_argument("--publish", required=True, metavar="NAMESPACE/NAME", help="ConfigMap to write")
    verb.set_defaults(run=_run)


@contextmanager
def _api_may_be_away() -> Iterator[None]:
    """An API server that does not answer is waited for, like every other condition."""
    try:
        yield
    except Unavailable as error:
        raise NotYetError(str(error)) from None


class KubernetesView(ClusterView):
    """The cluster as its API server shows it to the Job's service account."""

    def __init__(self, api: Api, source: str, kustomizations: Sequence[str]) -> None:
        self._api, self._source, self._kustomizations = api, source, kustomizations

    def source(self) -> dict[str, Any]:
        return self._flux("source.toolkit.fluxcd.io", "gitrepositories", self._source)

    def applied_revision(self) -> str:
        found = [self._flux("kustomize.toolkit.fluxcd.io", "kustomizations", name) for name in self._kustomizations]
        return " and ".join(sorted({str(each.get("status", {}).get("lastAppliedRevision", "")) for each in found}))

    def _flux(self, group: str, plural: str, name: str) -> dict[str, Any]:
        with _api_may_be_away():
            return self._api.get(f"apis/{group}/v1/namespaces/{FLUX_NAMESPACE}/{plural}/{name}") or {}

    def secret(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        with _api_may_be_away():
            found = self._api.get(named("secrets", namespace, name))
        if found is None:
            return None
        data = {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}
        metadata = found["metadata"]
        return {"data": data, "labels": metadata.get("labels") or {}, "annotations": metadata.get("annotations") or {}}

    def trail(self) -> Mapping[str, Mapping[str, str]]:
        with _api_may_be_away():
            names = map(piece_name, range(MOST_PIECES))
            found = {name: self._api.get(named("configmaps", ENGINE_NAMESPACE, name)) for name in names}
        return {name: held.get("data") or {} for name, held in found.items() if held is not None}

    def publish(self, namespace: str, name: str, evidence: Evidence) -> None:
        """Write the ConfigMap, new or over an old one: the Job may not read it. Raises `Unavailable`."""
        body = {"metadata": {"name": name, "namespace": namespace}, "data": {"evidence": evidence.to_json()}}
        try:
            self._api.create(collection("configmaps", namespace), body)
        except LostRace:
            self._api.replace(named("configmaps", namespace, name), body)


def _run(options: argparse.Namespace) -> int:
    task = EvidenceTask.from_json(options.task.read_text())
    view = KubernetesView(Api.in_cluster(), task.source, task.kustomizations)
    identity = next(line for line in options.identity.read_text().splitlines() if line and not line.startswith("#"))
    try:
        evidence = gather(task, view, identity, lambda line: print(line, flush=True))
    except NotYetError as error:
        return fail(str(error))
    namespace, _, name = options.publish.partition("/")
    unpublished = wait(lambda: view.publish(namespace, name, evidence), _PUBLISH_SECONDS)
    if unpublished:
        return fail(unpublished)
    if not evidence.holds:
        return fail("\n".join(str(finding) for finding in evidence.failed))
    print(f"{len(evidence.findings)} bootstrap Secrets match Git at {evidence.revision}")
    return 0
