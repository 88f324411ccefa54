"""Refuses pods that use a bootstrap secret. Bootstrap secrets are scaffolding, never an application's.

RFC-SECOPS-0001 §2 and §5. Kubernetes: ValidatingAdmissionPolicy (admissionregistration.k8s.io/v1), written
from the catalogue at each run, so that the rule and the catalogue cannot drift apart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s

from secret_authority.contract.names import MANAGED_BY, layer_type
from secret_authority.contract.pod_secret_refs import CONTAINERS, ENV, ENV_FROM, PROJECTED, PULL_SECRETS, VOLUME_FIELDS

NAME = "secret-authority-bootstrap-guard"


def _named(item: str, path: str, entry: str = "s") -> str:
    """Whether a field of `item`, or of an entry of its list, names a Secret that is guarded."""
    listed, _, field = path.rpartition("[].")
    if not listed:
        return f'{item}.?{field}.orValue("") in variables.names'
    return f"{item}.?{listed}.orValue([]).exists({entry}, {_named(entry, field)})"


_VOLUMES = " || ".join(_named("v", field) for field in VOLUME_FIELDS)
_CONTAINER = f"exists(c,\n    {_named('c', ENV_FROM, 'e')} ||\n    {_named('c', ENV, 'e')})"
# Every container list but the first may be missing.
_LISTS = ("containers", *(f"?{name}.orValue([])" for name in CONTAINERS if name != "containers"))
_CONTAINERS = " ||\n  ".join(f"object.spec.{name}.{_CONTAINER}" for name in _LISTS)

# Every way in which a pod can name a Secret, as one CEL expression.
USES_A_SECRET = f"""(
  object.spec.?volumes.orValue([]).exists(v, {_VOLUMES} ||
    {_named("v", PROJECTED)}) ||
  {_CONTAINERS} ||
  {_named("object.spec", PULL_SECRETS)}
)"""


@dataclass(frozen=True)
class BootstrapGuardArgs:
    """`targets`: names of bootstrap Secrets by namespace."""

    targets: Mapping[str, Sequence[str]]


class BootstrapGuard(pulumi.ComponentResource):
    """A ValidatingAdmissionPolicy over pods in the bootstrap namespaces."""

    policy: pulumi.Output[str]

    def __init__(self, name: str, args: BootstrapGuardArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        # It was registered as a layer once.
        before = pulumi.ResourceOptions(aliases=[pulumi.Alias(type_=layer_type("BootstrapGuard"))])
        opts = pulumi.ResourceOptions.merge(opts, before)
        super().__init__("secret-authority:bootstrap:Guard", name, {}, opts)
        here = pulumi.ResourceOptions(parent=self)
        policy = k8s.admissionregistration.v1.ValidatingAdmissionPolicy(
            f"{name}-policy",
            metadata={"name": NAME, "labels": MANAGED_BY},
            spec={
                "failurePolicy": "Fail",
                "matchConstraints": {
                    "resourceRules": [
                        {
                            "apiGroups": [""],
                            "apiVersions": ["v1"],
                            "operations": ["CREATE", "UPDATE"],
                            "resources": ["pods", "pods/ephemeralcontainers"],
                        }
                    ]
                },
                "variables": [
                    {
                        "name": "names",
                        # In the policy itself: an API server does not see a parameter any more once a policy
                        # of this name was deleted and made again.
                        "expression": f"{json.dumps(args.targets)}[?request.namespace].orValue([])",
                    },
                ],
                "validations": [
                    {
                        "expression": f"!{USES_A_SECRET}",
                        "messageExpression": "'this pod uses a bootstrap secret of namespace ' + request.namespace + "
                        "'; workloads read Secrets that External Secrets materialises (phase 4)'",
                        "reason": "Forbidden",
                    }
                ],
            },
            opts=here,
        )
        k8s.admissionregistration.v1.ValidatingAdmissionPolicyBinding(
            f"{name}-binding",
            metadata={"name": NAME, "labels": MANAGED_BY},
            spec={
                "policyName": policy.metadata.name,
                "validationActions": ["Deny"],
                "matchResources": {
                    "namespaceSelector": {
                        "matchExpressions": [
                            {"key": "kubernetes.io/metadata.name", "operator": "In", "values": sorted(args.targets)}
                        ]
                    }
                },
            },
            opts=here,
        )
        self.policy = policy.metadata.name
        self.register_outputs({"policy": self.policy})
