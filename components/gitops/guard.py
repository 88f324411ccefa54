"""What no commit can do: Flux's accounts change no namespace of the platform, weaken no pod security, mint no token.

Flux applies what Git says, so whoever can push acts as these accounts. RBAC cannot exclude names; admission can.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s

from components.kit.admission import AdmissionGuard, Rule, Validation, accounts_of, names
from secret_authority.contract.names import ENGINE_NAMESPACE, ESO_NAMESPACE, FLUX_NAMESPACE
from secret_authority.core.platform_namespaces import KUBERNETES_PREFIX, PLATFORM_NAMESPACES

NAMESPACE_GUARD = "secret-authority-namespace-guard"
TOKEN_GUARD = "secret-authority-token-guard"
POD_SECURITY = "pod-security.kubernetes.io/"

NAMESPACES = AdmissionGuard(
    NAMESPACE_GUARD,
    accounts_of(FLUX_NAMESPACE),
    [Rule("", "v1", ["namespaces", "namespaces/*"], ["CREATE", "UPDATE", "DELETE"])],
    [
        Validation(
            f'!(variables.name in {names(PLATFORM_NAMESPACES)} || variables.name.startsWith("{KUBERNETES_PREFIX}"))',
            "'namespace ' + variables.name + ' belongs to the platform: Git cannot change it; remove it from the "
            "folder of namespaces'",
        ),
        Validation('request.operation != "DELETE"', "'Git deletes no namespace: an administrator does'"),
        Validation(
            'variables.enforce == variables.enforced || variables.enforce == "restricted" || '
            '(request.operation == "CREATE" && variables.enforce == "baseline")',
            f"'Git weakens {POD_SECURITY}enforce of no namespace: write restricted (in a new namespace also "
            "baseline), or ask an administrator to set this label'",
        ),
        Validation(
            'variables.version == variables.versioned || variables.version in ["", "latest"]',
            f"'Git sets {POD_SECURITY}enforce-version to latest only; an administrator pins another one'",
        ),
    ],
    {
        "name": "object == null ? oldObject.metadata.name : object.metadata.name",
        "now": "object == null ? {} : object.metadata.?labels.orValue({})",
        "before": "oldObject == null ? {} : oldObject.metadata.?labels.orValue({})",
        "enforce": f'variables.now[?"{POD_SECURITY}enforce"].orValue("")',
        "enforced": f'variables.before[?"{POD_SECURITY}enforce"].orValue("")',
        "version": f'variables.now[?"{POD_SECURITY}enforce-version"].orValue("")',
        "versioned": f'variables.before[?"{POD_SECURITY}enforce-version"].orValue("")',
    },
)
TOKENS = AdmissionGuard(
    TOKEN_GUARD,
    accounts_of(FLUX_NAMESPACE, ENGINE_NAMESPACE, ESO_NAMESPACE),
    [Rule("", "v1", ["secrets"], ["CREATE", "UPDATE"])],
    [
        Validation(
            'object.?type.orValue("") != "kubernetes.io/service-account-token"',
            "'a Secret of type kubernetes.io/service-account-token would give ' + request.userInfo.username + "
            "' the token of another account'",
        )
    ],
)


@dataclass(frozen=True)
class PlatformGuardArgs:
    """The policies; another one only where a test says so."""

    namespaces: AdmissionGuard = NAMESPACES
    tokens: AdmissionGuard = TOKENS


class PlatformGuard(pulumi.ComponentResource):
    """The two policies, in force before Flux runs."""

    bindings: list[k8s.admissionregistration.v1.ValidatingAdmissionPolicyBinding]

    def __init__(self, name: str, args: PlatformGuardArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("secret-authority:gitops:PlatformGuard", name, {}, opts)
        self.bindings = [
            args.namespaces.create(f"{name}-namespaces", self),
            args.tokens.create(f"{name}-tokens", self),
        ]
        self.register_outputs({"policies": [args.namespaces.name, args.tokens.name]})
