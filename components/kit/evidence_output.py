"""What a layer's evidence says, in one line, for the stack's outputs: read from the ConfigMap that holds it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import kubernetes
import pulumi

from components.settings.stack import Settings
from secret_authority.access.kubeconfig import NO_CLUSTER, TIMEOUT
from secret_authority.contract.names import ENGINE_NAMESPACE
from secret_authority.core.evidence import Evidence, Outcome

UNKNOWN = "not known: the cluster does not answer"


def published_evidence(
    settings: Settings, job: pulumi.Resource, config: str, say: Callable[[Evidence, list[str]], str]
) -> pulumi.Output[str]:
    """What `say` makes of the evidence in ConfigMap `config` once the Job has found it complete.

    `say` also gets the names of secrets that wait for a first value. The ConfigMap is read and not taken into the
    state. Without a cluster, as in a pull request's preview, the text says so.
    """

    def read(_: object) -> str:
        try:
            api = settings.connection.core_api()
            found = api.read_namespaced_config_map(config, ENGINE_NAMESPACE, _request_timeout=TIMEOUT)
        except NO_CLUSTER:
            return UNKNOWN
        except kubernetes.client.ApiException as error:
            return f"not known: the API server answered {error.status} for ConfigMap {ENGINE_NAMESPACE}/{config}"
        return _say(found.data or {}, say)

    said: pulumi.Output[str] = pulumi.Output.from_input(job.id).apply(read)  # type: ignore[attr-defined]
    return said


def _say(data: dict[str, Any], say: Callable[[Evidence, list[str]], str]) -> str:
    if "evidence" not in data:
        return "no evidence yet"
    return say(Evidence.from_json(data["evidence"]), sorted(json.loads(data.get("waiting", "{}"))))


def bootstrap_line(evidence: Evidence, _waiting: list[str]) -> str:
    """How many bootstrap Secrets match Git, and how many are handed over."""
    outcomes = [finding.outcome for finding in evidence.findings]
    moved, total = outcomes.count(Outcome.HANDED_OVER), len(outcomes)
    at = f"Git at {evidence.revision}"
    if moved:
        rest = outcomes.count(Outcome.MATCHES)
        return f"{moved} of {total} bootstrap secrets are handed over, {rest} match {at}"
    return f"{outcomes.count(Outcome.MATCHES)} of {total} bootstrap Secrets match {at}"


def handover_line(evidence: Evidence, _waiting: list[str]) -> str:
    """How many bootstrap secrets Vault has authority over."""
    total = len(evidence.findings)
    return f"{total - len(evidence.failed)} of {total} bootstrap secrets are handed over to Vault"


def consumption_line(evidence: Evidence, waiting: list[str]) -> str:
    """How many consumer Secrets are current, and whose first value is missing."""
    total = len(evidence.findings)
    line = f"{total - len(evidence.failed)} of {total} consumer Secrets are current with Vault"
    return f"{line}; without a first value: {', '.join(waiting)}" if waiting else line
