"""What Git says of one cluster: the catalogue, the root of trust and the encrypted files, checked together.

RFC-SECOPS-0001 §5: bootstrap secrets are encrypted, labelled, traceable and in few namespaces. Nothing here
decrypts; `check_readable` asks sops to, when an identity is at hand.
"""

from __future__ import annotations

import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from authority.catalogue import Catalogue, SecretClass, parse_catalogue
from authority.claims import Claim, find_conflicts, find_upflows
from authority.ledger import GitFact
from authority.problems import InvalidInputError, Problem, raise_if_any
from custody.age import Identity, count_recipients
from repository.declared_claims import catalogue_claims, file_claim
from repository.sops import SopsHeader, check_macs, is_encrypted, parse_header
from repository.sops_rules import check_creation_rules
from repository.trust import FILE as TRUST_FILE
from repository.trust import RootOfTrust, read_trust
from repository.yaml_documents import read_documents, yaml_files


@dataclass(frozen=True)
class Layout:
    """Where things lie in the repository, relative to its root."""

    cluster: str
    catalogue: str
    # Folders that Flux applies with decryption.
    bootstrap: tuple[str, ...]

    @classmethod
    def of(cls, cluster: str, catalogue: str | None = None, bootstrap: Sequence[str] = ()) -> Layout:
        """The usual layout of a cluster, where nothing else is said."""
        home = f"clusters/{cluster}"
        return cls(cluster, catalogue or f"{home}/catalogue.yaml", tuple(bootstrap) or (f"{home}/bootstrap",))


@dataclass(frozen=True)
class EncryptedSecret:
    """A Secret manifest that sops encrypted: what can be read of it without a key."""

    file: str
    namespace: str
    name: str
    keys: frozenset[str]
    header: SopsHeader


@dataclass(frozen=True)
class Intent:
    """The checked intent of a cluster. Holds no secret value."""

    root: Path
    layout: Layout
    trust: RootOfTrust
    catalogue: Catalogue
    encrypted: tuple[EncryptedSecret, ...]
    claims: tuple[Claim, ...]

    @property
    def identity_file(self) -> str:
        return self.trust.cluster(self.layout.cluster).identity

    def file_of(self, secret: str) -> EncryptedSecret:
        """The encrypted file of a bootstrap secret of the catalogue."""
        target = next(entry.bootstrap for entry in self.catalogue if entry.name == secret)
        assert target is not None  # noqa: S101  (only class bootstrap is asked for)
        return next(e for e in self.encrypted if (e.namespace, e.name) == (target.namespace, target.secret))

    def git_facts(self) -> dict[str, GitFact]:
        """For each bootstrap secret its file and the time of the commit that added it."""
        return {
            secret.name: GitFact(file, _added(self.root, file))
            for secret in self.catalogue.of_class(SecretClass.BOOTSTRAP)
            for file in [self.file_of(secret.name).file]
        }


def read_intent(root: Path, layout: Layout) -> Intent:
    """Read and check the repository for one cluster, without any key.

    Raises `InvalidInputError` with every problem: shape of catalogue and root of trust, a Secret in the
    clear, wrong recipients, a file without an entry, an entry without a file, two claims over one place.
    """
    if not root.is_dir():
        raise InvalidInputError([Problem(str(root), "", "is no folder", "set repositoryPath to a checkout")])
    trust = read_trust(root)
    wanted = trust.wanted(layout.cluster)
    catalogue = _read_catalogue(root, layout.catalogue)
    problems: list[Problem] = []
    encrypted: list[EncryptedSecret] = []
    for folder in layout.bootstrap:
        if not (root / folder).is_dir():
            problems.append(Problem(folder, "", "is no folder of the repository", "correct bootstrapPaths"))
            continue
        for path in yaml_files(root / folder):
            shown = str(path.relative_to(root))
            try:
                encrypted += _read_file(path, shown)
            except InvalidInputError as error:
                problems += error.problems
    if not problems:
        # A file that could not be taken in would only be missed here again.
        problems += _match(catalogue, encrypted, layout.catalogue)
    for secret in encrypted:
        problems += _check_recipients(secret, wanted, trust)
    problems += _check_seal(root, layout.cluster, trust)
    problems += check_creation_rules(root, [secret.file for secret in encrypted], wanted)
    raise_if_any(problems)
    claims = (
        *(file_claim(layout.cluster, e.namespace, e.name, e.keys, e.file, catalogue) for e in encrypted),
        *catalogue_claims(layout.cluster, catalogue),
    )
    raise_if_any(_check_claims(claims, layout.catalogue))
    return Intent(root, layout, trust, catalogue, tuple(encrypted), claims)


