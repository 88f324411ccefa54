"""How a protected identity file is opened: by a passphrase, from the terminal or a file descriptor and never from an
argument, or by a key, such as that of a hardware key through its age plugin.
"""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from pathlib import Path

from secret_authority.clients.age import Identity, Passphrase, Unlock, read_identity
from secret_authority.clients.age_plugins import read_keys, unlock
from secret_authority.core.errors import InvalidInputError, Problem

_MOST_BYTES = 4096


def add_root_identity(parser: argparse.ArgumentParser, *, required: bool, help_text: str) -> None:
    """The options that say how a root identity is opened."""
    parser.add_argument("--root-identity", type=Path, metavar="FILE", required=required, help=help_text)
    add_passphrase_fd(parser)
    add_unlock_with(parser)


def add_unlock_with(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--unlock-with",
        type=Path,
        metavar="KEY",
        help="age identity file that opens an encrypted root identity: of a plugin (hardware key), or a plain one",
    )


def add_passphrase_fd(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--passphrase-fd",
        type=int,
        metavar="N",
        help="read the passphrase of a protected identity from this file descriptor (default: ask at the terminal)",
    )


def root_identity(options: argparse.Namespace) -> Identity:
    """The identity of `--root-identity`. Raises `InvalidInputError`."""
    return read_identity(options.root_identity, passphrase(options.passphrase_fd), unlocker(options.unlock_with))


def unlocker(key: Path | None) -> Unlock | None:
    """What opens a file that is encrypted to the identities in the file `key`; None without one."""
    if key is None:
        return None
    return lambda content, shown: unlock(content, shown, read_keys(key, AtTerminal()), str(key))


class AtTerminal:
    """The person at the terminal, for a plugin: it says what to do, and may ask for a PIN."""

    def display_message(self, message: str) -> None:
        print(_plain(message), file=sys.stderr)

    def confirm(self, message: str, yes_string: str, no_string: str | None) -> bool | None:
        if no_string is None:
            print(_plain(message), file=sys.stderr)
            return True
        answer = at_terminal(f"{_plain(message)} [1: {_plain(yes_string)}, 2: {_plain(no_string)}] ")
        return {"1": True, "2": False}.get(answer.strip())

    def request_public_string(self, description: str) -> str | None:
        return at_terminal(f"{_plain(description)}: ")

    def request_passphrase(self, description: str) -> str | None:
        return at_terminal(f"{_plain(description)}: ")


def _plain(text: str) -> str:
    """A plugin's words, without what would steer the terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


def passphrase(descriptor: int | None) -> Passphrase:
    """Where the passphrase comes from. The result raises `InvalidInputError` when it cannot be read."""
    if descriptor is not None:
        return lambda _: _from_descriptor(descriptor)
    return lambda shown: at_terminal(f"Passphrase of {shown}: ")


def new_passphrase(descriptor: int | None) -> str:
    """A passphrase for a new file: twice at the terminal, once from a file descriptor. Raises `InvalidInputError`."""
    if descriptor is not None:
        chosen = _from_descriptor(descriptor)
    else:
        chosen = at_terminal("Passphrase: ")
        if chosen != at_terminal("The same again: "):
            raise InvalidInputError([Problem("passphrase", "", "the two are different", "run the command again")])
    if not chosen:
        raise InvalidInputError([Problem("passphrase", "", "is empty", "use several random words")])
    return chosen


def _from_descriptor(descriptor: int) -> str:
    try:
        content = os.read(descriptor, _MOST_BYTES)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or "is not a file descriptor"
        fix = "give one that is open for reading, such as --passphrase-fd 3 3<FILE"
        raise InvalidInputError(
            [Problem("the command line", "--passphrase-fd", f"cannot be read: {reason}", fix)]
        ) from None
    return content.decode(errors="replace").partition("\n")[0]


def at_terminal(prompt: str) -> str:
    """Ask a person. Raises `InvalidInputError` when there is nobody to ask."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        fix = "run the command at a terminal, or give --passphrase-fd"
        raise InvalidInputError([Problem("passphrase", "", "cannot be asked for: there is no terminal", fix)]) from None
    return getpass.getpass(prompt)
