"""What must hold for the recipients that the root of trust names and the sealed identity of a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from secret_authority.clients.age import Identity, count_recipients
from secret_authority.core.errors import Problem
from secret_authority.core.recipients import file_digest
from secret_authority.repository.trust.root_of_trust import FILE as TRUST_FILE
from secret_authority.repository.trust.root_of_trust import RootOfTrust


def check_seal(root: Path, cluster: str, trust: RootOfTrust) -> Iterator[Problem]:
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


def check_admission(root: Path, cluster: str, trust: RootOfTrust) -> Iterator[Problem]:
    """A root holder admitted exactly the present recipients and the present identity file, as far as can be seen.

    Whether the admission is genuine can be told with the cluster's identity only: `check_genuine`.
    """
    entry = trust.cluster(cluster)
    admission, file = entry.admitted(), root / entry.identity
    if admission is None:
        fix = f"a root holder runs `secret-authority cluster admit {cluster} --root-identity FILE`"
        yield Problem(TRUST_FILE, f"clusters[{cluster}].admission", "is missing", fix)
        return
    holders = trust.holders()
    for recipient in sorted(set(holders) - set(admission.root)):
        fix = (
            f"compare the recipient with {holders[recipient]}; then a present holder runs `secret-authority cluster "
            f"reseal {cluster} --root-identity FILE --admit {recipient}`"
        )
        problem = f"names {holders[recipient]} ({recipient}), whom no root holder admitted to cluster {cluster}"
        yield Problem(TRUST_FILE, "root", problem, fix)
    for recipient in sorted(set(admission.root) - set(holders)):
        fix = f"run `secret-authority cluster new {cluster}`, see docs/runbooks/retire-a-recipient.md"
        problem = f"does not name {recipient} any more, who was admitted to cluster {cluster} and can open its identity"
        yield Problem(TRUST_FILE, "root", problem, fix)
    if file.is_file() and file_digest(file.read_bytes()) != admission.identity:
        fix = f"restore it from Git, or run `secret-authority cluster admit {cluster} --root-identity FILE`"
        yield Problem(entry.identity, "", "is not the file that a root holder admitted", fix)


def check_genuine(trust: RootOfTrust, cluster: str, identity: Identity) -> Iterator[Problem]:
    """With the cluster's identity: the admission was made by somebody who could open it."""
    admission = trust.cluster(cluster).admitted()
    if admission is not None and not admission.holds(identity.secret):
        fix = (
            "find in Git's history who changed root or clusters; compare every recipient with its holder; then run "
            f"`secret-authority cluster admit {cluster} --root-identity FILE`"
        )
        problem = "was not made by a root holder: the recipients were changed by somebody who cannot open the identity"
        yield Problem(TRUST_FILE, f"clusters[{cluster}].admission", problem, fix)
