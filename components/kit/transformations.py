"""Deletion that does not wait for what is gone.

The Kubernetes provider deletes in the foreground: the object gets a finalizer, and the garbage collector takes
it away a moment later. The provider looks once whether it is gone and then waits for a watch; an object that
goes between the two is waited for until the time-out, ten minutes, and then found gone (pulumi-kubernetes 4.18,
pkg/await, condition/deleted.go). So kinds that nothing hangs on are deleted in the background, where the object
is gone when the call returns, and the time-out of the others is short: at its end the provider looks once more,
and fails only when the object is really still there.
"""

from __future__ import annotations

import pulumi

from components.annotations import annotated

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


# Kinds that are deleted in the foreground and have at most Secrets hanging on them: gone in a moment.
_BRIEF = frozenset(f"kubernetes:external-secrets.io/v1:{kind}" for kind in ("ExternalSecret", "SecretStore"))
# Enough for garbage collection and finalizers on a busy machine.
_AT_ONCE, _WITH_DEPENDENTS = "45s", "120s"


def quick(args: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult | None:
    """A stack transformation: deletion in the background where it is safe, and short time-outs of deletion."""
    if not args.type_.startswith("kubernetes:") or args.type_ == "kubernetes:core/v1:Namespace":
        return None
    alone = args.type_ in _KINDS | _BRIEF or args.type_.endswith(":CustomResourceDefinition")
    opts = args.opts
    if opts.custom_timeouts is None:
        timeouts = pulumi.CustomTimeouts(delete=_AT_ONCE if alone else _WITH_DEPENDENTS)
        opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(custom_timeouts=timeouts))
    changed = annotated(args.props, ANNOTATION, "background") if args.type_ in _KINDS else None
    return pulumi.ResourceTransformationResult(args.props if changed is None else changed, opts)
