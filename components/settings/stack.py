"""Stack configuration, read and checked once, before any resource exists."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pulumi

from components.settings.git import HOME as HOME
from components.settings.git import Complaint, GitSettings, read_git_settings
from components.settings.network import NetworkSettings, read_network_settings
from components.settings.upstream_images import upstream_images
from secret_authority.access.kubeconfig import ClusterConnection
from secret_authority.core.errors import InvalidInputError, Problem
from secret_authority.core.phases import Phase, PhaseRefusedError, parse_phase
from secret_authority.repository.layout import Layout, refuse_outside
from secret_authority.repository.namespaces import namespaces_folder

ROOT_IDENTITY_VARIABLE = "SECRET_AUTHORITY_ROOT_IDENTITY"
# What the root identity opens, instead of the cluster's identity file in Git: the answer of `root rewrap`.
SEALED_IDENTITY_VARIABLE = "SECRET_AUTHORITY_SEALED_IDENTITY"
# The recipient of a new cluster identity that may take the place of the one in the cluster.
NEW_IDENTITY_VARIABLE = "SECRET_AUTHORITY_NEW_IDENTITY"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_BY_DIGEST = re.compile(rf"[^@\s]+@{_DIGEST.pattern}")


@dataclass(frozen=True)
class Settings:
    """What a stack says. See the config section of Pulumi.yaml for each field."""

    phase: Phase
    layout: Layout
    repository: Path
    git: GitSettings
    namespaces_path: str
    kubeconfig: Path
    context: str | None
    # Upstream manifests of the controllers, as the toolchain unpacks them.
    manifests: Path
    engine_image: str
    network: NetworkSettings
    # How long each condition is awaited, in seconds.
    ready_timeout_seconds: int
    # The root holder's identity file, given for one run; None afterwards.
    root_identity: Path | None
    sealed_identity: Path | None = None
    new_identity: str | None = None
    # Digest of the recipients that the stack accepts, None when it accepts those that the cluster has on record.
    trust_digest: str | None = None
    # Whether every image is in the nodes' own stores, and none is ever pulled.
    images_on_nodes: bool = False
    # Digest of upstream's images, by name and tag.
    image_digests: Mapping[str, str] = field(default_factory=dict)

    @property
    def connection(self) -> ClusterConnection:
        """How this machine reaches the cluster."""
        return ClusterConnection(self.kubeconfig, self.context)


def read_settings() -> Settings:
    """Read the stack's configuration. Raises `InvalidInputError` with every field that does not fit."""
    config = pulumi.Config()
    stack_file = f"Pulumi.{pulumi.get_stack()}.yaml"
    problems: list[Problem] = []

    def wrong(name: str, message: str, fix: str) -> None:
        problems.append(Problem(stack_file, f"{config.name}:{name}", message, fix))

    phase = Phase.ROOT_OF_TRUST
    try:
        phase = parse_phase(config.require("phase"))
    except PhaseRefusedError as error:
        wrong("phase", str(error), "set it with `pulumi config set phase 2`")
    cluster = config.require("cluster")
    repository = (HOME / Path(config.require("repositoryPath")).expanduser()).resolve()
    if not repository.is_dir():
        wrong("repositoryPath", f"{repository} is not a directory", "set it to a checkout of the Git repository")
    git = read_git_settings(config, phase, wrong)
    network = read_network_settings(config, wrong)
    kubeconfig = Path(config.get("kubeconfig") or os.environ.get("KUBECONFIG", "~/.kube/config")).expanduser()
    kubeconfig = (HOME / kubeconfig).resolve()
    if phase >= Phase.GITOPS and not kubeconfig.is_file():
        wrong("kubeconfig", f"{kubeconfig} is not a file", "set it, or set KUBECONFIG, to the cluster's kubeconfig")
    manifests = HOME / (config.get("manifests") or ".tools/manifests")
    if phase >= Phase.GITOPS and not manifests.is_dir():
        wrong("manifests", f"{manifests} is not a directory", "run `make tools`")
    image, on_nodes = config.get("engineImage") or "", config.get_bool("imagesOnNodes") or False
    if phase >= Phase.BOOTSTRAP and not image:
        fix = "set it to the engine's image, with its digest: README, step 4 of a cluster of your own"
        wrong("engineImage", "is needed from phase 2 on", fix)
    if phase >= Phase.GITOPS and image and not on_nodes and not _BY_DIGEST.fullmatch(image):
        # The engine opens Vault: whoever can move a tag in the registry would have every value.
        fix = "append @sha256: and the digest that `buildah push --digestfile FILE` wrote (README, step 4)"
        wrong("engineImage", "is named by a tag, which the registry can give to another image", fix)
    digests = _digests(config.get_object("imageDigests") or {}, wrong)
    root, sealed = os.environ.get(ROOT_IDENTITY_VARIABLE), os.environ.get(SEALED_IDENTITY_VARIABLE)
    if problems:
        raise InvalidInputError(problems)
    namespaces = config.get("namespacesPath") or namespaces_folder(cluster)
    refuse_outside(namespaces)
    return Settings(
        phase=phase,
        layout=Layout.of(cluster, config.get("cataloguePath"), config.get_object("bootstrapPaths") or (), repository),
        repository=repository,
        git=git,
        network=network,
        namespaces_path=namespaces,
        kubeconfig=kubeconfig,
        context=config.get("context") or None,
        manifests=manifests,
        engine_image=image,
        images_on_nodes=on_nodes,
        image_digests=digests,
        ready_timeout_seconds=config.get_int("readyTimeoutSeconds") or 300,
        root_identity=Path(root).expanduser() if root else None,
        sealed_identity=Path(sealed).expanduser() if sealed else None,
        new_identity=os.environ.get(NEW_IDENTITY_VARIABLE) or None,
        trust_digest=config.get("rootOfTrust") or None,
    )


def _digests(given: Any, wrong: Complaint) -> dict[str, str]:
    if not isinstance(given, Mapping):
        wrong("imageDigests", "is not a mapping", "write {NAME:TAG: sha256:...}")
        return {}
    known = upstream_images()
    for image, digest in given.items():
        if image not in known:
            wrong("imageDigests", f"{image} is no image of this version", f"name one of {', '.join(known)}")
        elif not _DIGEST.fullmatch(str(digest)):
            wrong("imageDigests", f"{image} has no digest", "write sha256: and 64 hexadecimal digits")
    return {str(image): str(digest) for image, digest in given.items()}
