"""The Git repository that Flux follows, and the public certificate of its server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.kit.failure_reports import report_conditions
from components.kit.flux_objects import INTERVAL, ready_metadata, reporting
from components.settings.stack import Settings
from secret_authority.contract.names import FLUX_NAMESPACE, GIT_CA_SECRET, MANAGED_BY, SOURCE


def git_source(
    name: str,
    parent: pulumi.Resource,
    settings: Settings,
    namespace: pulumi.Resource,
    after: Sequence[pulumi.Resource],
) -> k8s.apiextensions.CustomResource:
    """A GitRepository. Ready when it has fetched."""
    spec: dict[str, Any] = {
        "url": settings.repository_url,
        "ref": {"branch": settings.repository_branch},
        "interval": INTERVAL,
        "timeout": "60s",
    }
    depends_on = list(after)
    if settings.repository_ca:
        # A Secret because Flux wants one; the certificate in it is public.
        certificate = k8s.core.v1.Secret(
            f"{name}-git-ca",
            metadata={"name": GIT_CA_SECRET, "namespace": FLUX_NAMESPACE, "labels": MANAGED_BY},
            string_data={"ca.crt": settings.repository_ca},
            opts=pulumi.ResourceOptions(parent=parent, depends_on=[namespace]),
        )
        spec["secretRef"] = {"name": GIT_CA_SECRET}
        depends_on.append(certificate)
    report = report_conditions(settings, FLUX_NAMESPACE, "source.toolkit.fluxcd.io", "gitrepositories")
    return k8s.apiextensions.CustomResource(
        f"{name}-source",
        api_version="source.toolkit.fluxcd.io/v1",
        kind="GitRepository",
        metadata=ready_metadata(SOURCE, settings.ready_timeout_seconds),
        spec=spec,
        opts=pulumi.ResourceOptions(parent=parent, depends_on=depends_on, hooks=reporting(report)),
    )
