"""Stack transformations: what holds for every Kubernetes object of a stack, whoever registers it.

Deletion. The Kubernetes provider deletes in the foreground: the object gets a finalizer, and the garbage collector
removes it a moment later. The provider asks once whether it is gone and then waits for a watch; an object that
goes between the two is waited for until the time-out, ten minutes, and then found gone (pulumi-kubernetes 4.18,
pkg/await, condition/deleted.go). So kinds without dependents are deleted in the background, where the object
is gone when the call returns, and the time-out of the others is short: at its end the provider asks once more,
and fails only when the object is still there.

Field conflicts. Each creation of the Kubernetes provider applies under a field manager of its own. When a run is
killed between creation and record, the next one creates again under another name, and the API server reports a
conflict where a value was normalised on the way ("1000m" is stored as "1"). Workloads of this program belong to
Pulumi alone, so it may force them; components/preflight stops a run before it meets somebody else's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pulumi

DELETION_POLICY = "pulumi.com/deletionPropagationPolicy"
FORCE = "pulumi.com/patchForce"
# Kinds without dependents and without finalizers of their own.
_ALONE = frozenset(
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
# Kinds that are deleted in the foreground and have at most Secrets as dependents: gone in a moment.
_BRIEF = frozenset(f"kubernetes:external-secrets.io/v1:{kind}" for kind in ("ExternalSecret", "SecretStore"))
# Kinds with quantities in their spec.
_WORKLOADS = frozenset(
    {
        "kubernetes:apps/v1:DaemonSet",
        "kubernetes:apps/v1:Deployment",
        "kubernetes:apps/v1:StatefulSet",
        "kubernetes:batch/v1:CronJob",
        "kubernetes:batch/v1:Job",
    }
)
_NEVER = {"imagePullPolicy": "Never"}
# Enough for garbage collection and finalizers on a busy machine.
_AT_ONCE, _WITH_DEPENDENTS = "45s", "120s"


def register_transformations() -> None:
    """Apply them to every resource of the stack that is registered from now on."""
    pulumi.runtime.register_stack_transformation(quick_deletion)
    pulumi.runtime.register_stack_transformation(force_workloads)


def quick_deletion(args: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult | None:
    """Deletion in the background where it is safe, and short time-outs of deletion."""
    if not args.type_.startswith("kubernetes:") or args.type_ == "kubernetes:core/v1:Namespace":
        return None
    alone = args.type_ in _ALONE | _BRIEF or args.type_.endswith(":CustomResourceDefinition")
    opts = args.opts
    if opts.custom_timeouts is None:
        timeouts = pulumi.CustomTimeouts(delete=_AT_ONCE if alone else _WITH_DEPENDENTS)
        opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(custom_timeouts=timeouts))
    changed = _annotated(args.props, DELETION_POLICY, "background") if args.type_ in _ALONE else None
    return pulumi.ResourceTransformationResult(args.props if changed is None else changed, opts)


def force_workloads(args: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult | None:
    """Fields of workloads are Pulumi's, also those that a killed run has written under another field manager."""
    changed = _annotated(args.props, FORCE, "true") if args.type_ in _WORKLOADS else None
    return None if changed is None else pulumi.ResourceTransformationResult(changed, args.opts)


def register_images_on_nodes() -> None:
    """No pod pulls an image from now on: the nodes' own stores decide what runs."""
    pulumi.runtime.register_stack_transformation(never_pull)


def never_pull(args: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult | None:
    """`imagePullPolicy: Never` for every container of a workload."""
    if args.type_ not in _WORKLOADS:
        return None
    return pulumi.ResourceTransformationResult(
        {**args.props, "spec": _each(args.props.get("spec"), lambda _: _NEVER)}, args.opts
    )


def register_image_digests(digests: Mapping[str, str]) -> None:
    """Images of these names (`NAME:TAG`) are pulled by digest from now on, whatever a registry does with the tag."""

    def by_digest(args: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult | None:
        return pin_images(args, digests)

    pulumi.runtime.register_stack_transformation(by_digest)


def pin_images(
    args: pulumi.ResourceTransformationArgs, digests: Mapping[str, str]
) -> pulumi.ResourceTransformationResult | None:
    """`NAME:TAG@DIGEST` in every container of a workload whose image is in `digests`."""
    if args.type_ not in _WORKLOADS:
        return None

    def pinned(container: Mapping[str, Any]) -> dict[str, Any]:
        digest = digests.get(container["image"]) if isinstance(container["image"], str) else None
        return {"image": f"{container['image']}@{digest}"} if digest else {}

    return pulumi.ResourceTransformationResult({**args.props, "spec": _each(args.props.get("spec"), pinned)}, args.opts)


def _each(value: Any, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Any:
    """A specification with `change` merged into each of its containers."""
    if isinstance(value, Mapping):
        changed = change(value) if "image" in value and "name" in value else {}
        return {**{key: _each(below, change) for key, below in value.items()}, **changed}
    return [_each(item, change) for item in value] if isinstance(value, list) else value


def _annotated(props: pulumi.Inputs, name: str, value: str) -> pulumi.Inputs | None:
    """The properties with one more annotation. None when the metadata or its annotations are not known yet."""
    metadata = props.get("metadata")
    if not isinstance(metadata, Mapping):
        return None
    annotations = metadata.get("annotations") or {}
    if not isinstance(annotations, Mapping):
        return None
    return {**props, "metadata": {**metadata, "annotations": {**annotations, name: value}}}
