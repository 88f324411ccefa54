"""Writes recipients into root-of-trust.yaml and .sops.yaml without touching what people wrote around them."""

from __future__ import annotations

from pathlib import Path

from custody.age import Identity, open_sealed, seal
from repository.sops_rules import FILE as SOPS_FILE
from repository.trust import FILE as TRUST_FILE
from repository.trust import read_trust

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
    roots = [root.recipient for root in trust.root]
    identity = Identity.generate()
    sealed = f"clusters/{name}/identity.age"
    (repository / sealed).parent.mkdir(parents=True, exist_ok=True)
    _replace(repository / sealed, seal(identity, roots).decode())
    entry = f"  - name: {name}\n    recipient: {identity.recipient}\n    identity: {sealed}\n"
    trust_file = repository / TRUST_FILE
    _replace(trust_file, _insert(trust_file.read_text(), "clusters:", entry))
    rules = repository / SOPS_FILE
    rule = (
        f"  - path_regex: ^clusters/{name}/bootstrap/\n"
        "    encrypted_regex: ^(data|stringData)$\n"
        f"    age: {','.join([*roots, identity.recipient])}\n"
    )
    _replace(rules, _insert(rules.read_text() if rules.exists() else "creation_rules:\n", "creation_rules:", rule))
    read_trust(repository)
    return identity.recipient


def reseal_cluster(repository: Path, name: str, root: Identity) -> None:
    """Seal a cluster's identity anew to the present root recipients. Raises `InvalidInputError`."""
    trust = read_trust(repository)
    sealed = trust.cluster(name).identity
    identity = open_sealed(repository / sealed, sealed, root)
    _replace(repository / sealed, seal(identity, [entry.recipient for entry in trust.root]).decode())


def _insert(text: str, under: str, entry: str) -> str:
    """Put `entry` right below the line `under`, which is added at the end when it is not there."""
    lines = text.splitlines(keepends=True)
    for index, line in enumerate(lines):
        if line.split("#")[0].rstrip() == under:
            return "".join([*lines[: index + 1], entry, *lines[index + 1 :]])
    return f"{text.rstrip()}\n{under}\n{entry}"


def _replace(file: Path, text: str) -> None:
    """Write a file whole or not at all."""
    partial = file.with_name(f".{file.name}.partial")
    partial.write_text(text)
    partial.replace(file)
