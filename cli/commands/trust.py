"""`root new`, `cluster ...`, `check`: set up trust, and see that Git fits it."""

from __future__ import annotations

import argparse
from pathlib import Path

from cli.arguments import add_kubeconfig, add_layout, layout
from cli.commands import COMMANDS, reseal_shares
from cli.custody_checklist import custody_checklist
from secret_authority.clients.age import Identity, read_identity, write_identity
from secret_authority.core.catalogue.schema import SecretClass
from secret_authority.core.errors import InvalidInputError, Problem, raise_if_any
from secret_authority.repository.intent import check_readable, read_intent
from secret_authority.repository.namespaces import check_namespaces, namespaces_folder
from secret_authority.repository.trust import read_trust
from secret_authority.repository.trust_writer import add_cluster, add_root_recipient, open_cluster, reseal_cluster


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    root = verbs.add_parser("root", help=COMMANDS["root"].help).add_subparsers(required=True, metavar="VERB")
    new = root.add_parser("new", help="make a root identity; do this offline")
    new.add_argument("--out", type=Path, required=True, help="file to write, outside of any repository")
    new.add_argument("--holder", required=True, help="who keeps this identity")
    new.add_argument("--repository", type=Path, help="write the recipient into its root-of-trust.yaml")
    new.set_defaults(run=_root_new)

    cluster = verbs.add_parser("cluster", help=COMMANDS["cluster"].help).add_subparsers(required=True, metavar="VERB")
    made = cluster.add_parser("new", help="make a cluster's identity, sealed to the root recipients")
    made.add_argument("name")
    made.add_argument("--repository", type=Path, default=Path())
    made.set_defaults(run=_cluster_new)

    again = cluster.add_parser("reseal", help="seal a cluster's identity to the present root recipients")
    again.add_argument("name")
    again.add_argument("--repository", type=Path, default=Path())
    again.add_argument("--root-identity", type=Path, required=True)
    again.set_defaults(run=_cluster_reseal)

    shares = cluster.add_parser("reseal-shares", help="seal Vault's unseal shares to the present recipients")
    shares.add_argument("name")
    shares.add_argument("--repository", type=Path, default=Path())
    shares.add_argument("--root-identity", type=Path, required=True)
    add_kubeconfig(shares)
    shares.set_defaults(run=reseal_shares.run)

    check = verbs.add_parser("check", help=COMMANDS["check"].help)
    add_layout(check)
    check.add_argument("--root-identity", type=Path, help="also decrypt every file and check its MAC")
    check.set_defaults(run=_check)


def _root_new(options: argparse.Namespace) -> int:
    identity = Identity.generate()
    write_identity(identity, options.out)
    if options.repository:
        add_root_recipient(options.repository, options.holder, identity.recipient)
    print(identity.recipient)
    print(custody_checklist(options.holder, str(options.out), identity.recipient))
    return 0


def _cluster_new(options: argparse.Namespace) -> int:
    known = {cluster.name for cluster in read_trust(options.repository).clusters}
    if options.name in known:
        fix = "choose another name; to replace its identity see docs/runbooks/retire-a-recipient.md"
        raise InvalidInputError([Problem("root-of-trust.yaml", "clusters", f"has {options.name} already", fix)])
    print(add_cluster(options.repository, options.name))
    return 0


def _cluster_reseal(options: argparse.Namespace) -> int:
    reseal_cluster(options.repository, options.name, read_identity(options.root_identity))
    return 0


def _check(options: argparse.Namespace) -> int:
    intent = read_intent(options.repository, layout(options))
    raise_if_any(check_namespaces(options.repository, namespaces_folder(options.cluster)))
    depth = "headers only; give --root-identity to check each MAC"
    if options.root_identity:
        root = read_identity(options.root_identity)
        check_readable(intent, open_cluster(options.repository, options.cluster, root))
        depth = "every file decrypted, every MAC fits"
    born = len(intent.catalogue.of_class(SecretClass.BOOTSTRAP))
    print(f"{len(intent.catalogue.secrets)} secrets, {born} of them in Git, {len(intent.encrypted)} files: {depth}")
    return 0
