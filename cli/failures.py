"""What ends a command, in one line: never a traceback, and never the text of an error that could hold a value."""

from __future__ import annotations

import contextlib
import os
import subprocess
import traceback
from collections.abc import Iterator
from pathlib import Path

from secret_authority.core.errors import Unavailable

# Exit code for a fault of the program itself (sysexits.h, EX_SOFTWARE).
INTERNAL = 70
INTERRUPTED = 130
PIPE_CLOSED = 141


class CommandError(Exception):
    """Ends a command with exit code 1; the message is all that it says."""


@contextlib.contextmanager
def vault_errors(undone: str) -> Iterator[None]:
    """Around a session with Vault: `CommandError` when the way there or Vault itself says no.

    `undone` begins the message for what Vault refused or did not answer.
    """
    # Their modules take longer to load than most commands run.
    from secret_authority.access.vault_tunnel import VaultSessionError
    from secret_authority.clients.vault import VaultRefusedError

    try:
        yield
    except VaultSessionError as error:
        raise CommandError(f"Vault cannot be reached: {error}") from None
    except (Unavailable, VaultRefusedError) as error:
        raise CommandError(f"{undone}: {error}") from None


# Errors of the clients, by name: their modules take longer to load than most commands run. They hold no body.
_SAID_NO = frozenset({"ApiRefusedError", "VaultRefusedError", "VaultSessionError"})


def describe(error: Exception) -> tuple[int, str]:
    """The exit code and the message for an error that no command handled."""
    module = type(error).__module__.partition(".")[0]
    status = getattr(error, "status", None)
    if module == "kubernetes" and status is not None:
        return 1, f"the API server answered {status} ({getattr(error, 'reason', '')}). Fix: check who may do this"
    if module == "kubernetes":
        return 2, f"the kubeconfig cannot be used: {error}. Fix: check --kubeconfig and --context"
    if isinstance(error, Unavailable) or type(error).__name__ in _SAID_NO:
        return 1, str(error)
    if module == "urllib3":
        return 1, f"the cluster does not answer ({type(error).__name__}). Fix: check --kubeconfig and --context"
    if isinstance(error, FileNotFoundError) and error.filename is None:
        return 1, str(error)
    if isinstance(error, FileNotFoundError) and os.sep not in str(error.filename):
        return 1, f"{error.filename} was not found. Fix: install the program, or correct the path"
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return 2, f"{where}{error.strerror[0].lower()}{error.strerror[1:]}. Fix: check the path and who may use it"
    if isinstance(error, subprocess.CalledProcessError):
        return 1, f"{Path(str(error.cmd[0])).name} ended with exit code {error.returncode}"
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(last.filename).name}:{last.lineno}"
    return INTERNAL, f"a fault of secret-authority itself: {type(error).__name__} at {place}. Please report it"
