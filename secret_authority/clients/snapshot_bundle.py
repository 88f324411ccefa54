"""Bundles in a store: a snapshot, the sealed shares that fit it, and its manifest, each encrypted with age.

To every root recipient and the cluster's recipient, so that either alone opens it. Parts are written in the order of
`naming.PARTS`; a bundle without its last part was interrupted and is nothing. age does not tell who has encrypted, so
a bundle is believed only after its snapshot has opened with shares that are known from elsewhere: docs/snapshots.md.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyrage
from pyrage import x25519

from secret_authority.clients.object_store import ObjectMissingError, ObjectStore
from secret_authority.clients.raft_snapshot import SnapshotError, check_snapshot
from secret_authority.core.snapshots import naming
from secret_authority.core.snapshots.manifest import Manifest, SealFacts, seal_digest
from secret_authority.core.snapshots.naming import BundleName


class BundleError(Exception):
    """A bundle cannot be used, or not be made. The message holds no value and no key."""


@dataclass(frozen=True)
class Bundle:
    """`shares`: the unseal shares as age ciphertext, any `threshold` of which open the snapshot."""

    manifest: Manifest
    snapshot: bytes = field(repr=False)
    shares: tuple[str, ...] = field(repr=False)
    threshold: int

    def check(self) -> None:
        """Whether the parts belong together. Raises `BundleError`."""
        said = self.manifest
        try:
            facts = check_snapshot(self.snapshot)
        except SnapshotError as error:
            raise BundleError(str(error)) from None
        if len(self.snapshot) != said.size or _sha256(self.snapshot) != said.sha256:
            raise BundleError("the snapshot is not the one that the manifest describes")
        if (facts.index, facts.term) != (said.index, said.term) or said.node not in facts.nodes:
            raise BundleError("the manifest describes another index, term or node than the snapshot has")
        if SealFacts(len(self.shares), self.threshold, seal_digest(self.shares, self.threshold)) != said.seal:
            raise BundleError("the sealed shares are not those that the manifest describes")
        if not 1 <= self.threshold <= len(self.shares):
            raise BundleError(f"{len(self.shares)} shares are there, but {self.threshold} are needed")


def write_bundle(store: ObjectStore, bundle: Bundle, recipients: Sequence[str]) -> BundleName:
    """Write a bundle. Raises `BundleError`, `Unavailable` and `StoreRefusedError`; without its last part it is nothing.

    A second try makes another bundle, so that what is left of the first is never mixed with it.
    """
    bundle.check()
    if not recipients:
        raise BundleError("there is no recipient to encrypt the snapshot to")
    try:
        to = [x25519.Recipient.from_str(recipient) for recipient in recipients]
    except pyrage.RecipientError:
        raise BundleError("a recipient for the snapshot is no age recipient (age1...)") from None
    said = bundle.manifest
    name = BundleName(said.cluster, said.taken_at, said.index, secrets.token_hex(naming.TAG_BYTES))
    seal = json.dumps({"threshold": bundle.threshold, "shares": list(bundle.shares)}).encode()
    plain = {naming.SNAPSHOT: bundle.snapshot, naming.SEAL: seal, naming.MANIFEST: said.to_json().encode()}
    sums = ""
    for part in naming.SEALED_PARTS:
        sealed: bytes = pyrage.encrypt(plain[part], to)
        store.put_new(name.part(part), sealed)
        sums += f"{_sha256(sealed)}  {part}\n"
    store.put_new(name.part(naming.SUMS), sums.encode())
    store.put_new(name.part(naming.COMPLETE), _complete(sums.encode()))
    return name


def read_bundle(store: ObjectStore, name: BundleName, identities: Sequence[str]) -> Bundle:
    """Read and check a bundle with age identities, any of which opens it.

    Raises `BundleError`, `Unavailable` and `StoreRefusedError`.
    """
    sums = _sums(store, name)
    parts = {part: _opened(store, name, part, sums, identities) for part in naming.SEALED_PARTS}
    shares, threshold = _read_seal(parts[naming.SEAL])
    bundle = Bundle(_manifest(name, parts[naming.MANIFEST]), parts[naming.SNAPSHOT], shares, threshold)
    bundle.check()
    return bundle


def read_manifest(store: ObjectStore, name: BundleName, identities: Sequence[str]) -> Manifest:
    """Only the manifest of a bundle. Raises as `read_bundle` does."""
    return _manifest(name, _opened(store, name, naming.MANIFEST, _sums(store, name), identities))


def _manifest(name: BundleName, text: bytes) -> Manifest:
    try:
        manifest = Manifest.from_json(text)
    except ValueError as error:
        raise BundleError(str(error)) from None
    if BundleName(manifest.cluster, manifest.taken_at, manifest.index, name.tag) != name:
        raise BundleError(f"the manifest in {name.folder} is that of another bundle")
    return manifest


def _opened(
    store: ObjectStore, name: BundleName, part: str, sums: Mapping[str, str], identities: Sequence[str]
) -> bytes:
    sealed = _get(store, name, part)
    if sums.get(part) != _sha256(sealed):
        raise BundleError(f"{part} of {name.folder} is damaged: its sum is another")
    try:
        opened: bytes = pyrage.decrypt(sealed, [x25519.Identity.from_str(identity) for identity in identities])
    except pyrage.IdentityError:
        raise BundleError("an identity for the snapshot is no age identity") from None
    except pyrage.DecryptError:
        raise BundleError(f"{part} of {name.folder} does not open with the given identity") from None
    return opened


def _sums(store: ObjectStore, name: BundleName) -> dict[str, str]:
    text = _get(store, name, naming.SUMS)
    if _get(store, name, naming.COMPLETE) != _complete(text):
        raise BundleError(f"{naming.SUMS} of {name.folder} is damaged: {naming.COMPLETE} has another sum")
    pairs = [line.split("  ") for line in text.decode(errors="replace").splitlines()]
    return {pair[1]: pair[0] for pair in pairs if len(pair) == 2}


def _get(store: ObjectStore, name: BundleName, part: str) -> bytes:
    try:
        return store.get(name.part(part))
    except ObjectMissingError:
        raise BundleError(f"{name.folder} is not whole: {part} is missing") from None


def _read_seal(text: bytes) -> tuple[tuple[str, ...], int]:
    try:
        data = json.loads(text)
        shares, threshold = data["shares"], data["threshold"]
        if not isinstance(threshold, int) or not all(isinstance(share, str) for share in shares):
            raise TypeError
    except (ValueError, KeyError, TypeError):
        raise BundleError("the sealed shares of the bundle cannot be read") from None
    return tuple(shares), threshold


def _complete(sums: bytes) -> bytes:
    return f"{_sha256(sums)}\n".encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
