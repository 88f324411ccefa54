"""What must hold for the encrypted files, the catalogue and the root of trust of one cluster, taken together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence

from secret_authority.clients.age import Identity, open_data_key
from secret_authority.clients.sops import SopsHeader
from secret_authority.core.catalogue.schema import Catalogue, SecretClass
from secret_authority.core.claims.conflicts import Claim, find_conflicts, find_reverse_flows
from secret_authority.core.errors import Problem
from secret_authority.repository.bootstrap.encrypted_secrets import EncryptedSecret
from secret_authority.repository.trust.root_of_trust import FILE as TRUST_FILE
from secret_authority.repository.trust.root_of_trust import RootOfTrust


def check_header(header: SopsHeader, shown: str) -> Iterator[Problem]:
    if header.mac_only_encrypted:
        fix = "drop mac_only_encrypted from .sops.yaml and encrypt again"
        yield Problem(shown, "sops.mac_only_encrypted", "leaves name and namespace without a MAC", fix)
    if header.other_keys:
        listed = ", ".join(header.other_keys)
        fix = "keep the age recipients only: the root of trust is the one way to read Git"
        yield Problem(shown, "sops", f"can also be opened through {listed}", fix)


def check_recipients(secret: EncryptedSecret, wanted: frozenset[str], trust: RootOfTrust) -> Iterator[Problem]:
    for file, header in secret.parts:
        yield from _check_recipients(file, header, wanted, trust)


def _check_recipients(file: str, header: SopsHeader, wanted: frozenset[str], trust: RootOfTrust) -> Iterator[Problem]:
    retired = {entry.recipient: entry for entry in trust.retired}
    fix = f"run `sops updatekeys {file}`"
    for recipient in sorted(wanted - header.recipients):
        yield Problem(file, "sops.age", f"is not readable by {_named(recipient, trust)}", fix)
    for recipient in sorted(header.recipients - wanted):
        if recipient in retired:
            yield Problem(
                file,
                "sops.age",
                f"is still readable by the retired recipient {recipient}",
                f"{fix}, then `sops rotate --in-place {file}`, then give the secret a new value",
            )
        else:
            yield Problem(
                file,
                "sops.age",
                f"is readable by {recipient}, which {TRUST_FILE} does not name",
                f"{fix}, or add the recipient there after review",
            )


def check_own_stanzas(secrets: Sequence[EncryptedSecret], identity: Identity, root: Identity) -> Iterator[Problem]:
    """The given root holder's stanza of each file holds the data key that the cluster's stanza holds."""
    for file, header in (part for secret in secrets for part in secret.parts):
        sealed = [header.data_keys.get(key.recipient) for key in (identity, root)]
        if None in sealed:
            continue  # not a holder any more, or not a reader: `check_recipients` says that
        opened = [open_data_key(str(text), key) for text, key in zip(sealed, (identity, root), strict=True)]
        if opened[1] is None or opened[0] != opened[1]:
            fix = f"run `sops updatekeys {file}` with the key of another holder; it was edited by hand"
            yield Problem(file, "sops.age", f"holds no data key for {root.recipient}, though it names it", fix)


def _named(recipient: str, trust: RootOfTrust) -> str:
    names = {root.recipient: f"root holder {root.holder}" for root in trust.root}
    names |= {cluster.recipient: f"cluster {cluster.name}" for cluster in trust.clusters}
    return f"{names.get(recipient, 'an unnamed recipient')} ({recipient})"


def check_entries_and_files(
    catalogue: Catalogue, encrypted: Sequence[EncryptedSecret], file: str, left_out: Collection[tuple[str, str]] = ()
) -> Iterator[Problem]:
    """Each bootstrap entry has a file and each file has an entry, with the same keys.

    `left_out`: Secrets (namespace, name) of entries that are wrong, whose files need no other entry.
    """
    entries: dict[tuple[str, str], set[str]] = defaultdict(set)
    files = {(secret.namespace, secret.name): secret for secret in encrypted}
    for entry in catalogue.of_class(SecretClass.BOOTSTRAP):
        target = entry.bootstrap
        if target is None:
            continue
        place = (target.namespace, target.secret)
        entries[place] |= set(target.keys)
        found = files.get(place)
        field = f"secrets[{entry.name}].bootstrap"
        if found is None:
            fix = "add the encrypted Secret to the bootstrap folder, or remove the entry"
            yield Problem(file, field, f"no encrypted file holds Secret {place[0]}/{place[1]}", fix)
        elif missing := sorted(set(target.keys) - found.keys):
            yield Problem(file, f"{field}.keys", f"{found.file} has no {', '.join(missing)}", "correct one of them")
        # A key that is in the file and not in the entry is reported with the file.
        known = set(target.keys) | (found.keys if found else set())
        if unknown := sorted(set(entry.consumed_keys) - known):
            where, fix = f"secrets[{entry.name}].consumers", f"use one of {', '.join(target.keys)}"
            yield Problem(file, where, f"read {', '.join(unknown)}, which is not a key of the secret", fix)
    for place, secret in files.items():
        if place not in entries and place in left_out:
            continue
        if place not in entries:
            fix = f"add an entry of class bootstrap to {file}"
            yield Problem(secret.file, "metadata", f"Secret {place[0]}/{place[1]} is not in the catalogue", fix)
        elif extra := sorted(secret.keys - entries[place]):
            fix = f"add the keys to an entry in {file}, or remove them"
            yield Problem(secret.file, "data", f"{', '.join(extra)} is not in the catalogue", fix)


def check_claims(claims: Sequence[Claim], file: str) -> Iterator[Problem]:
    for conflict in find_conflicts(claims):
        yield Problem(file, "secrets", str(conflict), "see docs/concepts.md, one authority")
    for flow in find_reverse_flows(claims):
        yield Problem(file, "secrets", str(flow), "see docs/concepts.md, one-way funnel")
