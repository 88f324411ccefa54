"""What is done with Vault's root token, and how it is made sure that none is left.

The root token comes from initialisation or, after a run that was killed, is generated from the shares. It
enables two audit devices before anything else, then makes the engine's identities, and is revoked. Every
step may be done again.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from secret_authority.clients.vault import Vault, VaultRefusedError
from secret_authority.contract import vault_policies as policies
from secret_authority.contract.engine_settings import Identities
from secret_authority.contract.names import (
    AUDITOR_ACCOUNT,
    AUTHORITY_MOUNT,
    CONFIGURATOR_ACCOUNT,
    CONSUMPTION_DIGEST_KEY_PATH,
    DIGEST_KEY_PATH,
    ENGINE_ACCOUNT,
    TRAIL_KEY_PATH,
)
from secret_authority.core.digest import KEY_BYTES
from secret_authority.core.errors import LostRace
from secret_authority.core.ledger.trail_signature import SEED_BYTES

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FirstConfiguration:
    """Where the audit devices write, and who may log in. `audit_file` is on a volume."""

    identities: Identities
    audit_file: str = "/vault/audit/audit.log"
    kubernetes_host: str = "https://kubernetes.default.svc"
    # The API server's CA, None when Vault runs in a pod and finds it there.
    kubernetes_ca: str | None = None
    audience: str = "vault"
    token_ttl_seconds: int = 900


def fingerprint(wanted: FirstConfiguration) -> str:
    """Changes when the first configuration does, so that an engine with other policies configures Vault again."""
    texts = [policies.engine_policy(), policies.configurator_policy(), policies.auditor_policy(), repr(wanted)]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def configure(root: Vault, wanted: FirstConfiguration) -> None:
    """Bring Vault to the first configuration. May be repeated. Raises `Unavailable` or `VaultRefusedError`."""
    _audit_device(root, "file", wanted.audit_file)
    _audit_device(root, "stdout", "stdout")
    _kubernetes_auth(root, wanted)
    _mount_authority(root)
    for name, text in (
        (ENGINE_ACCOUNT, policies.engine_policy()),
        (CONFIGURATOR_ACCOUNT, policies.configurator_policy()),
        (AUDITOR_ACCOUNT, policies.auditor_policy()),
    ):
        root.write(f"sys/policies/acl/{name}", {"policy": text})
    for name, (namespace, account) in (
        (ENGINE_ACCOUNT, wanted.identities.engine),
        (CONFIGURATOR_ACCOUNT, wanted.identities.configurator),
        (AUDITOR_ACCOUNT, wanted.identities.auditor),
    ):
        root.write(
            f"auth/kubernetes/role/{name}",
            {
                "bound_service_account_names": [account],
                "bound_service_account_namespaces": [namespace],
                "audience": wanted.audience,
                "token_policies": [name],
                "token_no_default_policy": True,
                "token_ttl": wanted.token_ttl_seconds,
                "token_max_ttl": wanted.token_ttl_seconds,
            },
        )


def _audit_device(root: Vault, name: str, target: str) -> None:
    _enable(root, "sys/audit", name, {"type": "file", "options": {"file_path": target, "mode": "0600"}})


def _enable(root: Vault, where: str, name: str, body: Mapping[str, object]) -> None:
    """Enable a device, auth method or mount that is not there yet."""
    if f"{name}/" in (root.read(where) or {}).get("data", {}):
        return
    try:
        root.write(f"{where}/{name}", body)
    except VaultRefusedError as error:
        if not any("already in use" in text for text in error.errors):
            raise
        log.info("%s/%s was enabled by another run meanwhile", where, name)


def _kubernetes_auth(root: Vault, wanted: FirstConfiguration) -> None:
    _enable(root, "sys/auth", "kubernetes", {"type": "kubernetes"})
    # Without a reviewer token Vault uses the short-lived one of its own pod, read again from disk.
    config: dict[str, object] = {"kubernetes_host": wanted.kubernetes_host}
    if wanted.kubernetes_ca is not None:
        # Vault outside of the cluster: callers' tokens review themselves.
        config |= {"kubernetes_ca_cert": wanted.kubernetes_ca, "disable_local_ca_jwt": True}
    root.write("auth/kubernetes/config", config)


def _mount_authority(root: Vault) -> None:
    _enable(root, "sys/mounts", AUTHORITY_MOUNT, {"type": "kv", "options": {"version": "2"}})
    # Made once: with another key every digest on record, and every signature, would be void.
    keys = ((DIGEST_KEY_PATH, KEY_BYTES), (CONSUMPTION_DIGEST_KEY_PATH, KEY_BYTES), (TRAIL_KEY_PATH, SEED_BYTES))
    for path, length in keys:
        key = base64.b64encode(secrets.token_bytes(length)).decode()
        try:
            root.write(path, {"options": {"cas": 0}, "data": {"key": key}})
        except LostRace:
            log.info("%s is there already", path)


class RootAttemptError(Exception):
    """Somebody else generates a root token. Their attempt is not cancelled."""


def generate_root(
    vault: Vault, shares: Sequence[str], own: str = "", note: Callable[[str], object] = lambda nonce: None
) -> str:
    """A new root token from unseal shares (sys/generate-root).

    Vault has one attempt at a time. `own` is the nonce of one that ended early and is ours, empty for none: that one is
    cancelled, any other one raises `RootAttemptError`. `note` gets the nonce of the new one before a share is given.
    """
    standing = vault.read("sys/generate-root/attempt") or {}
    if standing.get("started"):
        if not own or standing.get("nonce") != own:
            raise RootAttemptError("somebody generates a root token at the moment")
        vault.delete("sys/generate-root/attempt")
    begun = vault.write("sys/generate-root/attempt", {})
    otp, nonce = str(begun["otp"]), str(begun["nonce"])
    try:
        note(nonce)
    except BaseException:
        # The next run could not know that it is ours.
        vault.delete("sys/generate-root/attempt")
        raise
    answer = begun
    for share in shares:
        answer = vault.write("sys/generate-root/update", {"key": share, "nonce": nonce})
        if answer.get("complete"):
            break
    encoded = str(answer.get("encoded_token") or "")
    if not encoded:
        raise VaultRefusedError("POST", "sys/generate-root/update", 200, ["more shares are needed"])
    raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4))
    return "".join(chr(byte ^ ord(char)) for byte, char in zip(raw, otp, strict=True))


def _ended(error: VaultRefusedError) -> bool:
    """Whether Vault said that the accessor's token has ended since it was listed."""
    return error.status == 403 or error.says_unknown_accessor


