"""Deletion in the background for kinds that nothing hangs on.

The Kubernetes provider deletes in the foreground: the object gets a finalizer, and the garbage collector takes
it away a moment later. The provider looks once whether it is gone and then waits for a watch; an object that
goes between the two is waited for until the time-out, ten minutes (pulumi-kubernetes 4.18, pkg/await,
condition/deleted.go). In the background the object is gone when the call returns.
"""

from __future__ import annotations

from collections.abc import Mapping

import pulumi

ANNOTATION = "pulumi.com/deletionPropagationPolicy"
# Kinds without dependents and without finalizers of their own.
_KINDS = frozenset(
    {
        "kubernetes:core/v1:ConfigMap",
        "kubernetes:core/v1:Secret",
        "kubernetes:core/v1:Service",
        "kubernetes:core/v1:ServiceAccount",
        "kubernetes:networking.k8s.io/v1:NetworkPolicy",
        "kubernetes:policy/v1:PodDisruptionBudget",
        "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole",
        "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding",
        "kubernetes:rbac.authorization.k8s.io/v1:Role",
        "kubernetes:rbac.authorization.k8s.io/v1:RoleBinding",
        "kubernetes:admissionregistration.k8s.io/v1:ValidatingAdmissionPolicy",
        "kubernetes:admissionregistration.k8s.io/v1:ValidatingAdmissionPolicyBinding",
    }
)


def in_background(args: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult | None:
    """A stack transformation that adds the annotation where it is safe."""
    metadata = args.props.get("metadata")
    if args.type_ not in _KINDS or not isinstance(metadata, Mapping):
        return None
    annotations = metadata.get("annotations") or {}
    if not isinstance(annotations, Mapping):
        return None
    changed = {**metadata, "annotations": {**annotations, ANNOTATION: "background"}}
    return pulumi.ResourceTransformationResult({**args.props, "metadata": changed}, args.opts)
