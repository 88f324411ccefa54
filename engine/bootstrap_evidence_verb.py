"""`python -m engine bootstrap-evidence`: gather the evidence of layer 3 and publish it."""

from __future__ import annotations

import argparse
import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kubernetes
import urllib3

from authority.evidence import Evidence
from engine.bootstrap_evidence import ClusterView, NotYetError, Task, gather
from engine.termination import fail

FLUX_NAMESPACE = "flux-system"
_TIMEOUT = (5.0, 15.0)  # seconds to connect, to read


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("bootstrap-evidence", help="compare bootstrap Secrets with Git, publish the outcome")
    verb.add_argument("--task", type=Path, required=True, help="JSON file that says what to look at")
    verb.add_argument("--identity", type=Path, required=True, help="age identity file of the cluster")
    verb.add_argument("--publish", required=True, metavar="NAMESPACE/NAME", help="ConfigMap to write")
    verb.set_defaults(run=_run)


@contextmanager
def _api_may_be_away() -> Iterator[None]:
    """An API server that does not answer is waited for, like every other condition."""
    try:
        yield
    except urllib3.exceptions.HTTPError as error:
        raise NotYetError(f"the API server does not answer ({type(error).__name__})") from None
    except kubernetes.client.ApiException as error:
        if error.status and error.status >= 500:
            raise NotYetError(f"the API server answers {error.status}") from None
        raise


class KubernetesView(ClusterView):
    """The cluster as its API server shows it to the Job's service account."""

    def __init__(self, source: str, kustomization: str) -> None:
        kubernetes.config.load_incluster_config()
        self._core = kubernetes.client.CoreV1Api()
        self._custom = kubernetes.client.CustomObjectsApi()
        self._source, self._kustomization = source, kustomization

    def source(self) -> dict[str, Any]:
        return self._flux("source.toolkit.fluxcd.io", "gitrepositories", self._source)

    def applied_revision(self) -> str:
        found = self._flux("kustomize.toolkit.fluxcd.io", "kustomizations", self._kustomization)
        return str(found.get("status", {}).get("lastAppliedRevision", ""))

    def _flux(self, group: str, plural: str, name: str) -> dict[str, Any]:
        with _api_may_be_away():
            found: dict[str, Any] = self._custom.get_namespaced_custom_object(
                group, "v1", FLUX_NAMESPACE, plural, name, _request_timeout=_TIMEOUT
            )
            return found

    def secret(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        try:
            with _api_may_be_away():
                found = self._core.read_namespaced_secret(name, namespace, _request_timeout=_TIMEOUT)
        except kubernetes.client.ApiException as error:
            if error.status == 404:
                return None
            raise
        data = {key: base64.b64decode(value) for key, value in (found.data or {}).items()}
        return {"data": data, "labels": found.metadata.labels or {}}

    def publish(self, namespace: str, name: str, evidence: Evidence) -> None:
        body = {"metadata": {"name": name, "namespace": namespace}, "data": {"evidence": evidence.to_json()}}
        try:
            self._core.create_namespaced_config_map(namespace, body)
        except kubernetes.client.ApiException as error:
            if error.status != 409:
                raise
            self._core.replace_namespaced_config_map(name, namespace, body)


def _run(options: argparse.Namespace) -> int:
    task = json.loads(options.task.read_text())
    view = KubernetesView(task["source"], task["kustomization"])
    identity = next(line for line in options.identity.read_text().splitlines() if line and not line.startswith("#"))
    wanted = Task(task["catalogue"], tuple(task["bootstrap"]), task["digest"], task["deadlineSeconds"])
    try:
        evidence = gather(wanted, view, identity, lambda line: print(line, flush=True))
    except NotYetError as error:
        return fail(str(error))
    namespace, _, name = options.publish.partition("/")
    view.publish(namespace, name, evidence)
    if not evidence.holds:
        return fail("\n".join(str(finding) for finding in evidence.failed))
    print(f"{len(evidence.findings)} bootstrap Secrets match Git at {evidence.revision}")
    return 0
