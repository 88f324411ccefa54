"""The consumption layer. External Secrets maintains Kubernetes Secrets as caches of Vault; workloads read only those.

RFC-SECOPS-0001 §3.2 (phase 4) and §7. Upstream: external-secrets v0.20, provider `vault`.

Nothing here waits for an ExternalSecret or a store one by one: a run must also get through while Vault is
sealed or a value is not entered yet. The evidence Job waits, once, for all of them, and says what is missing.
"""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.consumption.adoption_guard import AdoptionGuard, AdoptionGuardArgs
from components.consumption.engine import ConsumptionEngine, ConsumptionEngineArgs
from components.consumption.engine_roles import ConsumptionRoles, ConsumptionRolesArgs
from components.consumption.external_secret import external_secret_spec
from components.consumption.external_secrets import ExternalSecrets, ExternalSecretsArgs
from components.consumption.external_secrets_manifests import EXTERNAL_SECRETS_API
from components.consumption.foreign_secrets import refuse_foreign_secrets
from components.kit.evidence_output import consumption_line, published_evidence
from components.runtime_authority.runtime_authority import RuntimeAuthority
from components.settings.stack import Settings
from secret_authority.contract.names import (
    AUDIENCE,
    CA_CONFIG,
    CA_KEY,
    CONSUMPTION_STATUS,
    ENGINE_NAMESPACE,
    MANAGED_BY,
    READER_ACCOUNT,
    layer_type,
)
from secret_authority.core.catalogue.schema import Catalogue, CatalogueSecret, Consumer
from secret_authority.core.claims.conflicts import System
from secret_authority.core.claims.serialization import encode_claim
from secret_authority.core.phases import Phase
from secret_authority.repository.catalogue.config_values import read_config_values
from secret_authority.repository.intent.intent import Intent

# A net under the delivery of new versions, which takes seconds; see docs/consumption.md for what it costs.
# Written as External Secrets writes it: it would take the field over to change "10m" into this.
REFRESH_INTERVAL = "10m0s"


def read_consumption(settings: Settings, intent: Intent) -> dict[str, dict[str, str]]:
    """Everything that the consumption layer checks before the first change. Returns the configuration values of Git.

    Raises `InvalidInputError` for configuration that is invalid, and for each consumer Secret in the
    cluster that somebody else made.
    """
    config = read_config_values(intent.root, intent.layout.config, intent.catalogue)
    if settings.phase >= Phase.CONSUMPTION:
        refuse_foreign_secrets(settings.connection, intent.catalogue, intent.layout.catalogue)
    return config


@dataclass(frozen=True)
class ConsumptionArgs:
    """`runtime` is the layer below. `config`: values of class config by entry, from plain files of Git."""

    settings: Settings
    intent: Intent
    runtime: RuntimeAuthority
    config: Mapping[str, Mapping[str, str]]
    refresh_interval: str = REFRESH_INTERVAL


