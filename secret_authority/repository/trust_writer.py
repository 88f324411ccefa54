"""Writes recipients into root-of-trust.yaml and .sops.yaml without touching what people wrote around them."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path
from textwrap import indent

import yaml

from secret_authority.clients.age import Identity, count_recipients, open_sealed, seal
from secret_authority.core.errors import InvalidInputError, Problem
from secret_authority.repository.sops_config import FILE as SOPS_FILE
from secret_authority.repository.trust import FILE as TRUST_FILE
from secret_authority.repository.trust import read_trust
from secret_authority.repository.yaml_documents import read_documents

_NEW_TRUST = """\
# Who may open what. Public recipients only; the identities are offline (root) or in their cluster.
apiVersion: secret-authority.dev/v1
kind: RootOfTrust
root:
clusters:
retired:
"""


def add_root_recipient(repository: Path, holder: str, recipient: str) -> None:
    """Name a root holder in root-of-trust.yaml; makes the file when there is none."""
    file = repository / TRUST_FILE
    text = file.read_text() if file.exists() else _NEW_TRUST.replace("clusters:\nretired:\n", "")
    _replace(file, _insert(text, "root:", f"  - holder: {holder}\n    recipient: {recipient}\n"))
    read_trust(repository)


def add_cluster(repository: Path, name: str) -> str:
    """Make a cluster's identity, seal it to all root recipients and name it. Returns its recipient.

    The identity in the clear exists in this process only. Raises `InvalidInputError`.
    """
    trust = read_trust(repository)
    rules = repository / SOPS_FILE
    if rules.exists():
        read_documents(rules, SOPS_FILE)  # what is no YAML stops here, before anything is written
    roots = [root.recipient for root in trust.root]
    identity = Identity.generate()
    sealed = f"clusters/{name}/identity.age"
    (repository / sealed).parent.mkdir(parents=True, exist_ok=True)
    _replace(repository / sealed, seal(identity, roots).decode())
    entry = f"  - name: {name}\n    recipient: {identity.recipient}\n    identity: {sealed}\n"
    trust_file = repository / TRUST_FILE
    _replace(trust_file, _insert(trust_file.read_text(), "clusters:", entry))
    text = rules.read_text() if rules.exists() else "creation_rules:\n"
    _replace(rules, _with_rule(text, f"^clusters/{name}/bootstrap/", [*roots, identity.recipient]))
    read_trust(repository)
    return identity.recipient


def open_cluster(repository: Path, name: str, root: Identity) -> Identity:
    """Open a cluster's identity with a root identity. Raises `InvalidInputError`.

    For a holder who was added since it was sealed, the fix is to seal it again, by a holder who can open it.
    """
    trust = read_trust(repository)
    sealed = trust.cluster(name).identity
    if root.recipient not in {entry.recipient for entry in trust.root}:
        return open_sealed(repository / sealed, sealed, root)
    fix = f"a holder to whom it is sealed runs `secret-authority cluster reseal {name} --root-identity FILE`"
    return open_sealed(repository / sealed, sealed, root, fix)


def reseal_cluster(repository: Path, name: str, root: Identity) -> None:
    """Seal a cluster's identity anew to the present root recipients. Raises `InvalidInputError`.

    Only to add holders. One who is gone keeps what Git's history sealed to them, so that needs a new identity.
    """
    trust = read_trust(repository)
    sealed = trust.cluster(name).identity
    if (count_recipients(repository / sealed) or 0) >= len(trust.root):
        reason = f"is sealed to as many recipients as {TRUST_FILE} names in root, or more: no holder was only added"
        fix = f"for a retired holder run `secret-authority cluster new {name}`, see docs/runbooks/retire-a-recipient.md"
        raise InvalidInputError([Problem(sealed, "", reason, fix)])
    identity = open_cluster(repository, name, root)
    _replace(repository / sealed, seal(identity, [entry.recipient for entry in trust.root]).decode())


def _with_rule(text: str, path_regex: str, recipients: list[str]) -> str:
    """The text of .sops.yaml with a rule for `path_regex`. It takes the place of one that is there.

    A second rule would leave the first, with recipients that may be retired since, for the next reader.
    """
    rule = f"- path_regex: {path_regex}\n  encrypted_regex: ^(data|stringData)$\n  age: {','.join(recipients)}\n"
    document = next(iter(yaml.compose_all(text, yaml.SafeLoader)), None)
    fields = document.value if isinstance(document, yaml.MappingNode) else []
    rules = next((value for key, value in fields if key.value == "creation_rules"), None)
    if not isinstance(rules, yaml.SequenceNode) or rules.flow_style:
        return _insert(text, "creation_rules:", indent(rule, "  "))
    column = rules.start_mark.column
    lines = text.splitlines(keepends=True)
    for item in rules.value:
        pairs = item.value if isinstance(item, yaml.MappingNode) else []
        if any(key.value == "path_regex" and value.value == path_regex for key, value in pairs):
            first = item.start_mark.line
            deeper = takewhile(lambda line: line.startswith(" " * (column + 1)), lines[first + 1 :])
            return "".join([*lines[:first], indent(rule, " " * column), *lines[first + 1 + len(list(deeper)) :]])
    return _insert(text, "creation_rules:", indent(rule, " " * column))


def _insert(text: str, under: str, entry: str) -> str:
    """Put `entry` right below the line `under`, which is added at the end when it is not there."""
    lines = text.splitlines(keepends=True)
    for index, line in enumerate(lines):
        written = line.split("#")[0].rstrip()
        if written == under:
            return "".join([*lines[: index + 1], entry, *lines[index + 1 :]])
        if written in (f"{under} []", f"{under} null"):
            return "".join([*lines[:index], f"{under}\n", entry, *lines[index + 1 :]])
    return f"{text.rstrip()}\n{under}\n{entry}"


def _replace(file: Path, text: str) -> None:
    """Write a file whole or not at all."""
    partial = file.with_name(f".{file.name}.partial")
    partial.write_text(text)
    partial.replace(file)
