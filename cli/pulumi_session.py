"""A session with Vault for runs of pulumi that read resources before the program starts: `refresh`, `up --refresh`.

The program opens its session when it changes something in Vault (secret_authority/access/vault_session.py). A
refresh comes before that, or without the program, so `secret-authority pulumi` opens the session first.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cli.pulumi_flags import is_on, variable_is_on
from components.settings.stack import HOME
from secret_authority.access.kubeconfig import ClusterConnection
from secret_authority.access.vault_session import OPEN_VARIABLE, Session, configurator, held_session
from secret_authority.access.vault_tunnel import VaultSessionError

_REFRESH = "refresh"
_MAY_REFRESH = frozenset({"up", "update", "preview", "pre", "destroy", "down", "dn"})
_VARIABLE = "PULUMI_OPTION_REFRESH"
# How long Vault may take to answer, in seconds: nobody has just started it.
_PATIENCE = 15.0
VAULT_RESOURCES = "**vault:**"


class NoVaultError(Exception):
    """Vault does not answer and the run cannot do without it. The message has the way out."""


def reads_first(arguments: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Whether these arguments make pulumi read the resources of the stack before the program runs."""
    if _REFRESH in arguments:
        return True
    if not _MAY_REFRESH & set(arguments):
        return False
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name in ("--refresh", "-r") and is_on(value):
            return True
    return variable_is_on(environment, _VARIABLE)


def wanted_session(program: str, arguments: Sequence[str]) -> Session | None:
    """The session that the stack's providers need, None when nothing of the stack is in Vault."""
    export = [program, *_place(arguments), "stack", "export"]
    done = subprocess.run(export, text=True, capture_output=True, check=False)
    if done.returncode:
        return None  # pulumi itself says what is wrong with the stack
    resources = (json.loads(done.stdout).get("deployment") or {}).get("resources") or []
    vault = _inputs(resources, "pulumi:providers:vault")
    cluster = _inputs(resources, "pulumi:providers:kubernetes")
    if vault is None or cluster is None:
        return None
    folder = HOME / Path(json.loads(vault["authLoginTokenFile"])["filename"]).parent
    connection = ClusterConnection(Path(cluster["kubeconfig"]), cluster.get("context"))
    port = int(str(vault["address"]).rpartition(":")[2])
    return configurator(connection, folder, port, patience=_PATIENCE)


@contextlib.contextmanager
def around(session: Session, arguments: Sequence[str]) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Hold the session; yields the arguments and what to add to the environment.

    A plain refresh continues without a Vault that does not answer, and leaves out what is in it. Raises
    `NoVaultError` for other runs: what they leave out would not be made either.
    """
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(held_session(session))
        except VaultSessionError as error:
            if _REFRESH not in arguments:
                fix = "run it without --refresh, or bring Vault into service first (docs/runbooks/unseal.md)"
                raise NoVaultError(f"{error}. Fix: {fix}.") from None
            print(f"{error}. What is in Vault is left out; refresh again when Vault is in service.")
            yield [*arguments, "--exclude", VAULT_RESOURCES], {}
        else:
            yield list(arguments), {OPEN_VARIABLE: str(os.getpid())}


def _place(arguments: Sequence[str]) -> list[str]:
    """The arguments that say which stack is meant."""
    found: list[str] = []
    for number, argument in enumerate(arguments):
        name, equals, _ = argument.partition("=")
        if name in ("--stack", "-s", "--cwd", "-C"):
            found += [argument] if equals else list(arguments[number : number + 2])
    return found


def _inputs(resources: Sequence[Mapping[str, Any]], kind: str) -> Mapping[str, Any] | None:
    return next((resource["inputs"] for resource in resources if resource["type"] == kind), None)
