"""What a Vault holds, asked as root: nothing yet, or something that a restore would destroy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from secret_authority.clients.vault import Vault, VaultRefusedError
from secret_authority.contract.names import (
    AUTHORITY_MOUNT,
    EVENTS,
    HANDOVERS,
    ROTATION_DOCUMENTS,
    ROTATION_MOUNT,
    ROTATION_REQUESTS,
)
from secret_authority.core.catalogue.schema import CONFIG_MOUNT, DATA_MOUNT
from secret_authority.core.errors import LostRace
from secret_authority.core.rotation.document import Document, Request, RequestKind, Trigger

# What Vault has by itself.
_BUILT_IN = frozenset({"cubbyhole/", "identity/", "sys/", "agent-registry/"})
_REQUESTS = f"{ROTATION_MOUNT}/data/{ROTATION_REQUESTS}"
ABANDONED = "abandoned by the restore of a snapshot"


def is_empty(root: Vault) -> bool:
    """Whether nothing but the first configuration was ever written. A mount of somebody else's counts as something."""
    mounts = _mounts(root)
    own = {f"{mount}/" for mount in (AUTHORITY_MOUNT, DATA_MOUNT, CONFIG_MOUNT, ROTATION_MOUNT)}
    if mounts - _BUILT_IN - own:
        return False
    places = [(DATA_MOUNT, ""), (CONFIG_MOUNT, ""), (ROTATION_MOUNT, "")]
    places += [(AUTHORITY_MOUNT, f"{EVENTS}/"), (AUTHORITY_MOUNT, f"{HANDOVERS}/")]
    return not any(root.list(f"{mount}/metadata/{below}") for mount, below in places if f"{mount}/" in mounts)


def nodes(root: Vault) -> int:
    """How many Raft nodes the cluster has."""
    found = root.read("sys/storage/raft/configuration") or {}
    return len(found["data"]["config"]["servers"])


def rotations_in_flight(root: Vault) -> tuple[str, ...]:
    """Paths of rotation documents that are not at rest. Raises ValueError for one that cannot be read."""
    return tuple(path for path in _documents(root) if _document(root, path)[0].in_flight)


def abandon_rotations(root: Vault, now: datetime) -> None:
    """End every unfinished rotation of the snapshot: what it would do next may have been done, or undone, since."""
    for path in rotations_in_flight(root):
        document, version = _document(root, path)
        ended = document.finished(ABANDONED, now)
        try:
            root.write(f"{ROTATION_MOUNT}/data/{path}", {"options": {"cas": version}, "data": ended.fields()})
        except LostRace:
            continue  # the next look finds it


def unasked_rotators(root: Vault, secrets: Iterable[str], request: str) -> tuple[str, ...]:
    """The secrets for which there is no request of this id yet; none without the mount of rotations."""
    if f"{ROTATION_MOUNT}/" not in _mounts(root):
        return ()
    return tuple(name for name in secrets if root.read(f"{_REQUESTS}/{name}/{request}") is None)


def ask_rotator(root: Vault, secret: str, request: str, why: str, now: datetime) -> None:
    """Ask the rotator of a secret whether its target accepts what came back; asked twice, it is asked once."""
    asked = Request(request, RequestKind.ROTATE, why, Trigger.RESTORE, at=now.isoformat(timespec="milliseconds"))
    try:
        root.write(f"{_REQUESTS}/{secret}/{request}", {"options": {"cas": 0}, "data": asked.fields()})
    except LostRace:
        return  # it is there


def revoke_everything(root: Vault) -> int:
    """Revoke every token but the own one, with all of its leases, and every lease that is left. Returns how many."""
    own = str((root.read("auth/token/lookup-self") or {})["data"]["accessor"])
    count = 0
    for accessor in root.list("auth/token/accessors"):
        if accessor != own:
            count += _revoke(root, accessor)
    for prefix in root.list("sys/leases/lookup/"):
        root.write(f"sys/leases/revoke-prefix/{prefix.rstrip('/')}", {"sync": True}, 60)
        count += 1
    return count


def _revoke(root: Vault, accessor: str) -> int:
    try:
        root.write("auth/token/revoke-accessor", {"accessor": accessor})
    except VaultRefusedError as error:
        # It has ended since it was listed, or with its parent.
        if error.status == 403 or error.says_unknown_accessor:
            return 0
        raise
    return 1


def _mounts(root: Vault) -> frozenset[str]:
    return frozenset((root.read("sys/mounts") or {}).get("data", {}))


def _documents(root: Vault) -> Iterator[str]:
    if f"{ROTATION_MOUNT}/" in _mounts(root):
        yield from _below(root, f"{ROTATION_DOCUMENTS}/")


def _below(root: Vault, folder: str) -> Iterator[str]:
    for name in root.list(f"{ROTATION_MOUNT}/metadata/{folder}"):
        if name.endswith("/"):
            yield from _below(root, folder + name)
        else:
            yield folder + name


def _document(root: Vault, path: str) -> tuple[Document, int]:
    found = (root.read(f"{ROTATION_MOUNT}/data/{path}") or {}).get("data") or {}
    if not found.get("data"):
        return Document(), 0
    try:
        return Document.from_fields(found["data"]), int(found["metadata"]["version"])
    except ValueError as error:
        raise ValueError(f"{ROTATION_MOUNT}/{path}: {error}") from None
