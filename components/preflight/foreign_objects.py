"""Stops a run before its first change when the cluster holds somebody else's Flux, Vault, External Secrets or guard.

Pulumi applies on the server's side and forces the fields of workloads, so an object of the same name would be taken
over, half of it or whole. Only metadata is read. Nothing is adopted here: the message says what a person can do.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import kubernetes

from components.bootstrap import pod_guard
from components.consumption import adoption_guard, engine_guard
from components.consumption.external_secrets_manifests import EXTERNAL_SECRETS_CRDS
from components.gitops import guard
from components.gitops.cluster_identity import IDENTITY_FIX, foreign_identity
from components.gitops.manifests import FLUX_CRDS
from components.kit.ownership import made_by_this_program, owner
from secret_authority.access.kubeconfig import NO_CLUSTER, ClusterConnection
from secret_authority.contract.names import (
    ENGINE_NAMESPACE,
    ESO_NAMESPACE,
    FLUX_NAMESPACE,
    IDENTITY_SECRET,
    VAULT_NAMESPACE,
)
from secret_authority.core.errors import Problem, raise_if_any
from secret_authority.core.phases import Phase
from secret_authority.repository.trust.root_of_trust import RootOfTrust

_TIMEOUT = (2.0, 10.0)  # seconds to connect, to read
_METADATA_ONLY = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"
_CRD = "apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_RBAC = "apis/rbac.authorization.k8s.io/v1"
_ADMISSION = "apis/admissionregistration.k8s.io/v1"
_REMOVE = "remove it with what made it, or use another cluster; taking over what exists is not supported yet"


@dataclass(frozen=True)
class _Place:
    """An object that the program creates in `phase`: what it is called, and its path at the API server."""

    phase: Phase
    kind: str
    name: str
    path: str


def _places() -> Iterator[_Place]:
    """Every object whose owner says whose installation this is. What is in a namespace of ours comes with it."""
    for phase, namespace in (
        (Phase.GITOPS, FLUX_NAMESPACE),
        (Phase.GITOPS, ENGINE_NAMESPACE),
        (Phase.RUNTIME_AUTHORITY, VAULT_NAMESPACE),
        (Phase.CONSUMPTION, ESO_NAMESPACE),
    ):
        yield _Place(phase, "Namespace", namespace, f"api/v1/namespaces/{namespace}")
    for phase, names in ((Phase.GITOPS, FLUX_CRDS), (Phase.CONSUMPTION, EXTERNAL_SECRETS_CRDS)):
        for name in names:
            yield _Place(phase, "CustomResourceDefinition", name, f"{_CRD}/{name}")
    for phase, policy in (
        (Phase.GITOPS, guard.NAMESPACE_GUARD),
        (Phase.GITOPS, guard.TOKEN_GUARD),
        (Phase.BOOTSTRAP, pod_guard.NAME),
        (Phase.CONSUMPTION, adoption_guard.NAME),
        (Phase.CONSUMPTION, engine_guard.NAME),
    ):
        for kind in ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"):
            plural = "validatingadmissionpolicies" if kind.endswith("Policy") else "validatingadmissionpolicybindings"
            yield _Place(phase, kind, policy, f"{_ADMISSION}/{plural}/{policy}")
    for phase, kind, name in (
        (Phase.GITOPS, "ClusterRole", "secret-authority-reconcile-namespaces"),
        (Phase.GITOPS, "ClusterRoleBinding", "secret-authority-reconcile-namespaces"),
        (Phase.RUNTIME_AUTHORITY, "ClusterRoleBinding", "secret-authority-vault-token-review"),
    ):
        yield _Place(phase, kind, name, f"{_RBAC}/{kind.lower()}s/{name}")


# Controllers of others that would work on our objects, or we on theirs, wherever they run.
_ELSEWHERE = {
    "source-controller": (Phase.GITOPS, "Flux", FLUX_NAMESPACE),
    "kustomize-controller": (Phase.GITOPS, "Flux", FLUX_NAMESPACE),
    "external-secrets": (Phase.CONSUMPTION, "External Secrets", ESO_NAMESPACE),
}


def refuse_foreign_objects(connection: ClusterConnection, phase: Phase, trust: RootOfTrust, cluster: str) -> None:
    """Check everything that the program would take over on its way to `phase`.

    A decryption identity is this cluster's own when `trust` names it for the cluster or among the retired. A cluster
    that cannot be reached is no error. Raises `InvalidInputError` with each object, its owner and what to do, and for
    each that the API server does not show.
    """
    recipients = {trust.cluster(cluster).recipient, *(entry.recipient for entry in trust.retired)}
    try:
        client = connection.core_api().api_client
        raise_if_any([*_taken(client, phase), *_controllers(client, phase), *_identity(client, recipients)])
    except NO_CLUSTER:
        return


def _taken(client: kubernetes.client.ApiClient, phase: Phase) -> Iterator[Problem]:
    for place in _places():
        if place.phase > phase:
            continue
        shown = f"{place.kind} {place.name}"
        found = _read(client, place.path)
        if isinstance(found, int):
            yield _hidden(shown, found)
        elif found is not None and not made_by_this_program(found["metadata"], upstream=place.path.startswith(_CRD)):
            yield Problem("cluster", shown, f"exists and belongs to {owner(found['metadata'])}", _REMOVE)


def _controllers(client: kubernetes.client.ApiClient, phase: Phase) -> Iterator[Problem]:
    found = _read(client, "apis/apps/v1/deployments", "List")
    if isinstance(found, int):
        yield _hidden("Deployments of all namespaces", found)
        return
    for item in (found or {}).get("items") or []:
        name, namespace = item["metadata"]["name"], item["metadata"]["namespace"]
        since, product, home = _ELSEWHERE.get(name, (None, "", ""))
        if (
            since is None
            or since > phase
            or (namespace == home and made_by_this_program(item["metadata"], upstream=True))
        ):
            continue
        message = f"is a running {product} that belongs to {owner(item['metadata'])}"
        yield Problem("cluster", f"Deployment {namespace}/{name}", message, _REMOVE)


def _identity(client: kubernetes.client.ApiClient, recipients: Collection[str]) -> Iterator[Problem]:
    for namespace in (FLUX_NAMESPACE, ENGINE_NAMESPACE):
        shown = f"Secret {namespace}/{IDENTITY_SECRET}"
        found = _read(client, f"api/v1/namespaces/{namespace}/secrets/{IDENTITY_SECRET}")
        if isinstance(found, int):
            yield _hidden(shown, found)
        elif found is not None and (problem := foreign_identity(found["metadata"], recipients)):
            yield Problem("cluster", shown, problem, IDENTITY_FIX)


def _hidden(shown: str, status: int) -> Problem:
    fix = "use a kubeconfig that may read it: what is there could be somebody else's"
    return Problem("cluster", shown, f"cannot be checked: the API server answers {status}", fix)


def _read(client: kubernetes.client.ApiClient, path: str, kind: str = "") -> dict[str, Any] | int | None:
    """The metadata of an object, with `kind` "List" of a list.

    None when there is none, the status of the answer when it is a refusal.
    """
    method, url, headers, *_ = client.param_serialize(
        "GET", f"/{path}", header_params={"Accept": _METADATA_ONLY.format(kind)}, auth_settings=["BearerToken"]
    )
    answer = client.call_api(method, url, headers, _request_timeout=_TIMEOUT)
    text = answer.read()
    if answer.status == 404:
        return None
    if answer.status != 200:
        return int(answer.status)
    found: dict[str, Any] = json.loads(text)
    return found