def living_tokens(root: Vault) -> Iterator[tuple[str, dict[str, Any]]]:
    """Accessor and properties of each token. One that ends between the list and its turn is passed over."""
    for accessor in root.list("auth/token/accessors"):
        try:
            yield accessor, root.write("auth/token/lookup-accessor", {"accessor": accessor})["data"]
        except VaultRefusedError as error:
            if not _ended(error):
                raise


def revoke_every_root(root: Vault) -> int:
    """Revoke all root tokens, the one in use last, and see that it is refused. Returns how many there were.

    A run that was killed between initialisation and this point left a root token that nobody knows; it is
    found by its accessor. Raises `VaultRefusedError` when a token still works afterwards.
    """
    own = str((root.read("auth/token/lookup-self") or {})["data"]["accessor"])
    count = 1
    for accessor, token in living_tokens(root):
        if accessor == own or "root" not in token["policies"]:
            continue
        try:
            root.write("auth/token/revoke-accessor", {"accessor": accessor})
            count += 1
        except VaultRefusedError as error:
            if not _ended(error):
                raise
    root.write("auth/token/revoke-self", {})
    try:
        root.read("auth/token/lookup-self")
    except VaultRefusedError as error:
        if error.status == 403:
            return count
        raise
    raise VaultRefusedError("GET", "auth/token/lookup-self", 200, ["the root token still works after its revocation"])
