"""Admission policies over this platform's own accounts: what RBAC cannot say, and what it must not say.

Kubernetes: ValidatingAdmissionPolicy (admissionregistration.k8s.io/v1). Inside an expression `object` and `oldObject`
are plain maps, so whole parts of them can be compared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from secret_authority.contract.names import MANAGED_BY


@dataclass(frozen=True)
class Rule:
    """A request matches by group, resources and operations."""

    group: str
    version: str
    resources: Sequence[str]
    operations: Sequence[str]

    def manifest(self) -> dict[str, Any]:
        return {
            "apiGroups": [self.group],
            "apiVersions": [self.version],
            "operations": list(self.operations),
            "resources": list(self.resources),
        }


@dataclass(frozen=True)
class Validation:
    """A CEL expression that must be true, and a CEL expression that gives the message when it is not."""

    expression: str
    message: str

    def manifest(self) -> dict[str, Any]:
        return {"expression": self.expression, "messageExpression": self.message, "reason": "Forbidden"}


@dataclass(frozen=True)
class AdmissionGuard:
    """A policy and its binding for the whole cluster. `accounts`: a CEL condition on the caller's user name."""

    name: str
    accounts: str
    rules: Sequence[Rule]
    validations: Sequence[Validation]
    variables: Mapping[str, str] = field(default_factory=dict)

    def create(
        self, prefix: str, parent: pulumi.Resource
    ) -> k8s.admissionregistration.v1.ValidatingAdmissionPolicyBinding:
        """Register both. Returns the binding, with which the policy takes effect."""
        opts = pulumi.ResourceOptions(parent=parent)
        policy = k8s.admissionregistration.v1.ValidatingAdmissionPolicy(
            f"{prefix}-policy", metadata={"name": self.name, "labels": MANAGED_BY}, spec=self.spec(), opts=opts
        )
        return k8s.admissionregistration.v1.ValidatingAdmissionPolicyBinding(
            f"{prefix}-binding",
            metadata={"name": self.name, "labels": MANAGED_BY},
            spec={"policyName": policy.metadata.name, "validationActions": ["Deny"]},
            opts=opts,
        )

    def spec(self) -> dict[str, Any]:
        """The policy's specification. It fails closed."""
        variables = [{"name": name, "expression": text} for name, text in self.variables.items()]
        return {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [rule.manifest() for rule in self.rules]},
            "matchConditions": [{"name": "accounts", "expression": self.accounts}],
            **({"variables": variables} if variables else {}),
            "validations": [validation.manifest() for validation in self.validations],
        }


def accounts_of(*namespaces: str) -> str:
    """A condition: the caller is a service account of one of these namespaces."""
    starts = [f'request.userInfo.username.startsWith("system:serviceaccount:{name}:")' for name in namespaces]
    return " || ".join(starts)


def account(namespace: str, name: str) -> str:
    """A condition: the caller is this service account."""
    return f'request.userInfo.username == "system:serviceaccount:{namespace}:{name}"'


def names(values: Sequence[str]) -> str:
    """A CEL list of these strings."""
    return json.dumps(list(values))
