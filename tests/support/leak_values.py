"""Every secret value of a stack at phase 4 by name, and the Secrets in which it may stand."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from secret_authority.clients.vault import Vault
from secret_authority.contract.names import (
    CONSUMPTION_DIGEST_KEY_PATH,
    DIGEST_KEY_PATH,
    ENGINE_NAMESPACE,
    FLUX_NAMESPACE,
    IDENTITY_SECRET,
    TLS_SECRET,
    TRAIL_KEY_PATH,
    VAULT_NAMESPACE,
)
from secret_authority.core.catalogue.schema import DATA_MOUNT, CatalogueSecret, SecretClass
from secret_authority.engine.runtime_authority.unseal_shares import SealedShares, open_shares
from secret_authority.repository.intent.intent import read_intent
from secret_authority.repository.layout import Layout
from tests.support.recorded_stack import RecordedStack

# Secrets with private keys that the engine makes, as (namespace, name).
_OWN_KEYS = ((ENGINE_NAMESPACE, "vault-ca"), (VAULT_NAMESPACE, TLS_SECRET))

# A value's place in Vault: path in platform-data, key, version.
InVault = Mapping[tuple[str, str, int], bytes]


def catalogued(stack: RecordedStack) -> list[CatalogueSecret]:
    """What the catalogue calls secret; configuration is none."""
    catalogue = read_intent(stack.fleet, Layout.of(stack.name)).catalogue
    return [secret for secret in catalogue if secret.secret_class is not SecretClass.CONFIG]


def in_vault(root: Vault) -> dict[tuple[str, str, int], bytes]:
    """Every version of every value below platform-data that can be read."""
    found = {}
    for path in _paths(root, ""):
        metadata = (root.read(f"{DATA_MOUNT}/metadata/{path}") or {})["data"]
        binary = ((metadata["custom_metadata"] or {}).get("base64_keys") or "").split()
        for version in map(int, metadata["versions"]):
            body = root.read(f"{DATA_MOUNT}/data/{path}?version={version}") or {}
            for key, text in (body.get("data", {}).get("data") or {}).items():
                found[path, key, version] = base64.b64decode(text) if key in binary else text.encode()
    return found


def _paths(root: Vault, below: str) -> Iterator[str]:
    for name in root.list(f"{DATA_MOUNT}/metadata/{below}"):
        if name.endswith("/"):
            yield from _paths(root, below + name)
        else:
            yield below + name


def digest_key(root: Vault) -> dict[str, bytes]:
    """The keys of the digests on record and of the published trail."""
    paths = (DIGEST_KEY_PATH, CONSUMPTION_DIGEST_KEY_PATH, TRAIL_KEY_PATH)
    return {path: base64.b64decode((root.read(path) or {})["data"]["data"]["key"]) for path in paths}


def offline(stack: RecordedStack) -> dict[str, bytes]:
    """What the root holder and the operator have: identities, all unseal shares, the passphrase of the backend."""
    root, cluster = stack.identities()
    found = {
        "root identity": root.secret.encode(),
        "cluster identity": cluster.secret.encode(),
        "passphrase": (stack.state / "passphrase").read_bytes().strip(),
    }
    fields = {name: value.decode() for name, value in _content(stack, VAULT_NAMESPACE, "vault-unseal-shares").items()}
    sealed = SealedShares.from_fields(fields)
    every = SealedShares(sealed.ciphertexts, len(sealed.ciphertexts))
    for number, share in enumerate(open_shares(every, root.secret), start=1):
        # Vault takes shares in hex and in base64, so the bytes are looked for.
        found[f"unseal share {number}"] = _bytes(share)
    return found


def _bytes(share: str) -> bytes:
    try:
        return bytes.fromhex(share)
    except ValueError:
        return base64.b64decode(share, validate=True)


def own_keys(stack: RecordedStack) -> dict[str, bytes]:
    """The private keys of Vault's CA and of its listener, as they stand in their files.

    Only the secret number counts. What stands before it is the same in all keys of P-256, what follows is public.
    """
    found = {}
    for namespace, name in _OWN_KEYS:
        pem = _content(stack, namespace, name)["tls.key"]
        key = load_pem_private_key(pem, None)
        assert isinstance(key, EllipticCurvePrivateKey)
        # RFC 5208: in bytes 36 to 68, so at the end of the first line and at the beginning of the second.
        _, first, second, *_ = pem.splitlines()
        number = base64.b64decode(first[48:] + second[:28])[:32]
        assert int.from_bytes(number) == key.private_numbers().private_value
        found |= {f"{name} key 1": first[48:], f"{name} key 2": second[:27]}
    return found


def _content(stack: RecordedStack, namespace: str, name: str) -> dict[str, bytes]:
    found = stack.objects.secret(namespace, name)
    assert found is not None, f"{namespace}/{name}"
    return {key: base64.b64decode(text) for key, text in found["data"].items()}


def spelled_in_catalogue(stack: RecordedStack) -> set[bytes]:
    """The users of databases that take turns: their names are no secret, and too short to be looked for."""
    rotators = [secret.rotator.settings for secret in catalogued(stack) if secret.rotator]
    return {str(user).encode() for settings in rotators for user in settings.get("users", ())}


def database_login(stack: RecordedStack, names: Mapping[str, bytes]) -> set[str]:
    """Names of the values that the example's database has on its disk: its administrator's name and verifier."""
    (admin,) = (secret for secret in catalogued(stack) if secret.name == "orders-db-admin")
    return {name for name in names for key in ("username", "verifier") if name.startswith(f"{admin.vault.path} {key} ")}


def named(values: InVault, *more: Mapping[str, bytes]) -> dict[str, bytes]:
    """All values under one name each. A value that has two names keeps the first."""
    parts = [{f"{path} {key} version {version}": value for (path, key, version), value in values.items()}, *more]
    by_value: dict[bytes, str] = {}
    for part in parts:
        for name, value in part.items():
            by_value.setdefault(value, name)
    return {name: value for value, name in by_value.items()}


def allowed(stack: RecordedStack, values: InVault, names: Mapping[str, bytes]) -> set[tuple[str, str]]:
    """(name, Secret) for each value that a Secret holds because the catalogue or a layer says so, and no other."""
    newest: dict[tuple[str, str], tuple[int, bytes]] = {}
    for (path, key, version), value in values.items():
        newest[path, key] = max(newest.get((path, key), (0, b"")), (version, value))
    wanted: dict[str, list[bytes]] = {}
    for secret in catalogued(stack):
        for consumer in secret.consumers:
            read = [newest[secret.vault.path, key][1] for key in consumer.keys.values()]
            wanted.setdefault(f"Secret {consumer.namespace}/{consumer.secret}", []).extend(read)
    for namespace in (FLUX_NAMESPACE, ENGINE_NAMESPACE):
        wanted[f"Secret {namespace}/{IDENTITY_SECRET}"] = [names["cluster identity"]]
    for namespace, name in _OWN_KEYS:
        wanted[f"Secret {namespace}/{name}"] = [names[f"{name} key {number}"] for number in (1, 2)]
    return {(name, where) for where, texts in wanted.items() for name, value in names.items() if _within(value, texts)}


def _within(value: bytes, texts: Iterable[bytes]) -> bool:
    return any(value in text for text in texts)
