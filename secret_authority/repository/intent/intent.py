"""What Git says of one cluster: the catalogue, the root of trust and the encrypted files, checked together.

RFC-SECOPS-0001 §5: bootstrap secrets are encrypted, labelled, traceable and in few namespaces. Nothing here
decrypts; `check_readable` asks sops to, when an identity is at hand.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from secret_authority.clients.age import Identity
from secret_authority.core.catalogue.schema import Catalogue, CatalogueSecret, SecretClass
from secret_authority.core.claims.conflicts import Claim
from secret_authority.core.errors import InvalidInputError, Problem, raise_if_any
from secret_authority.core.kubernetes_secrets import OPAQUE
from secret_authority.core.ledger.ledger import GitFact
from secret_authority.core.recipients import Admission
from secret_authority.repository.bootstrap.encrypted_secrets import EncryptedSecret, read_encrypted
from secret_authority.repository.bootstrap.opened_secrets import open_secrets, undeliverable
from secret_authority.repository.catalogue.catalogue_file import (
    entry_of,
    named_bootstrap_secrets,
    read_catalogue,
    read_good_entries,
)
from secret_authority.repository.flux_paths import check_place_of_catalogue
from secret_authority.repository.intent.checks import (
    check_claims,
    check_entries_and_files,
    check_header,
    check_own_stanzas,
    check_recipients,
)
from secret_authority.repository.intent.claims import declared_claims
from secret_authority.repository.layout import Layout
from secret_authority.repository.trust.checks import check_admission, check_genuine, check_seal
from secret_authority.repository.trust.root_of_trust import FILE as TRUST_FILE
from secret_authority.repository.trust.root_of_trust import RootOfTrust, read_trust
from secret_authority.repository.trust.sops_config import check_creation_rules


@dataclass(frozen=True)
class Intent:
    """The checked intent of a cluster. Holds no secret value."""

    root: Path
    layout: Layout
    trust: RootOfTrust
    catalogue: Catalogue
    encrypted: tuple[EncryptedSecret, ...]
    # What is wrong with entries that are not in `catalogue`, by name.
    left_out: Mapping[str, Problem] = field(default_factory=dict)

    @cached_property
    def claims(self) -> tuple[Claim, ...]:
        """The one claim set of the cluster: every check of authority in the program takes it."""
        return declared_claims(self.layout.cluster, self.catalogue, self.encrypted)

    @property
    def identity_file(self) -> str:
        return self.trust.cluster(self.layout.cluster).identity

    @property
    def admission(self) -> Admission:
        """The recipients that a root holder admitted; `read_intent` has seen that there is an admission."""
        admission = self.trust.cluster(self.layout.cluster).admitted()
        if admission is None:
            raise ValueError(f"cluster {self.layout.cluster} has no admission")
        return admission

    def file_of(self, secret: str) -> EncryptedSecret:
        """The encrypted file of a bootstrap secret of the catalogue."""
        target = next(entry.bootstrap for entry in self.catalogue if entry.name == secret)
        assert target is not None  # noqa: S101  (only class bootstrap is asked for)
        return next(e for e in self.encrypted if (e.namespace, e.name) == (target.namespace, target.secret))

    def type_of_bootstrap(self, secret: CatalogueSecret) -> str:
        """The type of the bootstrap Secret as its file names it, Opaque for what is not born in Git."""
        target = secret.bootstrap
        place = (target.namespace, target.secret) if target else None
        return next((found.type for found in self.encrypted if found.place == place), OPAQUE)

    def git_facts(self) -> dict[str, GitFact]:
        """For each bootstrap secret its file and the time of the commit that added it."""
        files = {
            secret.name: self.file_of(secret.name).file for secret in self.catalogue.of_class(SecretClass.BOOTSTRAP)
        }
        added = _added(self.root, files.values())
        return {name: GitFact(file, added.get(file)) for name, file in files.items()}

    def config_facts(self) -> dict[str, GitFact]:
        """For each entry of class config whose values Git holds: the file and the time of the commit that added it."""
        files = {
            secret.name: file
            for secret in self.catalogue.of_class(SecretClass.CONFIG)
            for file in (f"{self.layout.config}/{secret.name}.{ending}" for ending in ("yaml", "yml"))
            if (self.root / file).is_file()
        }
        added = _added(self.root, files.values())
        return {name: GitFact(file, added.get(file)) for name, file in files.items()}


def read_intent(root: Path, layout: Layout, *, leave_out: bool = False) -> Intent:
    """Read and check the repository for one cluster, without any key.

    With `leave_out` an entry of the catalogue that is wrong by itself stops nothing but itself.

    Raises `InvalidInputError` with every problem: shape of catalogue and root of trust, a Secret in the
    clear, wrong recipients, a file without an entry, an entry without a file, two claims over one place.
    """
    if not root.is_dir():
        raise InvalidInputError([Problem(str(root), "", "is not a directory", "set repositoryPath to a checkout")])
    trust = read_trust(root)
    wanted = trust.wanted(layout.cluster)
    catalogue, wrong = _catalogue(root, layout.catalogue, leave_out)
    reading = read_encrypted(root, layout.bootstrap)
    encrypted, problems = reading.found, list(reading.problems)
    if not problems:
        # A file that could not be taken in would only be missed here again.
        if leave_out:
            catalogue, wrong = _without_unfit(root, layout.catalogue, catalogue, wrong, encrypted)
        secrets = named_bootstrap_secrets(root, layout.catalogue) if wrong else {}
        problems += check_entries_and_files(
            catalogue, encrypted, layout.catalogue, {secrets[name] for name in wrong if name in secrets}
        )
    for secret in encrypted:
        for file, header in secret.parts:
            problems += check_header(header, file)
        problems += check_recipients(secret, wanted, trust)
    manifests = [secret.file for secret in encrypted if not secret.inputs]
    inputs = [(one.file, one.kind) for secret in encrypted for one in secret.inputs]
    problems += check_place_of_catalogue(root, layout)
    problems += check_seal(root, layout.cluster, trust)
    problems += check_admission(root, layout.cluster, trust)
    problems += check_creation_rules(root, manifests, wanted, inputs)
    raise_if_any(problems)
    intent = Intent(root, layout, trust, catalogue, encrypted, wrong)
    raise_if_any(check_claims(intent.claims, layout.catalogue))
    return intent


def _catalogue(root: Path, file: str, leave_out: bool) -> tuple[Catalogue, dict[str, Problem]]:
    return read_good_entries(root, file) if leave_out else (read_catalogue(root, file), {})


def _without_unfit(
    root: Path, file: str, catalogue: Catalogue, wrong: Mapping[str, Problem], encrypted: Sequence[EncryptedSecret]
) -> tuple[Catalogue, dict[str, Problem]]:
    """Leave out the entries that do not fit their own encrypted file as well."""
    unfit = dict(wrong)
    for problem in check_entries_and_files(catalogue, encrypted, file):
        name = entry_of(problem)
        if problem.file == file and name is not None:
            unfit.setdefault(name, problem)
    good = tuple(entry for entry in catalogue if entry.name not in unfit)
    return catalogue.model_copy(update={"secrets": good}), unfit


def check_readable(intent: Intent, identity: Identity, root: Identity | None = None) -> None:
    """Decrypt every encrypted file with the cluster's identity, check its MAC and what it holds, and who was admitted.

    With a `root` identity also its own stanza of each file. What other holders can open cannot be shown without
    their identities. Raises `InvalidInputError` for an identity that is not the cluster's, for recipients that no
    root holder admitted, for each file that does not open or was changed without sops, and for each value that the
    API server, Vault or a consumer could never take.
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
    raise_if_any(check_genuine(intent.trust, intent.layout.cluster, identity))
    problems = list(check_own_stanzas(intent.encrypted, identity, root) if root else ())
    entries = {
        (entry.bootstrap.namespace, entry.bootstrap.secret): entry for entry in intent.catalogue if entry.bootstrap
    }
    for secret, values in open_secrets(intent.root, intent.encrypted, [identity.secret]).items():
        if isinstance(values, tuple):
            problems += values
        elif entry := entries.get(secret.place):
            problems += undeliverable(entry, values, secret.file)
    raise_if_any(problems)


def _added(root: Path, files: Iterable[str]) -> dict[str, datetime]:
    """Time of the commit that (last) added each file; without those that no commit has, and empty outside of Git."""
    wanted = set(files)
    if not wanted:
        return {}
    # All files in one run: a process for each would take longer than everything else together.
    options = ["-z", "--no-renames", "--diff-filter=A", "--format=:%ct", "--name-only", "--relative"]
    command = ["git", "--literal-pathspecs", "-C", str(root), "log", *options, "--", *sorted(wanted)]
    done = subprocess.run(command, capture_output=True, check=False, text=True, errors="surrogateescape")
    found: dict[str, datetime] = {}
    at = datetime.fromtimestamp(0, UTC)
    for part in done.stdout.split("\0"):
        name = part.removeprefix("\n")
        if re.fullmatch(r":\d+", name):
            at = datetime.fromtimestamp(int(name[1:]), UTC)
        elif name in wanted:
            found.setdefault(name, at)  # the newest comes first
    return found