def check_readable(intent: Intent, identity: Identity) -> None:
    """Decrypt every encrypted file with the cluster's identity and check its MAC.

    Raises `InvalidInputError` for an identity that is not the cluster's, and for each file that does not
    open or was changed without sops.
    """
    cluster = intent.trust.cluster(intent.layout.cluster)
    if identity.recipient != cluster.recipient:
        raise InvalidInputError(
            [
                Problem(
                    cluster.identity,
                    "",
                    f"holds the identity of {identity.recipient}, but {TRUST_FILE} names {cluster.recipient}",
                    "correct the recipient of the cluster there, or restore the identity file from Git",
                )
            ]
        )
    files = {(intent.root / secret.file, secret.file) for secret in intent.encrypted}
    raise_if_any(check_macs(sorted(files), [identity.secret]))


def _read_catalogue(root: Path, file: str) -> Catalogue:
    documents = read_documents(root / file, file)
    if len(documents) != 1:
        raise InvalidInputError(
            [Problem(file, "", f"holds {len(documents)} documents", "write the catalogue as one document")]
        )
    return parse_catalogue(documents[0], file)


def _read_file(path: Path, shown: str) -> list[EncryptedSecret]:
    """The encrypted Secrets of a file. Raises `InvalidInputError` for what may not stand there."""
    found: list[EncryptedSecret] = []
    problems: list[Problem] = []
    for document in read_documents(path, shown):
        if not isinstance(document, Mapping):
            continue
        if "sops" not in document:
            if document.get("kind") == "Secret" and (document.get("data") or document.get("stringData")):
                fix = f"run `sops encrypt --in-place {shown}`, then give the secret a new value: Git keeps the old"
                problems.append(Problem(shown, "data", "is a Secret in the clear", fix))
            continue
        header = parse_header(document, shown)
        problems += _check_header(header, shown)
        if document.get("kind") == "Secret":
            problems += list(_in_the_clear(document, shown))
            metadata = document.get("metadata")
            names = metadata if isinstance(metadata, Mapping) else {}
            namespace, name = names.get("namespace"), names.get("name")
            if not isinstance(namespace, str) or not isinstance(name, str):
                fix = "write metadata.name and metadata.namespace in the file, then run sops on it again"
                problems.append(Problem(shown, "metadata", "names no Secret and namespace", fix))
                continue
            found.append(EncryptedSecret(shown, namespace, name, frozenset(_data(document)), header))
    raise_if_any(problems)
    return found


def _data(document: Mapping[str, Any]) -> dict[str, Any]:
    return {**(document.get("data") or {}), **(document.get("stringData") or {})}


def _in_the_clear(document: Mapping[str, Any], shown: str) -> Iterator[Problem]:
    for key, value in _data(document).items():
        if not is_encrypted(value):
            fix = "encrypt with encrypted_regex ^(data|stringData)$, and give the key a new value"
            yield Problem(shown, f"data.{key}", "is in the clear in an encrypted file", fix)


