"""Refuses to let External Secrets adopt a Secret that somebody else made.

External Secrets with creationPolicy Owner takes over any Secret of the target's name without asking, and
deletes it when the ExternalSecret goes. So the program looks first, and an admission policy holds the rule
afterwards (components/consumption/adoption_guard.py). Only metadata is asked of the API server: no value comes here.
RFC-SECOPS-0001 §3.3: authority is singular.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import kubernetes

from components.kit.ownership import owner as owner_of
from secret_authority.access.kubeconfig import NO_CLUSTER, ClusterConnection
from secret_authority.core.catalogue.schema import Catalogue
from secret_authority.core.errors import Problem, raise_if_any

_TIMEOUT = (2.0, 10.0)  # seconds to connect, to read
_METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_ESO_KIND = "ExternalSecret"


def owned_by_external_secrets(metadata: Mapping[str, Any], name: str) -> bool:
    """Whether the ExternalSecret `name` made this Secret: it is then its controlling owner."""
    return any(
        owner.get("kind") == _ESO_KIND
        and owner.get("controller")
        and owner.get("name") == name
        and str(owner.get("apiVersion", "")).startswith("external-secrets.io/")
        for owner in metadata.get("ownerReferences") or []
    )


def refuse_foreign_secrets(connection: ClusterConnection, catalogue: Catalogue, file: str) -> None:
    """Check every consumer Secret of the catalogue. A cluster that cannot be reached is no error.

    Raises `InvalidInputError` with each Secret that exists and was not made by its ExternalSecret.
    """
    wanted = {(consumer.namespace, consumer.secret): entry.name for entry in catalogue for consumer in entry.consumers}
    try:
        api = connection.core_api()
        found = {
            (namespace, item["metadata"]["name"]): item["metadata"]
            for namespace in sorted({namespace for namespace, _ in wanted})
            for item in secrets_of(api, namespace)
        }
    except NO_CLUSTER:
        return
    raise_if_any(
        Problem(
            file,
            f"secrets[{entry}].consumers",
            f"Secret {namespace}/{name} exists and belongs to {owner_of(found[namespace, name])}; "
            "External Secrets would adopt and overwrite it",
            "take the Secret out of what makes it, delete it, and run again; or give the consumer another name",
        )
        for (namespace, name), entry in sorted(wanted.items())
        if (namespace, name) in found and not owned_by_external_secrets(found[namespace, name], name)
    )


def secrets_of(api: kubernetes.client.CoreV1Api, namespace: str) -> list[dict[str, Any]]:
    """The metadata of a namespace's Secrets; none for a namespace that is not there."""
    answer = api.list_namespaced_secret(
        namespace, _headers={"Accept": _METADATA_ONLY}, _preload_content=False, _request_timeout=_TIMEOUT
    )
    items: list[dict[str, Any]] = json.loads(answer.data)["items"] or []  # null for none
    return items
