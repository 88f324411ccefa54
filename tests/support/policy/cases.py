"""For each rule over a stack: one that must fail, with a part of the message, and a near twin that must pass.

Every namespace and path is used by one case only, so that all cases can also stand in one stack. Values that no
message may show are `CANARY`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.policy.stacks import CANARY, R, component, k8s, secret

ESO = "external-secrets.io/v1"
PUSH = "external-secrets.io/v1alpha1"
# What a Vault path holds.
VALUES = f'{{"password": "{CANARY}"}}'


@dataclass(frozen=True)
class Case:
    """`alone` cases change the whole stack (phase, layers, catalogue), so they are never put together."""

    rule: str
    bad: Sequence[R]
    good: Sequence[R]
    says: tuple[str, ...]
    alone: bool = False
    config: dict[str, Any] = field(default_factory=dict)


def store(space: str, name: str = "vault", **provider: Any) -> R:
    spec = {"provider": provider or {"vault": {"server": "https://vault.vault:8200", "path": "platform-data"}}}
    return k8s(ESO, "SecretStore", f"{space}/{name}", spec=spec)


def external(where: str, path: str, keys: Sequence[str] = ("password",), **target: Any) -> R:
    spec = {
        "secretStoreRef": {"name": "vault", "kind": "SecretStore"},
        "target": target,
        "data": [{"secretKey": key, "remoteRef": {"key": path, "property": key}} for key in keys],
    }
    return k8s(ESO, "ExternalSecret", where, spec=spec)


def push(where: str, source: str, path: str, **more: Any) -> R:
    spec = {
        "secretStoreRefs": [{"name": "vault", "kind": "SecretStore"}],
        "selector": {"secret": {"name": source}},
        "data": [{"match": {"secretKey": "password", "remoteRef": {"remoteKey": path, "property": "password"}}}],
        "updatePolicy": "IfNotExists",
        **more,
    }
    return k8s(PUSH, "PushSecret", where, spec=spec)


def plain(where: str, *keys: str, **fields: Any) -> R:
    return k8s("v1", "Secret", where, stringData={key: secret(CANARY) for key in keys or ("password",)}, **fields)


def deployment(where: str, container: dict[str, Any], metadata: dict[str, Any] | None = None, **pod: Any) -> R:
    containers = [{"name": "app", "image": "registry.example/app:1", **container}]
    template = {"metadata": metadata or {}, "spec": {"containers": containers, **pod}}
    return k8s("apps/v1", "Deployment", where, spec={"template": template})


def kustomization(name: str, **spec: Any) -> R:
    return k8s("kustomize.toolkit.fluxcd.io/v1", "Kustomization", f"flux-system/{name}", spec=spec)


def claim(system: str, subject: str, parts: Sequence[str], kind: str = "kubernetes", **more: Any) -> dict[str, Any]:
    location = {"kind": kind, "parts": list(parts)}
    return {"system": system, "subject": subject, "place": location, "keys": None, "source": None, **more}


def catalogue(*entries: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "secret-authority.dev/v1",
        "kind": "SecretCatalogue",
        "bootstrapNamespaces": ["platform"],
        "secrets": list(entries),
    }


ORDERS = {
    "name": "orders-db",
    "class": "bootstrap",
    "owner": "team-orders",
    "bootstrap": {"namespace": "platform", "secret": "orders-db", "keys": ["password"]},
    "vault": {"datasource": "pg", "consumer": "orders"},
    "consumers": [{"namespace": "orders", "secret": "orders-db", "keys": {"password": "password"}}],
    "rotation": {"type": "static"},
}
LAYERS = [component("RootOfTrust", phase=2), component("GitOps", phase=2), component("BootstrapSecrets", phase=2)]


def _inside(layer: str, name: str, *depends_on: str) -> R:
    props = {"metadata": {"namespace": "layers", "name": name}, "data": {}}
    return R("kubernetes:core/v1:ConfigMap", name, props, parent=layer, depends_on=depends_on)


CASES: tuple[Case, ...] = (
    Case(
        "single-authority",
        [plain("one/db"), store("one"), external("one/db", "pg/one")],
        [plain("one/db"), store("one"), external("one/db", "pg/one", name="db-runtime")],
        ("Secret one/db, password", "ExternalSecret one/db", "of resource secret-one-db", "Keep one of them"),
    ),
    Case(
        "undecided-authority",
        [
            plain("two/db"),
            store("two"),
            k8s(
                ESO,
                "ExternalSecret",
                "two/db",
                spec={
                    "secretStoreRef": {"name": "vault"},
                    "target": {"creationPolicy": "Merge"},
                    "dataFrom": [{"extract": {"key": "pg/two"}}],
                },
            ),
        ],
        [plain("two/db"), store("two"), external("two/db", "pg/two", ["user"], creationPolicy="Merge")],
        ("cannot rule out two authorities", "spec.dataFrom", "list them under spec.data"),
    ),
    Case(
        "pulumi-minted-value",
        [
            R("random:index/randomPassword:RandomPassword", "minted", {"result": secret(CANARY), "length": 20}),
            R(
                "kubernetes:core/v1:Secret",
                "minted-secret",
                {"metadata": {"name": "minted", "namespace": "three"}, "stringData": {"password": secret(CANARY)}},
                depends_on=("minted",),
                fed_by={"stringData": ("minted",)},
            ),
        ],
        [
            R("random:index/randomPassword:RandomPassword", "minted", {"result": secret(CANARY), "length": 20}),
            plain("three/minted"),
        ],
        ("RandomPassword minted", "Pulumi state"),
    ),
    Case(
        "pulumi-written-vault-value",
        [
            R(
                "vault:kv/secretV2:SecretV2",
                "four",
                {
                    "mount": "platform-data",
                    "name": "pg/four",
                    "dataJson": secret(VALUES),
                    "customMetadata": {"data": {"rotation_type": "static"}},
                },
            )
        ],
        [R("vault:index/mount:Mount", "four", {"path": "four", "type": "kv-v2"})],
        ("writes Vault platform-data/pg/four from Pulumi",),
    ),
    Case(
        "pulumi-held-secret",
        [plain("five/held")],
        [k8s("v1", "Secret", "five/held", stringData={"ca.crt": "public"})],
        ("Secret five/held", "in the state"),
    ),
    Case(
        "opaque-release",
        [R("kubernetes:helm.sh/v3:Release", "six", {"chart": "app", "values": {"replicas": 1}})],
        [R("kubernetes:helm.sh/v4:Chart", "six", {"chart": "app", "values": {"replicas": 1}})],
        ("helm.v3.Release",),
    ),
    Case(
        "catalogued-key-in-config",
        [
            component("BootstrapSecrets", catalogue=catalogue(ORDERS), claims=[]),
            k8s("v1", "ConfigMap", "orders/app", data={"password": CANARY}),
        ],
        [
            component("BootstrapSecrets", catalogue=catalogue(ORDERS), claims=[]),
            k8s("v1", "ConfigMap", "orders/app", data={"host": CANARY}),
        ],
        ("ConfigMap orders/app", "data.password", "orders-db"),
        alone=True,
    ),
    Case(
        "secret-like-config",
        [
            k8s(
                "helm.toolkit.fluxcd.io/v2",
                "HelmRelease",
                "seven/app",
                spec={"values": {"auth": {"adminPassword": CANARY}}},
            )
        ],
        [
            k8s(
                "helm.toolkit.fluxcd.io/v2",
                "HelmRelease",
                "seven/app",
                spec={"values": {"auth": {"existingSecret": "x"}}},
            )
        ],
        ("spec.values.auth.adminPassword",),
    ),
    Case(
        "upward-flow",
        [store("eight"), external("eight/db", "pg/eight"), push("eight/back", "db", "pg/eight-copy")],
        [store("eight"), external("eight/db", "pg/eight"), push("eight/back", "db", "pg/eight")],
        ("PushSecret eight/back", "values never flow back up"),
    ),
    Case(
        "push-overwrites",
        [store("nine"), push("nine/seed", "seed", "pg/nine", updatePolicy="Replace")],
        [store("nine"), push("nine/seed", "seed", "pg/nine")],
        ("PushSecret nine/seed", "IfNotExists"),
    ),
    Case(
        "push-deletes",
        [store("ten"), push("ten/seed", "seed", "pg/ten", deletionPolicy="Delete")],
        [store("ten"), push("ten/seed", "seed", "pg/ten", deletionPolicy="None")],
        ("deletionPolicy Delete",),
    ),
    Case(
        "kubernetes-store",
        [store("eleven", kubernetes={"remoteNamespace": "elsewhere", "auth": {}})],
        [store("eleven")],
        ("SecretStore eleven/vault", "provider kubernetes"),
    ),
    Case(
        "generator-bypasses-vault",
        [
            k8s(
                ESO,
                "ExternalSecret",
                "twelve/gen",
                spec={"dataFrom": [{"sourceRef": {"generatorRef": {"kind": "Password", "name": "gen"}}}]},
            )
        ],
        [
            k8s(
                ESO,
                "ExternalSecret",
                "twelve/gen",
                spec={"dataFrom": [{"sourceRef": {"generatorRef": {"kind": "VaultDynamicSecret", "name": "gen"}}}]},
            )
        ],
        ("ExternalSecret twelve/gen", "PushSecret with generatorRef"),
    ),
    Case(
        "secret-to-code-host",
        [
            R(
                "github:index/actionsSecret:ActionsSecret",
                "thirteen",
                {"repository": "app", "secretName": "DEPLOY", "plaintextValue": secret(CANARY)},
            )
        ],
        [R("github:index/repository:Repository", "thirteen", {"name": "app"})],
        ("code host",),
    ),
    Case(
        "mirrored-secret",
        [
            k8s(
                "v1",
                "Secret",
                "fourteen/pull",
                metadata={"annotations": {"replicator.v1.mittwald.de/replicate-to": "fourteen-a"}},
            )
        ],
        [k8s("v1", "Secret", "fourteen/pull", metadata={"annotations": {"team": "fourteen-a"}})],
        ("replicator.v1.mittwald.de/replicate-to",),
    ),
    Case(
        "rejected-mechanism",
        [k8s("bitnami.com/v1alpha1", "SealedSecret", "fifteen/sealed", spec={"encryptedData": {"password": CANARY}})],
        [store("fifteen"), external("fifteen/sealed", "pg/fifteen")],
        ("SealedSecret fifteen/sealed", "SOPS and age"),
    ),
    Case(
        "later-phase",
        [*LAYERS, store("sixteen")],
        [*LAYERS, kustomization("bootstrap", path="./x", decryption={"provider": "sops"})],
        ("SecretStore sixteen/vault", "phase 4", "phase 2"),
        alone=True,
    ),
    Case(
        "layer-order",
        [
            component("GitOps"),
            _inside("gitops", "one"),
            component("BootstrapSecrets"),
            _inside("bootstrapsecrets", "two"),
        ],
        [
            component("GitOps"),
            _inside("gitops", "one"),
            component("BootstrapSecrets"),
            _inside("bootstrapsecrets", "two", "one"),
        ],
        ("layer BootstrapSecrets does not wait for layer GitOps",),
        alone=True,
    ),
    Case(
        "bootstrap-secret-used",
        [
            component("BootstrapSecrets", catalogue=catalogue(ORDERS), claims=[]),
            deployment("platform/app", {"envFrom": [{"secretRef": {"name": "orders-db"}}]}),
        ],
        [
            component("BootstrapSecrets", catalogue=catalogue(ORDERS), claims=[]),
            deployment("orders/app", {"envFrom": [{"secretRef": {"name": "orders-db"}}]}),
        ],
        ("Deployment platform/app", "platform/orders-db", "envFrom", "catalogue entry orders-db"),
        alone=True,
    ),
    Case(
        "git-after-handover",
        [
            component("RuntimeAuthority", phase=3),
            kustomization("bootstrap", path="./x", decryption={"provider": "sops"}),
        ],
        [
            component("RuntimeAuthority", phase=3),
            kustomization(
                "bootstrap",
                path="./x",
                decryption={"provider": "sops"},
                commonMetadata={"annotations": {"kustomize.toolkit.fluxcd.io/ssa": "IfNotPresent"}},
            ),
        ],
        ("Kustomization flux-system/bootstrap", "ssa: IfNotPresent"),
        alone=True,
    ),
    Case(
        "declared-claims",
        [component("Consumption", claims=[claim("EXTERNAL_SECRETS", "ExternalSecret lie/db", ["dev", "lie", "db"])])],
        [
            component("Consumption", claims=[claim("EXTERNAL_SECRETS", "ExternalSecret lie/db", ["dev", "lie", "db"])]),
            store("lie"),
            external("lie/db", "pg/lie"),
        ],
        ("declares that ExternalSecret lie/db", "no resource of the stack does"),
        alone=True,
    ),
    Case(
        "catalogue-valid",
        [component("BootstrapSecrets", catalogue=catalogue({**ORDERS, "rotation": None}), claims=[])],
        [component("BootstrapSecrets", catalogue=catalogue(ORDERS), claims=[])],
        ("secrets[orders-db]", "rotation policy"),
        alone=True,
    ),
    Case(
        "bootstrap-namespace",
        [
            component("BootstrapSecrets", catalogue=catalogue(ORDERS), claims=[]),
            plain("shop/late", metadata={"labels": {"secret-authority.dev/class": "bootstrap"}}),
        ],
        [
            component("BootstrapSecrets", catalogue=catalogue(ORDERS), claims=[]),
            plain("platform/late", metadata={"labels": {"secret-authority.dev/class": "bootstrap"}}),
        ],
        ("Secret shop/late", "allowed are platform"),
        alone=True,
    ),
    Case(
        "branch-as-environment",
        [
            k8s(
                "source.toolkit.fluxcd.io/v1",
                "GitRepository",
                "flux-system/a",
                spec={"url": "https://git.example/a", "ref": {"branch": "production"}},
            )
        ],
        [
            k8s(
                "source.toolkit.fluxcd.io/v1",
                "GitRepository",
                "flux-system/a",
                spec={"url": "https://git.example/a", "ref": {"branch": "main"}},
            )
        ],
        ("branch production",),
    ),
    Case(
        "vault-injection",
        [deployment("seventeen/app", {}, {"annotations": {"vault.hashicorp.com/agent-inject": "true"}})],
        [deployment("seventeen/app", {}, {"annotations": {"vault.hashicorp.com/agent-inject": "false"}})],
        ("Deployment seventeen/app", "Vault agent injector"),
    ),
    Case(
        "vault-address-in-workload",
        [deployment("eighteen/app", {"env": [{"name": "VAULT_TOKEN", "value": CANARY}]})],
        [deployment("eighteen/app", {"env": [{"name": "DEFAULT_TOKEN_TTL", "value": CANARY}]})],
        ("VAULT_TOKEN", "container app"),
    ),
    Case(
        "vault-role-for-workload",
        [
            deployment("nineteen/app", {}, serviceAccountName="app"),
            R(
                "vault:kubernetes/authBackendRole:AuthBackendRole",
                "nineteen",
                {
                    "roleName": "nineteen",
                    "boundServiceAccountNames": ["app"],
                    "boundServiceAccountNamespaces": ["nineteen"],
                },
            ),
        ],
        [
            deployment("nineteen/app", {}, serviceAccountName="app"),
            R(
                "vault:kubernetes/authBackendRole:AuthBackendRole",
                "nineteen",
                {
                    "roleName": "nineteen",
                    "boundServiceAccountNames": ["app-eso"],
                    "boundServiceAccountNamespaces": ["nineteen"],
                },
            ),
        ],
        ("service account nineteen/app",),
    ),
    Case(
        "rotation-policy-missing",
        [R("vault:kv/secretV2:SecretV2", "twenty", {"mount": "kv", "name": "pg/twenty", "dataJson": secret(VALUES)})],
        [
            R(
                "vault:kv/secretV2:SecretV2",
                "twenty",
                {
                    "mount": "kv",
                    "name": "pg/twenty",
                    "dataJson": secret(VALUES),
                    "customMetadata": {"data": {"rotation_type": "time-based", "ttl": "720h"}},
                },
            )
        ],
        ("has no rotation policy",),
    ),
    Case(
        "config-apart",
        [
            store("twentyone", vault={"server": "https://vault.vault:8200"}),
            external("twentyone/app", "platform-data/pg/x", name="a"),
            k8s(
                ESO,
                "ExternalSecret",
                "twentyone/mixed",
                spec={
                    "secretStoreRef": {"name": "vault"},
                    "data": [
                        {"secretKey": "password", "remoteRef": {"key": "platform-data/pg/x"}},
                        {"secretKey": "host", "remoteRef": {"key": "platform-config/pg/main"}},
                    ],
                },
            ),
        ],
        [
            store("twentyone", vault={"server": "https://vault.vault:8200"}),
            external("twentyone/app", "platform-data/pg/x", name="a"),
            external("twentyone/conf", "platform-config/pg/main", ["host"]),
        ],
        ("ExternalSecret twentyone/mixed", "mixes platform-data and platform-config"),
    ),
    Case(
        "root-token",
        [plain("twentytwo/vault-init", "root_token")],
        [plain("twentytwo/vault-init", "unseal_note")],
        ("Secret twentytwo/vault-init", "keeps a root token"),
    ),
    Case(
        "static-vault-token",
        [store("twentythree", vault={"server": "https://vault.vault:8200", "auth": {"tokenSecretRef": {"name": "t"}}})],
        [store("twentythree", vault={"server": "https://vault.vault:8200", "auth": {"kubernetes": {"role": "r"}}})],
        ("stored token",),
    ),
    Case(
        "secret-deletion-policy",
        [store("twentyfour"), external("twentyfour/db", "pg/twentyfour", deletionPolicy="Delete")],
        [store("twentyfour"), external("twentyfour/db", "pg/twentyfour", deletionPolicy="Retain")],
        ("deletionPolicy Delete",),
    ),
    Case(
        "expired-exception",
        [plain("twentyfive/x")],
        [],
        ("ended on 2020-01-01",),
        alone=True,
        config={
            "exceptions": [
                {"rule": "pulumi-held-secret", "subject": "*", "reason": "moved next quarter", "expires": "2020-01-01"}
            ]
        },
    ),
)
