"""Names of layer 4 that the layer above needs as well."""

from __future__ import annotations

VAULT_NAMESPACE = "vault"
VAULT = "vault"
INTERNAL_SERVICE = "vault-internal"
PORT = 8200
CLUSTER_PORT = 8201
SERVER_NAME = f"{VAULT}.{VAULT_NAMESPACE}.svc"
ADDRESS = f"https://{SERVER_NAME}:{PORT}"
# ConfigMap with the CA certificates that clients trust, in Vault's and in the engine's namespace.
CA_CONFIG = "vault-ca-bundle"
CA_KEY = "ca.crt"
TLS_SECRET = "vault-tls"
AUDIENCE = "vault"

ENGINE_ACCOUNT = "secret-authority-engine"
CONFIGURATOR_ACCOUNT = "secret-authority-configurator"
AUDITOR_ACCOUNT = "secret-authority-auditor"
# The account in a consumer's namespace as which External Secrets reads that namespace's secrets.
READER_ACCOUNT = "secret-authority-reader"


def pod_host(number: int) -> str:
    """The DNS name of one Vault pod, also while it is sealed."""
    return f"{VAULT}-{number}.{INTERNAL_SERVICE}.{VAULT_NAMESPACE}.svc"


def reader_role(namespace: str) -> str:
    """The Vault role and policy of a consumer namespace; the prefix is the one pulumi-vault may manage."""
    return f"consumer-{namespace}"