def _check_header(header: SopsHeader, shown: str) -> Iterator[Problem]:
    if header.mac_only_encrypted:
        fix = "drop mac_only_encrypted from .sops.yaml and encrypt again"
        yield Problem(shown, "sops.mac_only_encrypted", "leaves name and namespace without a MAC", fix)
    if header.other_keys:
        listed = ", ".join(header.other_keys)
        fix = "keep the age recipients only: the root of trust is the one way to read Git"
        yield Problem(shown, "sops", f"can also be opened through {listed}", fix)


def _check_recipients(secret: EncryptedSecret, wanted: frozenset[str], trust: RootOfTrust) -> Iterator[Problem]:
    retired = {entry.recipient: entry for entry in trust.retired}
    fix = f"run `sops updatekeys {secret.file}`"
    for recipient in sorted(wanted - secret.header.recipients):
        yield Problem(secret.file, "sops.age", f"is not readable by {_named(recipient, trust)}", fix)
    for recipient in sorted(secret.header.recipients - wanted):
        if recipient in retired:
            yield Problem(
                secret.file,
                "sops.age",
                f"is still readable by the retired recipient {recipient}",
                f"{fix}, then `sops rotate --in-place {secret.file}`, then give the secret a new value",
            )
        else:
            yield Problem(
                secret.file,
                "sops.age",
                f"is readable by {recipient}, which {TRUST_FILE} does not name",
                f"{fix}, or add the recipient there after review",
            )


def _check_seal(root: Path, cluster: str, trust: RootOfTrust) -> Iterator[Problem]:
    """The cluster's identity is sealed to as many recipients as there are root holders. To whom, only they can tell."""
    file = trust.cluster(cluster).identity
    sealed, wanted = count_recipients(root / file), len(trust.root)
    if sealed is None or sealed == wanted:
        return  # a file that is missing or damaged is reported when it is opened
    if sealed < wanted:
        fix = f"run `secret-authority cluster reseal {cluster} --root-identity FILE`"
        yield Problem(file, "", f"is sealed to {sealed} of {wanted} root recipients", fix)
    else:
        fix = f"run `secret-authority cluster new {cluster}`, see docs/runbooks/retire-a-recipient.md"
        yield Problem(file, "", f"is sealed to {sealed} recipients, but {TRUST_FILE} names {wanted} in root", fix)


def _named(recipient: str, trust: RootOfTrust) -> str:
    names = {root.recipient: f"root holder {root.holder}" for root in trust.root}
    names |= {cluster.recipient: f"cluster {cluster.name}" for cluster in trust.clusters}
    return f"{names.get(recipient, 'an unnamed recipient')} ({recipient})"


def _match(catalogue: Catalogue, encrypted: Sequence[EncryptedSecret], file: str) -> Iterator[Problem]:
    """Each bootstrap entry has a file and each file has an entry, with the same keys."""
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
    for place, secret in files.items():
        if place not in entries:
            fix = f"add an entry of class bootstrap to {file}"
            yield Problem(secret.file, "metadata", f"Secret {place[0]}/{place[1]} is not in the catalogue", fix)
        elif extra := sorted(secret.keys - entries[place]):
            fix = f"add the keys to an entry in {file}, or remove them"
            yield Problem(secret.file, "data", f"{', '.join(extra)} is not in the catalogue", fix)


def _check_claims(claims: Sequence[Claim], file: str) -> Iterator[Problem]:
    for conflict in find_conflicts(claims):
        yield Problem(file, "secrets", str(conflict), "see docs/concepts.md, one authority")
    for upflow in find_upflows(claims):
        yield Problem(file, "secrets", str(upflow), "see docs/concepts.md, one-way funnel")


def _added(root: Path, file: str) -> datetime | None:
    """Time of the commit that (last) added a file; None outside of Git."""
    done = subprocess.run(
        ["git", "-C", str(root), "log", "-1", "--diff-filter=A", "--format=%ct", "--", file],
        capture_output=True,
        check=False,
        text=True,
    )
    stamp = done.stdout.strip()
    return datetime.fromtimestamp(int(stamp), UTC) if stamp else None
