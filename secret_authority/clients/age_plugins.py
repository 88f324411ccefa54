"""age plugins, such as those of hardware keys: they protect the file of a root identity.

The plugin is a program `age-plugin-NAME` on PATH (c2sp.org/age-plugin). It says what a person has to do, and may ask
for a PIN; the key never leaves the hardware.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any, Protocol

import pyrage
from pyrage import plugin, x25519

from secret_authority.core.errors import InvalidInputError, Problem

_PLUGIN_KEY, _PLAIN_KEY = "AGE-PLUGIN-", "AGE-SECRET-KEY-"


class Person(Protocol):
    """Whom a plugin talks to. The names are pyrage's."""

    def display_message(self, message: str) -> None: ...

    def confirm(self, message: str, yes_string: str, no_string: str | None) -> bool | None: ...

    def request_public_string(self, description: str) -> str | None: ...

    def request_passphrase(self, description: str) -> str | None: ...


def read_keys(path: Path, person: Person) -> list[Any]:
    """The identities of an age identity file: plain ones, and those of plugins. Raises `InvalidInputError`.

    A file of a plugin holds no secret: the key is in the hardware.
    """
    shown = str(path)
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "is not text"
        raise InvalidInputError([Problem(shown, "", f"cannot be read: {reason}", "check the path")]) from None
    plugins: dict[str, list[Any]] = defaultdict(list)
    found: list[Any] = []
    fix = "give the identity file that the plugin printed, such as `age-plugin-yubikey --identity > FILE`"
    for line in lines:
        try:
            if line.startswith(_PLUGIN_KEY):
                identity = plugin.Identity.from_str(line)
                plugins[identity.plugin()].append(identity)
            elif line.startswith(_PLAIN_KEY):
                found.append(x25519.Identity.from_str(line))
        except pyrage.IdentityError:
            raise InvalidInputError([Problem(shown, "", "holds a damaged age identity", fix)]) from None
    for name, identities in plugins.items():
        try:
            found.append(plugin.IdentityPluginV1(name, identities, person))
        except pyrage.DecryptError:
            raise InvalidInputError([_missing(name, shown)]) from None
    if not found:
        raise InvalidInputError([Problem(shown, "", "holds no age identity", fix)])
    return found


def unlock(content: bytes, shown: str, keys: list[Any], key_file: str) -> bytes:
    """Decrypt a file with the identities of `read_keys`. Raises `InvalidInputError`."""
    try:
        opened: bytes = pyrage.decrypt(content, keys)
    except (pyrage.DecryptError, OSError):
        fix = "connect the hardware key whose identity this is, or give the identity file of the right one"
        raise InvalidInputError([Problem(shown, "", f"does not open with {key_file}", fix)]) from None
    return opened


def read_recipient(text: str, person: Person) -> Any:
    """A recipient of age: X25519, or that of a plugin. Raises `InvalidInputError`."""
    try:
        if text.startswith("age1") and "1" in text[4:]:
            found = plugin.Recipient.from_str(text)
            return plugin.RecipientPluginV1(found.plugin(), [found], [], person)
        return x25519.Recipient.from_str(text)
    except pyrage.EncryptError:
        raise InvalidInputError([_missing(plugin.Recipient.from_str(text).plugin(), text)]) from None
    except pyrage.RecipientError:
        fix = "give what the plugin printed as the recipient of the hardware key (age1NAME1...)"
        raise InvalidInputError([Problem("the command line", "--protect-to", "is not an age recipient", fix)]) from None


def lock(content: bytes, recipient: Any) -> bytes:
    """Encrypt to a recipient of `read_recipient`, armored. Raises `InvalidInputError`."""
    try:
        sealed: bytes = pyrage.encrypt(content, [recipient], armored=True)
    except (pyrage.EncryptError, OSError):
        problem = Problem("the command line", "--protect-to", "was refused by the plugin", "check the hardware key")
        raise InvalidInputError([problem]) from None
    return sealed


def _missing(name: str, shown: str) -> Problem:
    fix = f"install age-plugin-{name}, on PATH"
    return Problem(shown, "", f"needs the program age-plugin-{name}, which is not there", fix)
