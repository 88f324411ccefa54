"""Refuses pods that use a bootstrap secret. Bootstrap secrets are scaffolding, never an application's.

RFC-SECOPS-0001 §2 and §5. Kubernetes: ValidatingAdmissionPolicy (admissionregistration.k8s.io/v1) with the
names as a parameter, so that the rule and the catalogue cannot drift apart.
"""

from __future__ import annotations

import pulumi
import pulumi_kubernetes as k8s

from components.names import ENGINE_NAMESPACE, MANAGED_BY, layer_type

NAME = "secret-authority-bootstrap-guard"

# Every way in which a pod can name a Secret.
_USES = """(
  object.spec.?volumes.orValue([]).exists(v,
    (has(v.secret) && v.secret.?secretName.orValue("") in variables.names) ||
    (has(v.projected) && v.projected.?sources.orValue([]).exists(s,
      has(s.secret) && s.secret.?name.orValue("") in variables.names))) ||
  variables.containers.exists(c,
    c.?envFrom.orValue([]).exists(e, has(e.secretRef) && e.secretRef.?name.orValue("") in variables.names) ||
    c.?env.orValue([]).exists(e, has(e.valueFrom) && has(e.valueFrom.secretKeyRef) &&
      e.valueFrom.secretKeyRef.?name.orValue("") in variables.names)) ||
  object.spec.?imagePullSecrets.orValue([]).exists(s, s.?name.orValue("") in variables.names)
)"""


class BootstrapGuard(pulumi.ComponentResource):
    """A ValidatingAdmissionPolicy over pods in the bootstrap namespaces. `targets`: Secret names by namespace."""

    policy: pulumi.Output[str]

    def __init__(self, name: str, targets: dict[str, list[str]], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(layer_type("BootstrapGuard"), name, {}, opts)
        here = pulumi.ResourceOptions(parent=self)
        names = k8s.core.v1.ConfigMap(
            f"{name}-names",
            metadata={"name": NAME, "namespace": ENGINE_NAMESPACE, "labels": MANAGED_BY},
            data={namespace: ",".join(found) for namespace, found in targets.items()},
            opts=here,
        )
        policy = k8s.admissionregistration.v1.ValidatingAdmissionPolicy(
            f"{name}-policy",
            metadata={"name": NAME, "labels": MANAGED_BY},
            spec={
                "failurePolicy": "Fail",
                "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
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
                        "expression": 'params.?data[request.namespace].orValue("").split(",").filter(n, n != "")',
                    },
                    {
                        "name": "containers",
                        "expression": "object.spec.containers + object.spec.?initContainers.orValue([])",
                    },
                ],
                "validations": [
                    {
                        "expression": f"!{_USES}",
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
                "paramRef": {
                    "name": names.metadata.name,
                    "namespace": ENGINE_NAMESPACE,
                    "parameterNotFoundAction": "Deny",
                },
                "matchResources": {
                    "namespaceSelector": {
                        "matchExpressions": [
                            {"key": "kubernetes.io/metadata.name", "operator": "In", "values": sorted(targets)}
                        ]
                    }
                },
            },
            opts=here,
        )
        self.policy = policy.metadata.name
        self.register_outputs({"policy": self.policy})
