"""Who may talk to Vault and how: no workloads, no root token, configuration apart from data (RFC §2, §6, §7)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from policy.claims.external_secrets import writes_once
from policy.claims.kubernetes import secret_keys
from policy.claims.vault import SECRET_V2, kv_location
from policy.context import RuleContext
from policy.inventory.resource import Resource, dig, items, mapping, opaque
from policy.inventory.secret_stores import ESO
from policy.inventory.workloads import all_annotations, pods_of
from policy.rules.base import Rule, Scope, Severity, Violation, about
from policy.settings import Level
from secret_authority.core.catalogue.schema import CONFIG_MOUNT, DATA_MOUNT
from secret_authority.core.claims.locations import VaultSecret

_INJECTORS = {
    "vault.hashicorp.com/agent-inject": "the Vault agent injector",
    "vault.security.banzaicloud.io/vault-addr": "the Bank-Vaults webhook",
    "openbao.org/agent-inject": "the OpenBao agent injector",
}
_VAULT_ENV = re.compile(r"^(VAULT|BAO)_(ADDR|TOKEN|ROLE|ROLE_ID|SECRET_ID|NAMESPACE|CACERT|SKIP_VERIFY)$")
_VAULT_IMAGE = re.compile(r"(^|/)(vault|openbao|bao)(:|@|$)")
_SERVE = re.compile(r"(^|\b(vault|bao)\s+)server\b")
# What only those do who run a Vault, and what those do who want values of it.
_SETS_UP = re.compile(
    r"\b(vault|bao)\s+(operator\s|(secrets|auth|audit)\s+enable\b|policy\s+write\b"
    r"|write\s+(-\S+\s+)*(sys/|auth/(?!\S*/login\b)|\S+/(config|roles|static-roles)\b))"
)
_READS_VALUES = re.compile(r"\b(vault|bao)\s+(kv\b|read\b|list\b|unwrap\b|agent\b|proxy\b)|/v1/")
_API_PORT = 8200
_ROOT = re.compile(r"(^|[-_.])root[-_.]?token($|[-_.])|^VAULT_DEV_ROOT_TOKEN_ID$", re.IGNORECASE)
ROLE = "vault:kubernetes/authBackendRole:AuthBackendRole"


def _is_platform(context: RuleContext, resource: Resource) -> bool:
    return resource.namespace in context.settings.platform_namespaces


def _is_vault_server(container: Any) -> bool:
    """Whether a container runs the server: by its words, by its port, or without words, as the images do.

    The same image is also the agent, the proxy and the client (Vault documentation, "Commands (CLI)").
    """
    image = dig(container, "image")
    if not (isinstance(image, str) and _VAULT_IMAGE.search(image)):
        return False
    words = [*items(dig(container, "command")), *items(dig(container, "args"))]
    listens = any(dig(port, "containerPort") == _API_PORT for port in items(dig(container, "ports")))
    return not words or listens or any(isinstance(word, str) and _SERVE.search(word) for word in words)


def _sets_vault_up(container: Any) -> bool:
    """Whether a container unseals or configures a Vault with its own client, and reads no value from it."""
    image = dig(container, "image")
    if not (isinstance(image, str) and _VAULT_IMAGE.search(image)):
        return False
    words = [*items(dig(container, "command")), *items(dig(container, "args"))]
    text = " ".join(word for word in words if isinstance(word, str))
    return _SETS_UP.search(text) is not None and _READS_VALUES.search(text) is None


def vault_injection(context: RuleContext) -> Iterator[Violation]:
    for pods in context.index.workloads:
        resource = pods.resource
        if _is_platform(context, resource):
            continue
        marks = all_annotations(pods)
        for mark, what in _INJECTORS.items():
            if str(marks.get(mark, "false")).lower() not in ("false", "none"):
                yield about(resource, f"lets {what} log in to Vault for it. Read a Secret that External Secrets keeps")
        for volume in items(dig(pods.spec, "volumes")):
            if dig(volume, "csi", "driver") == "secrets-store.csi.k8s.io" and _from_vault(context, resource, volume):
                yield about(
                    resource,
                    "mounts Vault through the Secrets Store CSI driver. Read a Secret that External Secrets keeps",
                )


def _from_vault(context: RuleContext, resource: Resource, volume: Any) -> bool:
    """Whether the SecretProviderClass of a volume reads from Vault; one that is not in sight could."""
    name = dig(volume, "csi", "volumeAttributes", "secretProviderClass")
    providers = [
        found.get("spec", "provider")
        for found in context.index.of("secrets-store.csi.x-k8s.io", "SecretProviderClass")
        if found.metadata_name == name and found.namespace == resource.namespace
    ]
    return not providers or any(each in ("vault", "openbao") or opaque(each) for each in providers)


def vault_address_in_workload(context: RuleContext) -> Iterator[Violation]:
    for pods in context.index.workloads:
        resource = pods.resource
        if _is_platform(context, resource):
            continue
        for container in pods.containers:
            if _is_vault_server(container) or _sets_vault_up(container):
                continue
            for entry in items(dig(container, "env")):
                name = dig(entry, "name")
                if isinstance(name, str) and _VAULT_ENV.match(name):
                    yield about(
                        resource,
                        f"has {name} in the environment of container {dig(container, 'name')}: workloads never log in "
                        "to Vault. Read a Secret that External Secrets keeps",
                    )


def vault_role_for_workload(context: RuleContext) -> Iterator[Violation]:
    used = {
        (pods.resource.namespace, pods.account)
        for pods in context.index.workloads
        if not _is_platform(context, pods.resource)
    }
    for role in context.index.of_package("vault"):
        if role.token != ROLE:
            continue
        names = role.get("boundServiceAccountNames")
        spaces = role.get("boundServiceAccountNamespaces")
        if opaque(names) or opaque(spaces):
            field = "boundServiceAccountNames" if opaque(names) else "boundServiceAccountNamespaces"
            yield about(role, f"{field} is not known yet, so it could be a workload's account. Make it known")
            continue
        if "*" in items(names) or "*" in items(spaces):
            yield about(role, "is bound to * : any workload could log in. Name the accounts and namespaces")
            continue
        for space in items(spaces):
            for name in items(names):
                if space in context.settings.platform_namespaces:
                    continue
                if name == "default" or (space, name) in used:
                    yield about(
                        role,
                        f"is bound to service account {space}/{name}, as which workloads run. Make an account that "
                        "only the SecretStore uses",
                    )


def rotation_policy_missing(context: RuleContext) -> Iterator[Violation]:
    for resource in context.index.of_package("vault"):
        if resource.token != SECRET_V2:
            continue
        metadata = resource.get("customMetadata", "data")
        if not opaque(metadata) and "rotation_type" not in mapping(metadata):
            yield about(
                resource,
                "has no rotation policy. Set custom_metadata.data.rotation_type (static, time-based or event-based) "
                "with its times",
            )


def config_apart(context: RuleContext) -> Iterator[Violation]:
    for resource in context.index.of(ESO, "ExternalSecret", "ClusterExternalSecret"):
        mounts = {
            claim.source.mount
            for claim in context.claims_of(resource)
            if isinstance(claim.source, VaultSecret) and isinstance(claim.source.mount, str)
        }
        if {DATA_MOUNT, CONFIG_MOUNT} <= mounts:
            yield about(
                resource,
                f"mixes {DATA_MOUNT} and {CONFIG_MOUNT} in one Secret. Make one object for secrets and one for "
                "configuration",
            )
        path = ("externalSecretSpec",) if resource.kind == "ClusterExternalSecret" else ()
        kind = resource.get("spec", *path, "target", "manifest", "kind")
        if kind and kind != "Secret" and _reads(context, resource, DATA_MOUNT):
            yield about(resource, f"writes {DATA_MOUNT} into a {kind}. Secret values belong into Secrets only")
    for resource in context.index.of_package("vault"):
        location = kv_location(context.inventory, resource, context.inventory.stores.mounts)
        if location is not None and location.mount == CONFIG_MOUNT and _is_secret_entry(context, location.path):
            yield about(resource, f"writes the path of a catalogued secret below {CONFIG_MOUNT}. Use {DATA_MOUNT}")
    for claim, resource in context.observed:
        pushes = resource.is_a(ESO, "PushSecret", "ClusterPushSecret") and isinstance(claim.location, VaultSecret)
        if pushes and claim.location.parts()[1] == CONFIG_MOUNT:
            yield about(
                resource,
                f"pushes a Secret to {CONFIG_MOUNT}, where readers of configuration see it. Push it to {DATA_MOUNT}",
            )


def _reads(context: RuleContext, resource: Resource, mount: str) -> bool:
    path = ("externalSecretSpec",) if resource.kind == "ClusterExternalSecret" else ()
    spec = resource.get("spec", *path)
    references = [dig(spec, "secretStoreRef")]
    references += [dig(e, "sourceRef", "storeRef") for field in ("data", "dataFrom") for e in items(dig(spec, field))]
    return any(context.inventory.stores.resolve(ref, resource).mount == mount for ref in references if ref)


def _is_secret_entry(context: RuleContext, path: object) -> bool:
    return any(
        entry.vault.consumer and entry.vault.path == path for c in context.inventory.catalogues.values() for entry in c
    )


def root_token(context: RuleContext) -> Iterator[Violation]:
    for resource in context.index.secrets:
        keys = secret_keys(resource)
        kept = [key for key in sorted(keys.names or ()) if _ROOT.search(key)] if keys else []
        if kept or (keys and _ROOT.search(str(resource.metadata_name))):
            yield about(
                resource,
                "keeps a root token of Vault. Revoke the token; a new one can be made with the shares when it is "
                "needed",
            )
    for resource in context.index.of(ESO, "SecretStore", "ClusterSecretStore"):
        reference = resource.get("spec", "provider", "vault", "auth", "tokenSecretRef")
        if any(isinstance(dig(reference, f), str) and _ROOT.search(dig(reference, f)) for f in ("name", "key")):
            yield about(resource, "logs in with a root token. Use auth.kubernetes with a role of its own")
    for pods in context.index.workloads:
        for container in pods.containers:
            named = [dig(e, "name") for e in items(dig(container, "env"))]
            words = [w for f in ("command", "args") for w in items(dig(container, f)) if isinstance(w, str)]
            in_args = any("-dev-root-token-id" in word for word in words)
            if in_args or any(isinstance(name, str) and _ROOT.search(name) for name in named):
                yield about(
                    pods.resource, "is given a root token of Vault. Use an identity of its own with least privilege"
                )


def static_vault_token(context: RuleContext) -> Iterator[Violation]:
    for resource in context.index.of(ESO, "SecretStore", "ClusterSecretStore"):
        if resource.get("spec", "provider", "vault", "auth", "tokenSecretRef"):
            yield about(
                resource,
                "logs in to Vault with a stored token, which is a secret without an authority. Use auth.kubernetes",
            )


def deletion_policy(context: RuleContext) -> Iterator[Violation]:
    for resource in context.index.of(ESO, "ExternalSecret", "ClusterExternalSecret"):
        path = ("externalSecretSpec",) if resource.kind == "ClusterExternalSecret" else ()
        policy = resource.get("spec", *path, "target", "deletionPolicy")
        if policy in ("Delete", "Merge") and _asks_again(resource.get("spec", *path)):
            yield about(
                resource,
                f"deletionPolicy {policy} takes values from workloads when the store has the path no more. Set Retain",
            )


def _asks_again(spec: Any) -> bool:
    """Whether External Secrets asks a store again for what it wrote: only then can nothing be the answer."""
    if writes_once(spec) or dig(spec, "target", "creationPolicy") == "None":
        return False
    generated = [dig(entry, "sourceRef", "generatorRef") for entry in items(dig(spec, "dataFrom"))]
    return bool(dig(spec, "data")) or not generated or not all(generated)


def _makes_pods(resource: Resource) -> bool:
    return pods_of(resource) is not None


RULES = (
    Rule(
        "vault-injection",
        "No agent logs in to Vault for a workload",
        "With an injector or the CSI driver every workload is a client of the authority, and falls with it.",
        "Read the Secret that External Secrets keeps; it stays when Vault is away.",
        "§7",
        Severity.HIGH,
        Level.MANDATORY,
        Scope.RESOURCE,
        vault_injection,
        _makes_pods,
    ),
    Rule(
        "vault-address-in-workload",
        "Workloads do not know Vault",
        "An address or a token in the environment is a login in the making, and a token there is a leak.",
        "Remove the variables and read a Secret.",
        "§7",
        Severity.HIGH,
        Level.MANDATORY,
        Scope.RESOURCE,
        vault_address_in_workload,
        _makes_pods,
    ),
    Rule(
        "vault-role-for-workload",
        "No Vault role is bound to a workload's account",
        "A role for a workload's account lets the workload log in, whatever its manifest says.",
        "Bind the role to an account that only the SecretStore uses.",
        "§7",
        Severity.HIGH,
        Level.MANDATORY,
        Scope.STACK,
        vault_role_for_workload,
    ),
    Rule(
        "rotation-policy-missing",
        "A secret carries its rotation policy",
        "The policy is data of the secret; without it nobody knows whether an old value is a fault.",
        "Set rotation_type and its times in the custom metadata, or the policy in the catalogue.",
        "§6",
        Severity.MEDIUM,
        Level.MANDATORY,
        Scope.RESOURCE,
        rotation_policy_missing,
        lambda resource: resource.token == SECRET_V2,
    ),
    Rule(
        "config-apart",
        "Configuration takes a path of its own",
        "Configuration has more readers than secrets; on one path each reader of one reads the other.",
        f"Secrets below {DATA_MOUNT}, configuration below {CONFIG_MOUNT}, never in one object.",
        "§2",
        Severity.HIGH,
        Level.MANDATORY,
        Scope.STACK,
        config_apart,
    ),
    Rule(
        "root-token",
        "No root token is kept or used",
        "A root token reads and changes everything, does not expire and leaves no identity in the audit log.",
        "Revoke it; use generate-root with the shares when it is needed.",
        "§7",
        Severity.CRITICAL,
        Level.MANDATORY,
        Scope.RESOURCE,
        root_token,
        lambda resource: resource.kind in ("Secret", "SecretStore", "ClusterSecretStore") or _makes_pods(resource),
    ),
    Rule(
        "static-vault-token",
        "Stores log in with an identity, not with a stored token",
        "A stored token is itself a secret that something has to rotate.",
        "Use auth.kubernetes with a service account and a role.",
        "§7",
        Severity.MEDIUM,
        Level.ADVISORY,
        Scope.RESOURCE,
        static_vault_token,
        lambda resource: resource.is_a(ESO, "SecretStore", "ClusterSecretStore"),
    ),
    Rule(
        "secret-deletion-policy",
        "Vault's absence does not remove a Secret",
        "A path that is gone, or that a policy hides, must leave workloads with the values that they have.",
        "Set spec.target.deletionPolicy: Retain.",
        "§3.5",
        Severity.MEDIUM,
        Level.MANDATORY,
        Scope.RESOURCE,
        deletion_policy,
        lambda resource: resource.is_a(ESO, "ExternalSecret", "ClusterExternalSecret"),
    ),
)
