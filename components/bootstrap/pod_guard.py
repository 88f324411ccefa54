"""Refuses pods that use a bootstrap secret. Bootstrap secrets are scaffolding, never an application's.

RFC-SECOPS-0001 §2 and §5. Kubernetes: ValidatingAdmissionPolicy (admissionregistration.k8s.io/v1), written
from the catalogue at each run, so that the rule and the catalogue cannot drift apart.
"""

from __future__ import annotations

import json

import pulumi
import pulumi_kubernetes as k8s

from secret_authority.contract.names import MANAGED_BY, layer_type

NAME = "secret-authority-bootstrap-guard"

# Volumes that name a Secret in a field of their own.
_VOLUME_FIELDS = (
    "secret.secretName",
    "azureFile.secretName",
    "csi.nodePublishSecretRef.name",
    "cephfs.secretRef.name",
    "flexVolume.secretRef.name",
    "iscsi.secretRef.name",
    "rbd.secretRef.name",
    "scaleIO.secretRef.name",
    "storageos.secretRef.name",
)
_VOLUMES = " || ".join(f'v.?{field}.orValue("") in variables.names' for field in _VOLUME_FIELDS)
_CONTAINERS = """exists(c,
    c.?envFrom.orValue([]).exists(e, e.?secretRef.name.orValue("") in variables.names) ||
    c.?env.orValue([]).exists(e, e.?valueFrom.secretKeyRef.name.orValue("") in variables.names))"""

# Every way in which a pod can name a Secret. Ephemeral containers are of another type than the others.
_USES = f"""(
  object.spec.?volumes.orValue([]).exists(v, {_VOLUMES} ||
    v.?projected.sources.orValue([]).exists(s, s.?secret.name.orValue("") in variables.names)) ||
  object.spec.containers.{_CONTAINERS} ||
  object.spec.?initContainers.orValue([]).{_CONTAINERS} ||
  object.spec.?ephemeralContainers.orValue([]).{_CONTAINERS} ||
  object.spec.?imagePullSecrets.orValue([]).exists(s, s.?name.orValue("") in variables.names)
)"""


class BootstrapGuard(pulumi.ComponentResource):
    """A ValidatingAdmissionPolicy over pods in the bootstrap namespaces. `targets`: Secret names by namespace."""

    policy: pulumi.Output[str]

    def __init__(self, name: str, targets: dict[str, list[str]], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(layer_type("BootstrapGuard"), name, {}, opts)
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
                        "expression": f"{json.dumps(targets)}[?request.namespace].orValue([])",
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
