"""`root ...`, `cluster ...`: set up trust."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from cli.arguments import add_kubeconfig
from cli.commands import COMMANDS
from cli.custody_checklist import custody_checklist
from cli.passphrase import AtTerminal, add_passphrase_fd, add_root_identity, new_passphrase, root_identity
from secret_authority.clients.age import Identity, is_recipient, open_sealed, seal, write_identity, write_private
from secret_authority.clients.age_plugins import lock, read_recipient
from secret_authority.core.errors import InvalidInputError, Problem
from secret_authority.repository.files.replace import replace_all
from secret_authority.repository.trust.root_of_trust import read_trust
from secret_authority.repository.trust.writer import (
    add_cluster,
    add_root_recipient,
    admit_cluster,
    reseal_cluster,
    with_holder,
)

_OPENS = "identity file of a root holder; may be protected by a passphrase"


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    _register_root(verbs.add_parser("root", help=COMMANDS["root"].help))
    _register_cluster(verbs.add_parser("cluster", help=COMMANDS["cluster"].help))


def _register_root(root: argparse.ArgumentParser) -> None:
    verbs = root.add_subparsers(required=True, metavar="VERB")
    new = verbs.add_parser("new", help="make a root identity; do this offline")
    new.add_argument("--out", type=Path, required=True, help="file to write, outside of any repository")
    new.add_argument("--holder", required=True, help="who keeps this identity")
    new.add_argument("--repository", type=Path, help="write the recipient into its root-of-trust.yaml")
    new.add_argument("--passphrase", action="store_true", help="protect the file by a passphrase")
    add_passphrase_fd(new)
    new.add_argument(
        "--protect-to", metavar="RECIPIENT", help="encrypt the file to an age recipient, such as that of a hardware key"
    )
    new.set_defaults(run=_root_new)

    add = verbs.add_parser("add", help="name a new holder by their recipient; a present holder then admits them")
    add.add_argument("--holder", required=True, help="who keeps the identity")
    add.add_argument("--recipient", required=True, help="what `root new` printed for the holder")
    add.add_argument("--repository", type=Path, default=Path(), help="a checkout (default: this folder)")
    add.set_defaults(run=_root_add)

    rewrap = verbs.add_parser("rewrap", help="offline: seal a cluster's identity to a one-time recipient")
    rewrap.add_argument("--in", dest="sealed", type=Path, required=True, help="the cluster's identity.age")
    rewrap.add_argument("--out", type=Path, required=True, help="file to write, for the machine that asked")
    rewrap.add_argument("--to", required=True, metavar="RECIPIENT", help="what `cluster request` printed")
    add_root_identity(rewrap, required=True, help_text=_OPENS)
    rewrap.set_defaults(run=_root_rewrap)


def _register_cluster(cluster: argparse.ArgumentParser) -> None:
    verbs = cluster.add_subparsers(required=True, metavar="VERB")

    def verb(name: str, text: str, *, root: bool = True) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=text)
        made.add_argument("name", help="the cluster, as in root-of-trust.yaml")
        made.add_argument("--repository", type=Path, default=Path(), help="a checkout (default: this folder)")
        if root:
            add_root_identity(made, required=True, help_text=_OPENS)
        return made

    verb("new", "make a cluster's identity, sealed to the root recipients", root=False).set_defaults(run=_cluster_new)
    again = verb("reseal", "seal a cluster's identity to new root holders as well, and admit them")
    again.set_defaults(run=_cluster_reseal)
    admit = verb("admit", "admit the present root recipients, after a look at each")
    admit.set_defaults(run=_cluster_admit)
    for made in (again, admit):
        made.add_argument(
            "--admit",
            action="append",
            default=[],
            metavar="RECIPIENT",
            help="a recipient, as its holder gave it",
        )
    request = verbs.add_parser("request", help="make a one-time identity, to get a cluster's identity from a holder")
    request.add_argument("--out", type=Path, required=True, help="file for the one-time identity; remove it afterwards")
    request.set_defaults(run=_cluster_request)

    shares = verb("reseal-shares", "seal Vault's unseal shares to the present recipients")
    shares.add_argument(
        "--sealed", type=Path, action="append", default=[], help="a cluster identity that `root rewrap` sealed"
    )
    add_kubeconfig(shares)
    shares.set_defaults(run=_reseal_shares)
    export = verb("export-shares", "write Vault's unseal shares, which are ciphertext, into the repository", root=False)
    export.add_argument("--check", action="store_true", help="write nothing; say whether Git has the present shares")
    add_kubeconfig(export)
    export.set_defaults(run=_export_shares)
    restore = verb("restore-shares", "put exported unseal shares back into a cluster that has lost them", root=False)
    add_kubeconfig(restore)
    restore.set_defaults(run=_restore_shares)


def _reseal_shares(options: argparse.Namespace) -> int:
    from cli.commands import reseal_shares  # loads the client of Kubernetes

    return reseal_shares.run(options)


def _export_shares(options: argparse.Namespace) -> int:
    from cli.commands import export_shares  # loads the client of Kubernetes

    return export_shares.run(options)


def _restore_shares(options: argparse.Namespace) -> int:
    from cli.commands import restore_shares  # loads the client of Kubernetes

    return restore_shares.run(options)


def _root_new(options: argparse.Namespace) -> int:
    identity = Identity.generate()
    # Everything that can be wrong is found before the identity is written.
    files = with_holder(options.repository, options.holder, identity.recipient) if options.repository else {}
    protected = options.passphrase or options.passphrase_fd is not None
    if protected and options.protect_to:
        fix = "choose one: a file has one protection"
        raise InvalidInputError([Problem("the command line", "--protect-to", "is given with a passphrase", fix)])
    recipient = read_recipient(options.protect_to, AtTerminal()) if options.protect_to else None
    write_identity(
        identity,
        options.out,
        new_passphrase(options.passphrase_fd) if protected else None,
        partial(lock, recipient=recipient) if recipient else None,
    )
    try:
        replace_all(files)
    except InvalidInputError:
        options.out.unlink()  # nobody knows its recipient yet
        raise
    print(identity.recipient)
    print(custody_checklist(options.holder, str(options.out), identity.recipient))
    return 0


def _root_add(options: argparse.Namespace) -> int:
    add_root_recipient(options.repository, options.holder, options.recipient)
    print(
        f"{options.holder} is named. Now a present holder runs, for each cluster: secret-authority cluster reseal NAME "
        f"--root-identity FILE --admit {options.recipient}",
        file=sys.stderr,
    )
    return 0


def _root_rewrap(options: argparse.Namespace) -> int:
    if not is_recipient(options.to):
        fix = "give the recipient that `secret-authority cluster request` printed"
        raise InvalidInputError([Problem("the command line", "--to", "is not an age recipient (age1...)", fix)])
    identity = open_sealed(options.sealed, str(options.sealed), root_identity(options))
    write_private(seal(identity, [options.to]), options.out)
    print(identity.recipient)
    return 0


def _cluster_request(options: argparse.Namespace) -> int:
    identity = Identity.generate()
    write_identity(identity, options.out)
    print(identity.recipient)
    return 0


def _cluster_new(options: argparse.Namespace) -> int:
    recipient = add_cluster(options.repository, options.name)
    print(recipient)
    _print_holders(options)
    return 0


def _cluster_reseal(options: argparse.Namespace) -> int:
    reseal_cluster(options.repository, options.name, root_identity(options), options.admit)
    _print_holders(options)
    return 0


def _cluster_admit(options: argparse.Namespace) -> int:
    admit_cluster(options.repository, options.name, root_identity(options), options.admit)
    _print_holders(options)
    return 0


def _print_holders(options: argparse.Namespace) -> None:
    for recipient, holder in read_trust(options.repository).holders().items():
        print(f"admitted to cluster {options.name}: {holder} {recipient}", file=sys.stderr)
