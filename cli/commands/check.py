"""`check`: see that a repository is right, as `pulumi preview` would, without a cluster."""

from __future__ import annotations

import argparse
import json

from cli.arguments import add_layout, layout
from cli.commands import COMMANDS
from cli.passphrase import add_root_identity, root_identity
from secret_authority.core.catalogue.schema import SecretClass
from secret_authority.core.errors import InvalidInputError, Problem, raise_if_any
from secret_authority.engine.rotation.rotators import registry
from secret_authority.repository.intent.intent import Intent, check_readable, read_intent
from secret_authority.repository.namespaces import check_namespaces, namespaces_folder
from secret_authority.repository.trust.cluster_identity import open_cluster
from secret_authority.repository.trust.share_export import read_export


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    check = verbs.add_parser("check", help=COMMANDS["check"].help)
    add_layout(check)
    add_root_identity(check, required=False, help_text="also decrypt every file and check MACs and admission")
    check.add_argument("--root-of-trust", metavar="DIGEST", help="refuse other recipients than those of this digest")
    check.add_argument("-o", "--output", choices=["text", "json"], default="text")
    check.set_defaults(run=_check)


def _check(options: argparse.Namespace) -> int:
    intent = read_intent(options.repository, layout(options))
    raise_if_any(check_namespaces(options.repository, namespaces_folder(options.cluster)))
    raise_if_any(registry.check(intent.catalogue, intent.layout.catalogue))
    digest = intent.trust.digest(options.cluster)
    if options.root_of_trust not in (None, digest):
        fix = "find in Git's history who changed the recipients; if it was right, use the new digest"
        raise InvalidInputError([Problem("root-of-trust.yaml", "", f"has the digest {digest}, not the given one", fix)])
    if options.root_identity:
        root = root_identity(options)
        check_readable(intent, open_cluster(options.repository, options.cluster, root), root)
    _report(options, intent, digest)
    return 0


def _report(options: argparse.Namespace, intent: Intent, digest: str) -> None:
    born, opened = len(intent.catalogue.of_class(SecretClass.BOOTSTRAP)), bool(options.root_identity)
    if options.output == "json":
        counts = {"secrets": len(intent.catalogue.secrets), "inGit": born, "files": len(intent.encrypted)}
        shares = len((read_export(options.repository, options.cluster) or ((), 0))[0])
        answer = {**counts, "decrypted": opened, "rootOfTrust": digest, "unsealShares": shares}
        print(json.dumps(answer, indent=2))
        return
    depth = (
        "every file decrypted, every MAC fits, the recipients are admitted"
        if opened
        else "headers only; give --root-identity to check each MAC, and that a root holder admitted the recipients"
    )
    print(f"{len(intent.catalogue.secrets)} secrets, {born} of them in Git, {len(intent.encrypted)} files: {depth}")
    print(f"root of trust {digest}")
    exported = read_export(options.repository, options.cluster)
    if exported:
        print(f"unseal shares in Git: {len(exported[0])}, {exported[1]} of them open the Vault that they are of")
