"""The commands of `secret-authority`: where each one is, and what its help says.

A command's module is imported only when the command is called, so help and small commands start at once.
"""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """`module`: a module of this package whose `register` adds the command. `help`: one line."""

    module: str
    help: str


COMMANDS = {
    "audit": Command("audit", "every change of authority, from Vault itself"),
    "check": Command("check", "check a repository as `pulumi preview` would, without a cluster"),
    "cluster": Command("trust", "cluster identities"),
    "drill": Command("drill", "what this cluster would survive now: a restore on this machine, and a report"),
    "enter": Command("enter", "give Vault a value that is issued elsewhere"),
    "ledger": Command("ledger", "every secret, its one authority, since when and why"),
    "ledger-diff": Command("ledger_diff", "which secret changes its authority between two states of Git"),
    "policy": Command("policy", "check that two systems never hold authority over one secret"),
    "pulumi": Command("pulumi", "run pulumi with the policy pack; an update always has its preview"),
    "rotate": Command("rotate", "give a secret a new value now"),
    "rotation": Command("rotate", "what is rotated when, and why; hold, resume, abort, accept"),
    "restore": Command("restore", "Vault, or one secret's older value, from a snapshot"),
    "root": Command("trust", "the offline root of trust"),
    "snapshot": Command("snapshot", "save Vault outside of its cluster, and verify what is saved"),
    "tombstone": Command("audit", "say in Git which secrets Vault has taken over; for review"),
}
