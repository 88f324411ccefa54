"""Flux's upstream manifests, read from the pinned modules, and the changes that this project makes to them.

Upstream: fluxcd/source-controller and fluxcd/kustomize-controller, folder config/. The image names, probes
and security contexts stay as they are; what changes is said in `controller_deployment`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components.kit.flux_objects import RECONCILERS
from components.kit.upstream_manifests import documents
from components.settings.upstream_images import controller_image
from secret_authority.contract.names import GIT_CA_SECRET, GIT_CREDENTIALS_SECRET, GIT_SIGNERS_SECRET, IDENTITY_SECRET

CONTROLLERS = ("source-controller", "kustomize-controller")
# The custom resources of the two controllers that this project uses. The others are not installed.
_CRDS = {
    "source-controller": ("gitrepositories", "ocirepositories", "buckets", "helmrepositories", "helmcharts"),
    "kustomize-controller": ("kustomizations",),
}
FLUX_CRDS = tuple(
    f"{plural}.{which.split('-')[0]}.toolkit.fluxcd.io" for which, plurals in _CRDS.items() for plural in plurals
)
# Resources of upstream's rules that a controller does not get. kustomize-controller asks whether an account exists.
_TAKEN_AWAY = {
    "source-controller": frozenset({"secrets", "serviceaccounts", "serviceaccounts/token"}),
    "kustomize-controller": frozenset({"secrets", "serviceaccounts/token"}),
}


def _named(resource: str, verb: str, names: list[str]) -> dict[str, Any]:
    return {"apiGroups": [""], "resources": [resource], "resourceNames": names, "verbs": [verb]}


# What it gets instead, by name.
_GIVEN = {
    "source-controller": [_named("secrets", "get", [GIT_CA_SECRET, GIT_CREDENTIALS_SECRET, GIT_SIGNERS_SECRET])],
    "kustomize-controller": [
        _named("secrets", "get", [IDENTITY_SECRET]),
        # It applies as the service account that a Kustomization names, and as no other.
        _named("serviceaccounts", "impersonate", [f"reconcile-{name}" for name in RECONCILERS]),
    ],
}


def custom_resource_definitions(manifests: Path, controller: str) -> Iterator[dict[str, Any]]:
    """The CRDs of a controller, as upstream wrote them."""
    for file in sorted((manifests / controller / "crd/bases").glob("*.yaml")):
        if file.stem.split("_")[-1] in _CRDS[controller]:
            yield from documents(file)


def controller_rules(manifests: Path, controller: str) -> list[dict[str, Any]]:
    """Upstream's rules for a controller and for its leader election, without its power over Secrets and tokens.

    Upstream lets both controllers read every Secret of the namespace and make a token of every account in it: then a
    fault in source-controller, which parses what strangers write, would give away the decryption identity. Here each
    reads the Secrets that it needs, by name, and kustomize-controller becomes the two accounts of this program only.
    """
    folder = manifests / controller / "rbac"
    rules: list[dict[str, Any]] = []
    for name in ("role.yaml", "leader_election_role.yaml"):
        for document in documents(folder / name):
            rules += document["rules"]
    narrow = [without for rule in rules if (without := _without(rule, _TAKEN_AWAY[controller]))]
    return [*narrow, *_GIVEN[controller]]


def _without(rule: dict[str, Any], taken: frozenset[str]) -> dict[str, Any] | None:
    left = [resource for resource in rule["resources"] if resource not in taken]
    return {**rule, "resources": left} if left else None


def controller_deployment(manifests: Path, controller: str, namespace: str) -> dict[str, Any]:
    """Upstream's Deployment of a controller with these changes, which narrow it:

    its own service account instead of `default`; only objects of its own namespace are watched, and no
    reference leads out of it, so that its rules can be bound in that namespace alone.
    """
    (document,) = documents(manifests / controller / "manager/deployment.yaml")
    deployment = copy.deepcopy(document)
    deployment["metadata"]["namespace"] = namespace
    pod = deployment["spec"]["template"]["spec"]
    pod["serviceAccountName"] = controller
    (container,) = pod["containers"]
    container["image"] = controller_image(controller)
    arguments = [a for a in container["args"] if not a.startswith("--watch-all-namespaces")]
    container["args"] = [*arguments, "--watch-all-namespaces=false"]
    if controller == "kustomize-controller":
        container["args"] += ["--no-cross-namespace-refs=true", "--no-remote-bases=true"]
        # Without the right to watch Secrets. The interval of a Kustomization is what notices a change.
        container["args"].append("--feature-gates=DisableConfigWatchers=true")
    return deployment


def controller_services(manifests: Path, controller: str) -> list[dict[str, Any]]:
    """Upstream's Services of a controller (kustomize-controller has none)."""
    file = manifests / controller / "manager/service.yaml"
    return documents(file) if file.exists() else []
