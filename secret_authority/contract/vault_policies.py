"""The Vault policies of every identity: engines, configurator, auditor, entry, consumers. All in one place.

The engine writes those of its own first configuration, pulumi-vault those with the prefix of consumers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

from secret_authority.contract.names import (
    AUTHORITY_MOUNT,
    CONSUMER_PREFIX,
    CONSUMPTION_DIGEST_KEY_PATH,
    DIGEST_KEY_PATH,
    EVENTS,
    HANDOVERS,
    ROTATION_DOCUMENTS,
    ROTATION_GIVEN,
    ROTATION_MOUNT,
    ROTATION_REQUESTS,
    TRAIL_KEY_PATH,
)
from secret_authority.core.catalogue.schema import CONFIG_MOUNT, DATA_MOUNT, Catalogue, SecretClass, is_watched
from secret_authority.core.ledger.audit_trail import ENTRY_PREFIX
from secret_authority.core.rotation.events import EVENT_PREFIX

# The mounts whose metadata a snapshot's manifest has.
SAVED_MOUNTS = (DATA_MOUNT, CONFIG_MOUNT, AUTHORITY_MOUNT, ROTATION_MOUNT)
# What every token may do with itself.
_OWN_TOKEN = (("auth/token/lookup-self", "read"), ("auth/token/revoke-self", "update"))


def _own_token() -> str:
    return "".join(_rule(path, capability) for path, capability in _OWN_TOKEN)


def _rule(path: str, *capabilities: str) -> str:
    """`patch` is for custom metadata alone: `max_versions` and `delete_version_after` would delete values later."""
    listed = ", ".join(f'"{capability}"' for capability in capabilities)
    limit = '  allowed_parameters = { "custom_metadata" = [] }\n' if "patch" in capabilities else ""
    return f'path "{path}" {{\n  capabilities = [{listed}]\n{limit}}}\n'


def engine_policy() -> str:
    """Handover: create values, never change one; patch metadata; append events; look at the configuration."""
    return "".join(
        (
            # Without "update" an existing value cannot be overwritten, whatever a request says.
            _rule(f"{DATA_MOUNT}/data/*", "create", "read"),
            _rule(f"{DATA_MOUNT}/metadata/*", "read", "patch", "list"),
            _rule(f"{CONFIG_MOUNT}/metadata/*", "read", "list"),
            _rule(f"{AUTHORITY_MOUNT}/data/{EVENTS}/*", "create", "read"),
            _rule(f"{AUTHORITY_MOUNT}/metadata/{EVENTS}/*", "read", "list"),
            # Create-only: a secret has one handover, whatever comes later.
            _rule(f"{AUTHORITY_MOUNT}/data/{HANDOVERS}/*", "create", "read"),
            _rule(DIGEST_KEY_PATH, "read"),
            _rule(TRAIL_KEY_PATH, "read"),
            _rule("sys/mounts", "read"),
            _rule("sys/auth", "read"),
            _rule("sys/policies/acl", "list"),
            _rule("auth/kubernetes/role", "list"),
            # Counters of requests by mount: the trail is read only after something was written.
            _rule("sys/metrics", "read"),
            _rule("sys/storage/raft/configuration", "read"),
        )
    )


def configurator_policy() -> str:
    """pulumi-vault: the three platform mounts, and policies and roles of consumers. It reads no secret value."""
    mounts = (
        rule
        for mount in (DATA_MOUNT, CONFIG_MOUNT, ROTATION_MOUNT)
        for rule in (
            # No "delete": it would take every value of the mount in one call, and the mounts are never deleted.
            _rule(f"sys/mounts/{mount}", "create", "read", "update"),
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


def consumption_policy(catalogue: Catalogue, config_from_git: Collection[str]) -> str:
    """The policy of layer 5's engine. `config_from_git`: entries of class config whose values Git holds.

    Vault builds the rules of a token again for each request, which takes longer than the request itself where they are
    many. So the newest versions of all secrets are read with `versions_policy`, and this one is for what is written.
    """
    rules: list[str] = []
    for secret in catalogue:
        place = secret.vault
        data, metadata = f"{place.mount}/data/{place.path}", f"{place.mount}/metadata/{place.path}"
        events = f"{AUTHORITY_MOUNT}/data/{EVENTS}/{secret.name}/*"
        match secret.secret_class:
            case SecretClass.INTERNAL:
                # No "update": an existing value cannot be overwritten, whatever a request says.
                rules += [
                    _rule(data, "create", "read"),
                    _rule(metadata, "read", "patch"),
                    _rule(events, "create", "read"),
                ]
            case SecretClass.EXTERNAL:
                rules += [_rule(data, "read"), _rule(metadata, "read", "patch"), _rule(events, "create", "read")]
            case SecretClass.CONFIG if secret.name in config_from_git:
                rules += [_rule(data, "create", "read", "update"), _rule(metadata, "read")]
    return "".join([*rules, _rule(CONSUMPTION_DIGEST_KEY_PATH, "read")])


def versions_policy() -> str:
    """The policy by which layer 5's engine finds new versions: metadata and counters, no value.

    It has as many rules with a thousand secrets as with one.
    """
    mounts = (_rule(f"{mount}/metadata/*", "read") for mount in (DATA_MOUNT, CONFIG_MOUNT))
    # Counters of requests by mount, so that versions are read only when something was written.
    return "".join([*mounts, _rule("sys/metrics", "read")])


def rotation_policy(catalogue: Catalogue) -> str:
    """The policy of the engine of rotation: new versions of the secrets that have a rotator, and of no other.

    Rotation's own folders are given as a whole: `consumption_policy` says what many rules cost.
    """
    rules: list[str] = []
    logins: set[str] = set()
    for secret in catalogue:
        if secret.rotator is None and not is_watched(secret):
            continue
        place = secret.vault
        rules += [
            _rule(f"{place.mount}/metadata/{place.path}", "read", "patch"),
            _rule(f"{AUTHORITY_MOUNT}/data/{EVENTS}/{secret.name}/*", "create", "read"),
        ]
        if secret.rotator is None:
            continue  # only the end of its value is watched, and its policy changed on request
        # No "create": the first value of a secret is written by others, and nothing is ever deleted.
        rules.append(_rule(f"{place.mount}/data/{place.path}", "read", "update"))
        admin = secret.rotator.settings.get("admin")
        logins |= {str(other.vault) for other in catalogue if other.name == admin}
    for login in sorted(logins):
        mount, _, path = login.partition("/")
        rules.append(_rule(f"{mount}/data/{path}", "read"))
    # Which secrets have a request or a value that was entered: names alone.
    rules += [_rule(f"{ROTATION_MOUNT}/metadata/{folder}", "list") for folder in (ROTATION_REQUESTS, ROTATION_GIVEN)]
    rules += [
        _rule(f"{ROTATION_MOUNT}/data/{ROTATION_DOCUMENTS}/*", "create", "read", "update"),
        _rule(f"{ROTATION_MOUNT}/metadata/{ROTATION_DOCUMENTS}/*", "read"),
        _rule(f"{ROTATION_MOUNT}/destroy/{ROTATION_DOCUMENTS}/*", "update"),
        _rule(f"{ROTATION_MOUNT}/metadata/{ROTATION_REQUESTS}/*", "list"),
        _rule(f"{ROTATION_MOUNT}/data/{ROTATION_REQUESTS}/*", "read", "update"),
        _rule(f"{ROTATION_MOUNT}/metadata/{ROTATION_GIVEN}/*", "read", "list"),
        _rule(f"{ROTATION_MOUNT}/data/{ROTATION_GIVEN}/*", "read"),
        _rule(f"{ROTATION_MOUNT}/destroy/{ROTATION_GIVEN}/*", "update"),
        _rule(DIGEST_KEY_PATH, "read"),
    ]
    return "".join(rules)


def rotation_looks_policy(catalogue: Catalogue) -> str:
    """The policy by which the engine of rotation looks at every secret: documents, metadata, names of requests.

    Metadata by the datasource, so that a thousand secrets have few rules. Not by the mount: this engine has the key of
    their digests, with which guesses of short values could be tested.
    """
    folders = {
        f"{secret.vault.mount}/metadata/{secret.vault.path.partition('/')[0]}/*"
        for secret in catalogue
        if secret.rotator is not None or is_watched(secret)
    }
    return "".join(
        (
            *(_rule(folder, "read") for folder in sorted(folders)),
            _rule(f"{ROTATION_MOUNT}/data/{ROTATION_DOCUMENTS}/*", "read"),
            _rule(f"{ROTATION_MOUNT}/metadata/*", "read", "list"),
        )
    )


def requests_policy() -> str:
    """The policy of `secret-authority rotate`: file a request and read what became of it. No value is in reach."""
    return "".join(
        (
            _rule(f"{ROTATION_MOUNT}/data/{ROTATION_REQUESTS}/*", "create", "read"),
            _rule("auth/token/revoke-self", "update"),
        )
    )


def snapshot_policy() -> str:
    """The policy of who takes snapshots: the snapshot, metadata without values, and which tokens there are.

    A root token must not get into a snapshot, and only accessors show that there is one. An accessor is no token, and
    without "update" on auth/token/revoke-accessor it ends none.
    """
    return "".join(
        (
            _rule("sys/storage/raft/snapshot", "read"),
            *(_rule(f"{mount}/metadata/*", "read", "list") for mount in SAVED_MOUNTS),
            *(_rule(f"{mount}/metadata", "list") for mount in SAVED_MOUNTS),
            # Counters of requests by mount: metadata are read only after something was written.
            _rule("sys/metrics", "read"),
            _rule("auth/token/accessors", "list", "sudo"),
            _rule("auth/token/accessors/", "list", "sudo"),
            _rule("auth/token/lookup-accessor", "update"),
            _rule("auth/token/revoke-self", "update"),
        )
    )


def events_policy(catalogue: Catalogue) -> str:
    """The policy of the receiver of events: create requests of its kind, and read the keys of its senders."""
    entries = {secret.name: secret for secret in catalogue}
    keys = {entries[sender.key].vault for sender in (catalogue.events.senders if catalogue.events else ())}
    rules = [_rule(f"{place.mount}/data/{place.path}", "read") for place in sorted(keys, key=str)]
    for secret in catalogue:
        if secret.rotator is not None:
            # No "update": what was filed is never changed. It reads them to know an event that is sent again.
            asked = f"{ROTATION_MOUNT}/data/{ROTATION_REQUESTS}/{secret.name}/{EVENT_PREFIX}*"
            rules.append(_rule(asked, "create", "read"))
    return "".join([*rules, _rule("auth/token/revoke-self", "update")])


def entry_policy(catalogue: Catalogue, config_from_git: Collection[str]) -> str:
    """The policy of `secret-authority enter`: a new version of what is entered by hand, and nothing else.

    What has a rotator gets its first value so, and later ones by way of a rotation: no "update" of the secret itself.
    """
    entered = [
        secret
        for secret in catalogue
        if secret.secret_class is SecretClass.EXTERNAL
        or (secret.secret_class is SecretClass.CONFIG and secret.name not in config_from_git)
    ]
    rules = [
        rule
        for secret in entered
        for rule in (
            _rule(
                f"{secret.vault.mount}/data/{secret.vault.path}",
                *(("create",) if secret.rotator else ("create", "update")),
            ),
            _rule(f"{secret.vault.mount}/metadata/{secret.vault.path}", "read"),
            # Its own events, and none that would speak of a handover.
            _rule(f"{AUTHORITY_MOUNT}/data/{EVENTS}/{secret.name}/{ENTRY_PREFIX}*", "create"),
        )
    ]
    for secret in catalogue:
        if secret.rotator is None:
            continue
        if secret not in entered:
            rules.append(_rule(f"{secret.vault.mount}/metadata/{secret.vault.path}", "read"))
        # Create-only, and no value of anybody can be read again.
        rules.append(_rule(f"{ROTATION_MOUNT}/data/{ROTATION_GIVEN}/{secret.name}/{ENTRY_PREFIX}*", "create"))
        asked = f"{ROTATION_MOUNT}/data/{ROTATION_REQUESTS}/{secret.name}/{ENTRY_PREFIX}*"
        rules.append(_rule(asked, "create", "read"))
    return "".join([*rules, _rule("auth/token/revoke-self", "update")])


def reader_paths(catalogue: Catalogue) -> dict[str, list[str]]:
    """For each consumer namespace the Vault paths that its secrets come from."""
    found: dict[str, set[str]] = defaultdict(set)
    for secret in catalogue:
        for consumer in secret.consumers:
            found[consumer.namespace].add(f"{secret.vault.mount}/data/{secret.vault.path}")
    return {namespace: sorted(paths) for namespace, paths in sorted(found.items())}


def reader_policy(paths: list[str]) -> str:
    """Read the named paths, nothing beside or below them; look at and end the own token, as External Secrets does."""
    return "".join([*(_rule(path, "read") for path in paths), _own_token()])
