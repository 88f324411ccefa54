"""The public record of a Secret that is written past Pulumi from a file that the user names for one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pulumi
import pulumi_kubernetes as k8s


def planted_record(
    name: str,
    metadata: Mapping[str, Any],
    secret: str,
    hook: str,
    plant: Callable[[pulumi.ResourceHookArgs], None],
    given: bool,
    opts: pulumi.ResourceOptions,
) -> k8s.core.v1.ConfigMap:
    """Says since when `secret` is in the cluster. Creating or changing it calls `plant` first, by the name `hook`.

    A run that was `given` a file writes it, also when it is the same: what is in the cluster is not compared. In a run
    without one the record stays as it is.
    """
    before = pulumi.ResourceHook(hook, plant)
    more = pulumi.ResourceOptions(
        hooks=pulumi.ResourceHookBinding(before_create=[before], before_update=[before]),
        ignore_changes=None if given else ["data"],
    )
    planted = datetime.now(UTC).isoformat(timespec="seconds") if given else "before"
    return k8s.core.v1.ConfigMap(
        name,
        metadata=dict(metadata),
        data={"planted": planted, "secret": secret},
        opts=pulumi.ResourceOptions.merge(opts, more),
    )
