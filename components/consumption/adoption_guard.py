"""External Secrets creates and changes no Secret but its own: enforced at admission, beside the check before a run.

That check is in components/consumption/foreign_secrets.py. External Secrets makes each Secret with itself as the
controlling owner, so a change of one without that owner would be an adoption, and a new one without it a Secret that
no ExternalSecret asked for, such as one that Kubernetes fills with the token of another account.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s

from components.consumption.external_secrets_manifests import GROUP
from components.kit.admission import AdmissionGuard, Rule, Validation, accounts_of
from secret_authority.contract.names import ESO_NAMESPACE

NAME = "secret-authority-adoption-guard"


def adoption_guard(namespace: str) -> AdmissionGuard:
    """The policy over controllers of External Secrets in this namespace."""
    owned = (
        "{}.metadata.?ownerReferences.orValue([]).exists(o, "
        f'o.kind == "ExternalSecret" && o.apiVersion.startsWith("{GROUP}/") && o.?controller.orValue(false))'
    )
    secret = "'Secret ' + request.namespace + '/' + object.metadata.name + '"
    return AdmissionGuard(
        NAME,
        accounts_of(namespace),
        [Rule("", "v1", ["secrets"], ["CREATE", "UPDATE"])],
        [
            Validation(
                f'request.operation != "UPDATE" || {owned.format("oldObject")}',
                f"{secret} was not made by an ExternalSecret, so External Secrets may not adopt it; take it out of "
                "what makes it and delete it'",
            ),
            Validation(
                owned.format("object"),
                f"{secret} has no ExternalSecret as its controlling owner, so External Secrets may not write it'",
            ),
            Validation(
                'object.?type.orValue("") != "kubernetes.io/service-account-token"',
                f"{secret} is of a type that Kubernetes fills with the token of an account'",
            ),
        ],
    )


@dataclass(frozen=True)
class AdoptionGuardArgs:
    """`namespace`: where the controllers of External Secrets run."""

    namespace: str = ESO_NAMESPACE


class AdoptionGuard(pulumi.ComponentResource):
    """The policy and its binding, for every Secret of the cluster and External Secrets' controllers only."""

    binding: k8s.admissionregistration.v1.ValidatingAdmissionPolicyBinding

    def __init__(self, name: str, args: AdoptionGuardArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("secret-authority:consumption:AdoptionGuard", name, {}, opts)
        self.binding = adoption_guard(args.namespace).create(name, self)
        self.register_outputs({})
