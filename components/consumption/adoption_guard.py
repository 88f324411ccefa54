"""External Secrets changes no Secret but its own: held at admission, beside the check before a run.

That check is in components/preflight/foreign_secrets.py. Kubernetes: ValidatingAdmissionPolicy
(admissionregistration.k8s.io/v1). External Secrets makes each Secret with itself as the controlling owner,
so a change of one without that owner would be an adoption.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s

from components.consumption.external_secrets_manifests import GROUP
from secret_authority.contract.names import ESO_NAMESPACE, MANAGED_BY

NAME = "secret-authority-adoption-guard"


@dataclass(frozen=True)
class AdoptionGuardArgs:
    """`namespace`: where the controllers of External Secrets run."""

    namespace: str = ESO_NAMESPACE


class AdoptionGuard(pulumi.ComponentResource):
    """The policy and its binding, for every Secret of the cluster and External Secrets' controllers only."""

    binding: k8s.admissionregistration.v1.ValidatingAdmissionPolicyBinding

    def __init__(self, name: str, args: AdoptionGuardArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("secret-authority:consumption:AdoptionGuard", name, {}, opts)
        here = pulumi.ResourceOptions(parent=self)
        accounts = f"system:serviceaccount:{args.namespace}:"
        policy = k8s.admissionregistration.v1.ValidatingAdmissionPolicy(
            f"{name}-policy",
            metadata={"name": NAME, "labels": MANAGED_BY},
            spec={
                "failurePolicy": "Fail",
                "matchConstraints": {
                    "resourceRules": [
                        {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["secrets"]}
                    ]
                },
                "matchConditions": [
                    {
                        "name": "external-secrets",
                        "expression": f'request.userInfo.username.startsWith("{accounts}")',
                    }
                ],
                "validations": [
                    {
                        "expression": "oldObject.metadata.?ownerReferences.orValue([]).exists(o, "
                        f'o.kind == "ExternalSecret" && o.apiVersion.startsWith("{GROUP}/") '
                        "&& o.?controller.orValue(false))",
                        "messageExpression": "'Secret ' + request.namespace + '/' + request.name + ' was not made by "
                        "an ExternalSecret, so External Secrets may not adopt it; take it out of what makes it "
                        "and delete it'",
                        "reason": "Forbidden",
                    }
                ],
            },
            opts=here,
        )
        self.binding = k8s.admissionregistration.v1.ValidatingAdmissionPolicyBinding(
            f"{name}-binding",
            metadata={"name": NAME, "labels": MANAGED_BY},
            spec={"policyName": policy.metadata.name, "validationActions": ["Deny"]},
            opts=here,
        )
        self.register_outputs({})
