"""The Git repository that Flux follows, with the certificate of its server, credentials for it, and its signers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.gitops.git_credentials import credentials_record
from components.kit.failure_reports import report_conditions
from components.kit.flux_objects import INTERVAL, ready_metadata, reporting
from components.settings.stack import Settings
from secret_authority.contract.names import (
    FLUX_NAMESPACE,
    GIT_CA_SECRET,
    GIT_CREDENTIALS_SECRET,
    GIT_SIGNERS_SECRET,
    MANAGED_BY,
    SOURCE,
)


def git_source(
    name: str,
    parent: pulumi.Resource,
    settings: Settings,
    credentials: Mapping[str, str] | None,
    namespace: pulumi.Resource,
    after: Sequence[pulumi.Resource],
) -> k8s.apiextensions.CustomResource:
    """A GitRepository. Ready when it has fetched, and found a signature that it trusts where signers are set."""
    below = pulumi.ResourceOptions(parent=parent, depends_on=[namespace])
    spec: dict[str, Any] = {
        "url": settings.git.url,
        "ref": {"branch": settings.git.branch},
        "interval": INTERVAL,
        "timeout": "60s",
    }
    depends_on = list(after)
    if settings.git.credentials:
        # The certificate is in the same Secret: a GitRepository names one.
        spec["secretRef"] = {"name": GIT_CREDENTIALS_SECRET}
        depends_on.append(credentials_record(f"{name}-git-credentials", settings, credentials, below))
    elif settings.git.ca:
        # A Secret because Flux wants one; the certificate in it is public.
        spec["secretRef"] = {"name": GIT_CA_SECRET}
        depends_on.append(_public(f"{name}-git-ca", GIT_CA_SECRET, {"ca.crt": settings.git.ca}, below))
    if settings.git.signers:
        spec["verify"] = {"mode": "HEAD", "secretRef": {"name": GIT_SIGNERS_SECRET}}
        depends_on.append(_public(f"{name}-git-signers", GIT_SIGNERS_SECRET, settings.git.signers, below))
    report = report_conditions(settings, FLUX_NAMESPACE, "source.toolkit.fluxcd.io", "gitrepositories")
    return k8s.apiextensions.CustomResource(
        f"{name}-source",
        api_version="source.toolkit.fluxcd.io/v1",
        kind="GitRepository",
        metadata=ready_metadata(SOURCE, settings.ready_timeout_seconds),
        spec=spec,
        opts=pulumi.ResourceOptions(parent=parent, depends_on=depends_on, hooks=reporting(report)),
    )


def _public(name: str, secret: str, files: Mapping[str, str], opts: pulumi.ResourceOptions) -> k8s.core.v1.Secret:
    """Public material in a Secret of Flux's namespace."""
    metadata = {"name": secret, "namespace": FLUX_NAMESPACE, "labels": MANAGED_BY}
    return k8s.core.v1.Secret(name, metadata=metadata, string_data=dict(files), opts=opts)
