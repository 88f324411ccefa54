"""A workload that a killed run has already made is taken over by the next run, not fought over.

Each creation of the Kubernetes provider applies under a field manager of its own. When a run is killed between
creation and record, the next one creates again under another name, and the API server reports a conflict where
a value was normalised on the way ("1000m" is stored as "1"). These objects are Pulumi's alone, so it may force.
"""

from __future__ import annotations

import pulumi

from components.annotations import annotated

ANNOTATION = "pulumi.com/patchForce"
# Kinds with quantities in their spec.
_KINDS = frozenset(
    {
        "kubernetes:apps/v1:DaemonSet",
        "kubernetes:apps/v1:Deployment",
        "kubernetes:apps/v1:StatefulSet",
        "kubernetes:batch/v1:Job",
    }
)


def take_over(args: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult | None:
    """A stack transformation that adds the annotation to workloads."""
    changed = annotated(args.props, ANNOTATION, "true") if args.type_ in _KINDS else None
    return None if changed is None else pulumi.ResourceTransformationResult(changed, args.opts)