class Consumption(pulumi.ComponentResource):
    """External Secrets, a store for each namespace and mount, an ExternalSecret for each consumer, the engine.

    Ready when every consumer Secret has the newest version of Vault. A secret that nobody has entered yet is
    named in the evidence and holds nothing up.
    """

    claims: pulumi.Output[list[dict[str, Any]]]
    phase: pulumi.Output[int]
    evidence: pulumi.Output[str]
    job: k8s.batch.v1.Job

    def __init__(self, name: str, args: ConsumptionArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(layer_type("Consumption"), name, {}, opts)
        self._name, self._args = name, args
        intent, settings = args.intent, args.settings
        consumers = consumers_by_namespace(intent.catalogue)
        targets = {namespace: sorted(c.secret for _, c in mine) for namespace, mine in consumers.items()}
        guard = AdoptionGuard(f"{name}-adoption", AdoptionGuardArgs(), self._opts())
        controllers = ExternalSecrets(
            f"{name}-eso", ExternalSecretsArgs(settings.manifests, targets, settings.network), self._opts(guard.binding)
        )
        roles = ConsumptionRoles(
            f"{name}-roles",
            ConsumptionRolesArgs(intent.catalogue, args.config, args.runtime.configuration.connection),
            self._opts(),
        )
        bundle = self._bundle()
        made: list[pulumi.Resource] = [roles]
        for namespace, mine in consumers.items():
            made += self._namespace(namespace, mine, bundle, controllers.deployments[namespace])
        engine = ConsumptionEngine(
            f"{name}-engine",
            ConsumptionEngineArgs(settings, intent.layout.cluster, intent.catalogue, args.config),
            self._opts(*made),
        )
        self.job = engine.job
        self.evidence = published_evidence(settings, self.job, CONSUMPTION_STATUS, consumption_line)
        self.phase = pulumi.Output.from_input(Phase.CONSUMPTION.value)
        self.claims = pulumi.Output.from_input(
            [encode_claim(claim) for claim in intent.claims if claim.claimant.system is System.EXTERNAL_SECRETS]
        )
        self.register_outputs({"claims": self.claims, "phase": self.phase, "evidence": self.evidence})

    def _opts(self, *depends_on: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, depends_on=list(depends_on))

    def _bundle(self) -> pulumi.Output[str]:
        """The CA certificates of Vault, as the engine publishes them, in the form that a store takes."""
        published = k8s.core.v1.ConfigMap.get(
            f"{self._name}-vault-ca",
            self._args.runtime.evidence.apply(lambda _: f"{ENGINE_NAMESPACE}/{CA_CONFIG}"),
            opts=pulumi.ResourceOptions(parent=self),
        )
        encoded: pulumi.Output[str] = published.data.apply(_as_bundle)
        return encoded

    def _namespace(
        self,
        namespace: str,
        mine: list[tuple[CatalogueSecret, Consumer]],
        bundle: pulumi.Output[str],
        controller: pulumi.Resource,
    ) -> list[pulumi.Resource]:
        # Only the store uses this account; no workload runs as it and no token of it is mounted.
        account = k8s.core.v1.ServiceAccount(
            f"{self._name}-{namespace}-reader",
            metadata={"name": READER_ACCOUNT, "namespace": namespace, "labels": MANAGED_BY},
            automount_service_account_token=False,
            opts=self._opts(),
        )
        stores = {
            mount: self._store(namespace, mount, bundle, self._opts(account, controller))
            for mount in sorted({secret.vault.mount for secret, _ in mine})
        }
        return [
            self._external_secret(secret, consumer, self._opts(stores[secret.vault.mount])) for secret, consumer in mine
        ]

    def _store(
        self, namespace: str, mount: str, bundle: pulumi.Output[str], opts: pulumi.ResourceOptions
    ) -> k8s.apiextensions.CustomResource:
        runtime = self._args.runtime
        role = runtime.roles.apply(lambda roles: roles[namespace])
        return k8s.apiextensions.CustomResource(
            f"{self._name}-{namespace}-{mount}",
            api_version=EXTERNAL_SECRETS_API,
            kind="SecretStore",
            metadata={"name": mount, "namespace": namespace, "labels": MANAGED_BY},
            spec={
                "provider": {
                    "vault": {
                        "server": runtime.address,
                        "path": mount,
                        "version": "v2",
                        "caBundle": bundle,
                        "auth": {
                            "kubernetes": {
                                "mountPath": "kubernetes",
                                "role": role,
                                "serviceAccountRef": {"name": READER_ACCOUNT, "audiences": [AUDIENCE]},
                            }
                        },
                    }
                }
            },
            # From then on the engine of consumption updates it when its own trust changes.
            opts=pulumi.ResourceOptions.merge(
                opts, pulumi.ResourceOptions(ignore_changes=["spec.provider.vault.caBundle"])
            ),
        )

    def _external_secret(
        self, secret: CatalogueSecret, consumer: Consumer, opts: pulumi.ResourceOptions
    ) -> k8s.apiextensions.CustomResource:
        # Of shop/eu-db and shop-eu/db, a dash makes one name. Those of before keep their state by the alias:
        # a replaced ExternalSecret would take its Secret with it.
        before = pulumi.Alias(name=f"{self._name}-{consumer.namespace}-{consumer.secret}")
        return k8s.apiextensions.CustomResource(
            f"{self._name}-{consumer.namespace}/{consumer.secret}",
            api_version=EXTERNAL_SECRETS_API,
            kind="ExternalSecret",
            metadata={"name": consumer.secret, "namespace": consumer.namespace, "labels": MANAGED_BY},
            spec=external_secret_spec(
                secret, consumer, self._args.refresh_interval, self._args.intent.type_of_bootstrap(secret)
            ),
            opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(aliases=[before])),
        )


def _as_bundle(data: Mapping[str, str] | None) -> str:
    return base64.b64encode((data or {}).get(CA_KEY, "").encode()).decode()


def consumers_by_namespace(
    catalogue: Catalogue,
) -> dict[str, list[tuple[CatalogueSecret, Consumer]]]:
    """Every consumer of the catalogue with its secret, by namespace."""
    found: dict[str, list[tuple[CatalogueSecret, Consumer]]] = defaultdict(list)
    for secret in catalogue:
        for consumer in secret.consumers:
            found[consumer.namespace].append((secret, consumer))
    return dict(sorted(found.items()))
