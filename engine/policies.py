"""Vault policies of the engine's own identities and the pulumi-vault identity. Least privilege, all in one place.

The policies of consumers are made by pulumi-vault (components/vault_configuration.py).
"""

from __future__ import annotations

from authority.catalogue import CONFIG_MOUNT, DATA_MOUNT

# KV v2 mount of the engine: the digest key and the audit trail.
AUTHORITY_MOUNT = "platform-authority"
DIGEST_KEY_PATH = f"{AUTHORITY_MOUNT}/data/digest-key"
EVENTS = "events"
# pulumi-vault manages only policies and auth roles of this prefix.
CONSUMER_PREFIX = "consumer-"

ENGINE = "secret-authority-engine"
CONFIGURATOR = "secret-authority-configurator"
AUDITOR = "secret-authority-auditor"


# What every token may do with itself.
_OWN_TOKEN = (("auth/token/lookup-self", "read"), ("auth/token/revoke-self", "update"))


def _own_token() -> str:
    return "".join(_rule(path, capability) for path, capability in _OWN_TOKEN)


def _rule(path: str, *capabilities: str) -> str:
    listed = ", ".join(f'"{capability}"' for capability in capabilities)
    return f'path "{path}" {{\n  capabilities = [{listed}]\n}}\n'


def engine_policy() -> str:
    """Handover: create values, never change one; patch metadata; append events; look at the configuration."""
    return "".join(
        (
            # Without "update" a value that stands cannot be overwritten, whatever a request says.
            _rule(f"{DATA_MOUNT}/data/*", "create", "read"),
            _rule(f"{DATA_MOUNT}/metadata/*", "read", "patch", "list"),
            _rule(f"{CONFIG_MOUNT}/metadata/*", "read", "list"),
            _rule(f"{AUTHORITY_MOUNT}/data/{EVENTS}/*", "create", "read"),
            _rule(f"{AUTHORITY_MOUNT}/metadata/{EVENTS}/*", "read", "list"),
            _rule(DIGEST_KEY_PATH, "read"),
            _rule("sys/mounts", "read"),
            _rule("sys/auth", "read"),
            _rule("sys/policies/acl", "list"),
            _rule("auth/kubernetes/role", "list"),
            _rule("sys/storage/raft/configuration", "read"),
        )
    )


def configurator_policy() -> str:
    """pulumi-vault: the two platform mounts, and policies and roles of consumers. It reads no secret value."""
    mounts = (
        rule
        for mount in (DATA_MOUNT, CONFIG_MOUNT)
        for rule in (
            _rule(f"sys/mounts/{mount}", "create", "read", "update", "delete"),
            _rule(f"sys/mounts/{mount}/tune", "read", "update"),
            _rule(f"{mount}/config", "create", "read", "update"),
        )
    )
    return "".join(
        (
            *mounts,
            _rule("sys/mounts", "read"),
            _rule(f"sys/policies/acl/{CONSUMER_PREFIX}*", "create", "read", "update", "delete"),
            _rule(f"auth/kubernetes/role/{CONSUMER_PREFIX}*", "create", "read", "update", "delete"),
            _rule("sys/auth", "read"),
            _own_token(),
        )
    )


def auditor_policy() -> str:
    """Reads the audit trail and the records of authority, no value."""
    return "".join(
        (
            _rule(f"{AUTHORITY_MOUNT}/data/{EVENTS}/*", "read"),
            _rule(f"{AUTHORITY_MOUNT}/metadata/{EVENTS}/*", "read", "list"),
            _rule(f"{DATA_MOUNT}/metadata/*", "read", "list"),
            _own_token(),
        )
    )
