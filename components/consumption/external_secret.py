"""What an ExternalSecret asks for: the keys that a consumer names, all of one version of the Vault secret.

Upstream: external-secrets v0.20. It reads Vault once for each item of `spec.data` and has no cache, so two items can
meet two versions when a new one is published between them. A consumer with several keys therefore has one item, the
whole entry as JSON, and a template for each key. Templates are text/template: a value is data of them and is never
parsed, and its bytes are printed as they are. `dataFrom.extract` is one read as well, but it gives an absent key as
an empty value, changes large numbers, and fails over the name of a key that nobody asked for.
"""

from __future__ import annotations

from typing import Any

from secret_authority.contract.names import MANAGED_BY
from secret_authority.core.catalogue.schema import CatalogueSecret, Consumer
from secret_authority.core.kubernetes_secrets import OPAQUE

# The name of the entry inside the templates; it is not a key of the Secret.
_ENTRY = "entry"
# Upstream's `b64dec` gives its error message as the value, so what it gets is checked first. As with
# `decodingStrategy: Base64`, line ends count for nothing.
_BASE64 = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"


def external_secret_spec(
    secret: CatalogueSecret, consumer: Consumer, refresh_interval: str, bootstrap_type: str = OPAQUE
) -> dict[str, Any]:
    """Only the keys that the consumer names. Owner and Retain: neither an absent Vault nor a wrong path takes
    a Secret away, and no one else's Secret is shared."""
    several = len(consumer.keys) > 1
    template = _template(secret, consumer, consumer.type_of(bootstrap_type), several)
    return {
        "refreshInterval": refresh_interval,
        "secretStoreRef": {"kind": "SecretStore", "name": secret.vault.mount},
        "target": {
            "name": consumer.secret,
            "creationPolicy": "Owner",
            "deletionPolicy": "Retain",
            **({"template": template} if template else {}),
            # `immutable` stays away: External Secrets drops a false one, and the next run would bring it back.
        },
        "data": [{"secretKey": _ENTRY, "remoteRef": {"key": secret.vault.path}}]
        if several
        else [_one_key(secret, *item) for item in consumer.keys.items()],
    }


def _one_key(secret: CatalogueSecret, key: str, vault_key: str) -> dict[str, Any]:
    decoded = {"decodingStrategy": "Base64"} if vault_key in secret.binary else {}
    return {"secretKey": key, "remoteRef": {"key": secret.vault.path, "property": vault_key} | decoded}


def _template(secret: CatalogueSecret, consumer: Consumer, secret_type: str, several: bool) -> dict[str, Any]:
    """Empty when External Secrets makes the same without one: an Opaque Secret with labels of the ExternalSecret."""
    if secret_type == OPAQUE and not several:
        return {}
    made: dict[str, Any] = {"metadata": {"labels": MANAGED_BY}}
    if secret_type != OPAQUE:
        made["type"] = secret_type
    if several:
        made["data"] = {
            key: value_template(vault_key, vault_key in secret.binary)
            for key, vault_key in sorted(consumer.keys.items())
        }
    return made


def value_template(vault_key: str, binary: bool) -> str:
    """The text/template that prints one key of the entry byte for byte.

    It fails, and the Secret stays as it is, when the key is absent, is not a text, or is `binary` and not base64. The
    messages, which External Secrets publishes as events, name the key alone.
    """
    found = f'{{{{ $found := index (mustFromJson .{_ENTRY}) "{vault_key}" }}}}'
    text = f'{{{{ if not (kindIs "string" $found) }}}}{{{{ fail "Vault has no text for {vault_key}" }}}}{{{{ end }}}}'
    if not binary:
        return f"{found}{text}{{{{ $found }}}}"
    joined = '{{ $joined := $found | replace "\\r" "" | replace "\\n" "" }}'
    checked = (
        f'{{{{ if not (mustRegexMatch "{_BASE64}" $joined) }}}}{{{{ fail "{vault_key} is not base64" }}}}{{{{ end }}}}'
    )
    return f"{found}{text}{joined}{checked}{{{{ $joined | b64dec }}}}"
