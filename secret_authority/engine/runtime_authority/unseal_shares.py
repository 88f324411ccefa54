"""Unseal shares as age ciphertext: encrypted in memory as soon as Vault gives them, kept only like that.

Every share is encrypted to the cluster identity, so that the engine can unseal after a restart, and to each
root recipient, so that the root holder can unseal by hand. Whoever holds one root identity can open the
cluster identity as well, so giving each holder one share of their own would protect nothing more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyrage
from pyrage import x25519

from secret_authority.core.recipients import Admission


class SharesError(Exception):
    """Shares cannot be read. The message holds no key and no share."""


@dataclass(frozen=True)
class SealedShares:
    """The shares of one Vault in ciphertext (armored age), and how many of them open it."""

    ciphertexts: tuple[str, ...]
    threshold: int

    def as_fields(self) -> dict[str, str]:
        """As the data of a Kubernetes Secret."""
        fields = {f"share-{number}.age": text for number, text in enumerate(self.ciphertexts, start=1)}
        return {**fields, "threshold": str(self.threshold)}

    @classmethod
    def from_fields(cls, fields: Mapping[str, str]) -> SealedShares:
        """Read what `as_fields` wrote. Raises `SharesError`."""
        names = sorted((name for name in fields if name.startswith("share-")), key=lambda name: (len(name), name))
        try:
            threshold = int(fields["threshold"])
        except (KeyError, ValueError):
            raise SharesError("the stored shares do not say their threshold") from None
        if not 1 <= threshold <= len(names):
            raise SharesError(f"{len(names)} shares are stored, but {threshold} are needed")
        return cls(tuple(fields[name] for name in names), threshold)


def admitted_recipients(admission: Admission, identity: str) -> tuple[str, ...]:
    """The recipients that a root holder admitted. `identity` is the text of the cluster's identity file.

    Raises `SharesError` when the admission was not made with this identity: nothing may be sealed to them.
    """
    keys = [line.strip() for line in identity.splitlines() if line.strip() and not line.startswith("#")]
    if not any(admission.holds(key) for key in keys):
        raise SharesError(
            "no root holder admitted the recipients of root-of-trust.yaml, so nothing is sealed to them; "
            f"run `secret-authority cluster admit {admission.cluster} --root-identity FILE`, then `pulumi up`"
        )
    return admission.recipients


def seal_shares(shares: Sequence[str], threshold: int, recipients: Sequence[str]) -> SealedShares:
    """Encrypt each share to all `recipients`. Raises `SharesError` for a recipient that is none."""
    if not recipients:
        raise SharesError("there is no recipient to encrypt the unseal shares to")
    try:
        parsed = [x25519.Recipient.from_str(recipient) for recipient in recipients]
    except pyrage.RecipientError:
        raise SharesError("a recipient for the unseal shares is no age recipient (age1...)") from None
    texts = (pyrage.encrypt(share.encode(), parsed, armored=True).decode() for share in shares)
    return SealedShares(tuple(texts), threshold)


def open_shares(sealed: SealedShares, identity: str) -> tuple[str, ...]:
    """Decrypt as many shares as are needed. `identity` is the text of an age identity file.

    Raises `SharesError` when the identity is none or cannot open them.
    """
    lines = [line.strip() for line in identity.splitlines() if line.strip() and not line.startswith("#")]
    try:
        keys = [x25519.Identity.from_str(line) for line in lines]
    except pyrage.IdentityError:
        raise SharesError("the identity file holds a line that is no age identity") from None
    opened: list[str] = []
    for text in sealed.ciphertexts:
        try:
            opened.append(pyrage.decrypt(text.encode(), keys).decode())
        except pyrage.DecryptError:
            continue
        if len(opened) == sealed.threshold:
            return tuple(opened)
    raise SharesError(
        f"the identity opens {len(opened)} of the {sealed.threshold} shares that are needed: "
        "is it the identity of this cluster, or a root identity that was a recipient at initialisation?"
    )


def reseal_shares(sealed: SealedShares, identity: str, recipients: Sequence[str]) -> SealedShares:
    """The same shares, every one of them, encrypted to other recipients. Raises `SharesError`, as when one is lost."""
    every = open_shares(replace(sealed, threshold=len(sealed.ciphertexts)), identity)
    return seal_shares(every, sealed.threshold, recipients)
