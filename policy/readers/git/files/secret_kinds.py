"""Which files of a tree are about secrets: what they hold can be a claim, or a value."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from policy.inventory.resource import dig, items, mapping
from policy.inventory.writers import BY_KIND

# API groups of which every kind is about secrets: where they are, who reads them, who makes them.
_GROUPS = frozenset(
    {
        "external-secrets.io",
        "generators.external-secrets.io",
        "secrets.hashicorp.com",
        "secrets-store.csi.x-k8s.io",
        "bitnami.com",
        "isindir.github.com",
        "onepassword.com",
        "secrets.infisical.com",
        "secrets.doppler.com",
    }
)
_KINDS = "|".join(
    (
        *("Secret", "ExternalSecret", "ClusterExternalSecret", "PushSecret", "ClusterPushSecret", "SecretStore"),
        *("ClusterSecretStore", "SealedSecret", "VaultStaticSecret", "VaultDynamicSecret", "SecretProviderClass"),
        *sorted(
            {kind for _, kind in BY_KIND}
            - {"*", "Cluster", "Issuer", "ClusterIssuer", "Certificate", "Kafka", "Password"}
            # A role binding has kind: User as well.
            - {"User", "Connection", "Grafana", "Vault", "Terraform"}
        ),
    )
)
# Kinds that are written into a store.
_INTO_STORES = frozenset(
    {("redhatcop.redhat.io", "RandomSecret")}
    | {(group, kind) for group in ("kv.vault.upbound.io", "kv.vault.m.upbound.io") for kind in ("Secret", "SecretV2")}
)
_IN_TEMPLATE = re.compile(rf"^\s*kind:\s*['\"]?({_KINDS})['\"]?\s*$", re.MULTILINE)


def about_secrets(content: Mapping[str, Any]) -> str | None:
    """The kind of a manifest that can hold a claim or a value; None for others."""
    return next(_kinds(content), None)


def in_template(text: str) -> str | None:
    """The kind about secrets that a template of a chart seems to make."""
    found = _IN_TEMPLATE.search(text)
    return found[1] if found else None


def _kinds(content: Mapping[str, Any]) -> Iterator[str]:
    api, kind = content.get("apiVersion"), content.get("kind")
    if content.get("secretGenerator"):
        yield "secretGenerator"
    if not isinstance(api, str) or not isinstance(kind, str):
        return
    group = api.partition("/")[0]
    known = group in _GROUPS or (group, kind) in BY_KIND or (group, kind) in _INTO_STORES
    if known or (api == "v1" and kind in ("Secret", "SecretList")):
        yield kind
    spec = mapping(content.get("spec"))
    if spec.get("writeConnectionSecretToRef"):
        yield kind
    if kind == "Object" and dig(spec, "forProvider", "manifest", "kind") == "Secret":
        yield kind
    if api == "v1" and kind == "List":
        for entry in items(content.get("items")):
            yield from _kinds(mapping(entry))
