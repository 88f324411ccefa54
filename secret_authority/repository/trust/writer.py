"""Writes recipients into root-of-trust.yaml and .sops.yaml without touching what people wrote around them.

Everything is judged in memory first; then the files are replaced whole, root-of-trust.yaml last. A run that ends
before that leaves nothing that another run would not write over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from secret_authority.clients.age import Identity, is_recipient, seal
from secret_authority.core.catalogue.schema import Name
from secret_authority.core.errors import InvalidInputError, Problem, raise_if_any
from secret_authority.core.recipients import Admission
from secret_authority.repository.files.replace import replace_all
from secret_authority.repository.files.round_trip import edited, entry, list_below
from secret_authority.repository.files.yaml_documents import read_documents
from secret_authority.repository.trust.checks import check_genuine
from secret_authority.repository.trust.cluster_identity import open_cluster
from secret_authority.repository.trust.root_of_trust import FILE as TRUST_FILE
from secret_authority.repository.trust.root_of_trust import Holder, RootOfTrust, parse_trust, read_trust
from secret_authority.repository.trust.sops_config import FILE as SOPS_FILE

_NEW_TRUST = """\
# Who may open what. Public recipients only; the identities are offline (root) or in their cluster.
apiVersion: secret-authority.dev/v1
kind: RootOfTrust
root:
"""


def check_name(name: str) -> None:
    """Raise `InvalidInputError` for what cannot be the name of a cluster."""
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError:
        fix = "use lower-case letters, digits and hyphens, at most 63, such as prod-eu-1"
        raise InvalidInputError([Problem("the command line", "NAME", f"{name!r} cannot name a cluster", fix)]) from None


def with_holder(repository: Path, holder: str, recipient: str) -> dict[Path, str]:
    """The files, as `replace_all` takes them, that name one more root holder. Writes nothing.

    The rules of .sops.yaml that name every present root recipient get the new one too. Raises `InvalidInputError`.
    """
    if not repository.is_dir():
        fix = "give a checkout of the Git repository"
        raise InvalidInputError([Problem(str(repository), "", "is not a directory", fix)])
    try:
        TypeAdapter(Holder).validate_python(holder)
    except ValidationError:
        fix = "name a person or a role on one line, at most 100 characters"
        raise InvalidInputError([Problem("the command line", "--holder", f"{holder!r} is no name", fix)]) from None
    if not is_recipient(recipient):
        fix = "give the recipient that `secret-authority root new` printed"
        raise InvalidInputError([Problem("the command line", "--recipient", "is not an age recipient (age1...)", fix)])
    file = repository / TRUST_FILE
    present = read_trust(repository).holders() if file.exists() else {}
    if holder in present.values():
        fix = "choose another name; to replace an identity see docs/runbooks/retire-a-recipient.md"
        raise InvalidInputError([Problem(TRUST_FILE, "root", f"has a holder {holder} already", fix)])
    added = entry({"holder": holder, "recipient": recipient})
    text = _changed(file, TRUST_FILE, _NEW_TRUST, lambda doc: list_below(doc, "root", TRUST_FILE).append(added))
    parse_trust(yaml.safe_load(text))
    rules = repository / SOPS_FILE
    if not present or not rules.exists():
        return {file: text}
    return {rules: _changed(rules, SOPS_FILE, "", lambda doc: _add_to_rules(doc, set(present), recipient)), file: text}


def add_root_recipient(repository: Path, holder: str, recipient: str) -> None:
    """Name a root holder in root-of-trust.yaml; makes the file when there is none."""
    replace_all(with_holder(repository, holder, recipient))


def add_cluster(repository: Path, name: str) -> str:
    """Make a cluster's identity, seal it to all root recipients, admit them and name it. Returns its recipient.

    The identity in the clear exists in this process only. Raises `InvalidInputError`.
    """
    check_name(name)
    trust = read_trust(repository)
    if name in {cluster.name for cluster in trust.clusters}:
        fix = "choose another name; to replace its identity see docs/runbooks/retire-a-recipient.md"
        raise InvalidInputError([Problem(TRUST_FILE, "clusters", f"has {name} already", fix)])
    roots = list(trust.holders())
    identity = Identity.generate()
    file = f"clusters/{name}/identity.age"
    sealed = seal(identity, roots)
    fields = {"name": name, "recipient": identity.recipient, "identity": file}
    added = entry(fields | {"admission": _admission(identity, name, roots, sealed)})
    text = _changed(
        repository / TRUST_FILE,
        TRUST_FILE,
        _NEW_TRUST,
        lambda doc: list_below(doc, "clusters", TRUST_FILE).insert(0, added),
    )
    parse_trust(yaml.safe_load(text))
    readers = ",".join([*roots, identity.recipient])
    rules = _changed(repository / SOPS_FILE, SOPS_FILE, "creation_rules:\n", lambda doc: _set_rule(doc, name, readers))
    _check_inside(repository, file)
    replace_all({repository / file: sealed.decode(), repository / SOPS_FILE: rules, repository / TRUST_FILE: text})
    return identity.recipient


def reseal_cluster(repository: Path, name: str, root: Identity, admit: Sequence[str] = ()) -> None:
    """Seal a cluster's identity again to the present root recipients, and admit them. Raises `InvalidInputError`.

    Only to add holders: each new recipient has to be named in `admit`, as its holder gave it, because anybody who can
    push to Git can write one into root-of-trust.yaml. One who is gone keeps what Git's history sealed to them, so that
    needs a new identity.
    """
    trust = read_trust(repository)
    before = trust.cluster(name).admitted()
    if before is None:
        fix = f"run `secret-authority cluster admit {name} --root-identity FILE` first"
        raise InvalidInputError([Problem(TRUST_FILE, f"clusters[{name}].admission", "is missing", fix)])
    holders = trust.holders()
    if gone := sorted(set(before.root) - set(holders)):
        reason = f"is sealed to {', '.join(gone)}, whom {TRUST_FILE} does not name in root any more"
        fix = f"for a retired holder run `secret-authority cluster new {name}`, see docs/runbooks/retire-a-recipient.md"
        raise InvalidInputError([Problem(trust.cluster(name).identity, "", reason, fix)])
    identity = open_cluster(repository, name, root)
    raise_if_any(check_genuine(trust, name, identity))
    _seal_again(repository, trust, name, identity, [*before.root, *admit])


def admit_cluster(repository: Path, name: str, root: Identity, admit: Sequence[str] = ()) -> None:
    """Admit the present root recipients whatever was admitted before: after a look at each. Raises `InvalidInputError`.

    For a cluster of an earlier version, and after root-of-trust.yaml was changed by somebody who could not open the
    identity. Every recipient but the holder's own has to be named in `admit`.
    """
    trust = read_trust(repository)
    identity = open_cluster(repository, name, root)
    _seal_again(repository, trust, name, identity, [root.recipient, *admit])


def _seal_again(repository: Path, trust: RootOfTrust, name: str, identity: Identity, confirmed: Iterable[str]) -> None:
    holders, cluster = trust.holders(), trust.cluster(name)
    known = set(confirmed)
    problems = [
        Problem(
            TRUST_FILE,
            "root",
            f"names {holder} ({recipient}), who is not admitted",
            f"ask {holder} for the recipient, compare, and give --admit {recipient}",
        )
        for recipient, holder in holders.items()
        if recipient not in known
    ]
    problems += [
        Problem(
            "the command line", "--admit", f"{recipient} is not in root of {TRUST_FILE}", "add the holder there first"
        )
        for recipient in sorted(known - set(holders))
    ]
    if identity.recipient != cluster.recipient:
        fix = "correct the recipient of the cluster there, or restore the identity file from Git"
        reason = f"holds the identity of {identity.recipient}, but {TRUST_FILE} names {cluster.recipient}"
        problems.append(Problem(cluster.identity, "", reason, fix))
    raise_if_any(problems)
    sealed = seal(identity, list(holders))
    admission = entry(_admission(identity, name, holders, sealed))

    def admitted(document: dict[str, Any]) -> None:
        for found in document["clusters"]:
            if found["name"] == name:
                found["admission"] = admission

    text = _changed(repository / TRUST_FILE, TRUST_FILE, "", admitted)
    parse_trust(yaml.safe_load(text))
    _check_inside(repository, cluster.identity)
    replace_all({repository / cluster.identity: sealed.decode(), repository / TRUST_FILE: text})


def _admission(identity: Identity, name: str, roots: Iterable[str], sealed: bytes) -> dict[str, Any]:
    made = Admission.make(identity.secret, name, identity.recipient, roots, sealed)
    return {"root": list(made.root), "identity": made.identity, "mac": made.mac}


def _set_rule(document: dict[str, Any], name: str, readers: str) -> None:
    """A rule for the cluster's folder, in front. It takes the place of one that is there.

    A second rule would leave the first, with recipients that may be retired since, for the next reader.
    """
    regex = f"^clusters/{name}/bootstrap/"
    rule = entry({"path_regex": regex, "encrypted_regex": "^(data|stringData)$", "age": readers})
    rules = _rules(document)
    for number, found in enumerate(rules):
        if found.get("path_regex") == regex:
            rules[number] = rule
            return
    rules.insert(0, rule)


def _add_to_rules(document: dict[str, Any], present: set[str], recipient: str) -> None:
    for rule in _rules(document):
        age = rule.get("age")
        named = age if isinstance(age, list) else str(age or "").split(",")
        if not present <= {str(one).strip() for one in named}:
            continue
        if isinstance(age, list):
            age.append(recipient)
        else:
            rule["age"] = f"{str(age).strip()},{recipient}"


def _rules(document: dict[str, Any]) -> list[Any]:
    rules = list_below(document, "creation_rules", SOPS_FILE)
    fix = "write path_regex, encrypted_regex and age, or remove the empty entry"
    raise_if_any(
        Problem(SOPS_FILE, f"creation_rules[{number}]", "is not a mapping", fix)
        for number, rule in enumerate(rules)
        if not isinstance(rule, dict)
    )
    return rules


def _changed(file: Path, shown: str, new: str, change: Callable[[dict[str, Any]], None]) -> str:
    if not file.exists():
        return edited(new, shown, change)
    read_documents(file, shown)  # what cannot be read, or is no YAML, is refused in the usual words
    return edited(file.read_text(), shown, change)


def _check_inside(repository: Path, file: str) -> None:
    """A folder that leads out of the repository by a link is not written to."""
    if not (repository / file).parent.resolve().is_relative_to(repository.resolve()):
        raise InvalidInputError([Problem(file, "", "leads out of the repository", "replace the link by a folder")])
