"""age identities: made offline, kept offline, opened for one run.

age-encryption.org/v1 through pyrage, the bindings of the Rust implementation. An identity file has the
form that `age-keygen` writes: comment lines and one AGE-SECRET-KEY-1... line. It may be protected by a passphrase, as
`age --passphrase` does it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pyrage
from pyrage import passphrase as age_passphrase
from pyrage import x25519

from secret_authority.clients.age_header import is_sealed, parse_header
from secret_authority.core.errors import InvalidInputError, Problem

# How the message begins when scrypt's work factor is far above what takes a second on this machine.
_TOO_MUCH_WORK = "Excessive work"

# Gives the passphrase of a protected identity file, whose name it gets. Raises `InvalidInputError` when it cannot.
Passphrase = Callable[[str], str]
# Opens a file that is encrypted to a key, from its content and its name. Raises `InvalidInputError` when it cannot.
Unlock = Callable[[bytes, str], bytes]


@dataclass(frozen=True)
class Identity:
    """An age identity in memory. Its secret is left out of repr()."""

    recipient: str
    secret: str = field(repr=False)

    @classmethod
    def generate(cls) -> Identity:
        """A new X25519 identity, from the system's random source (age-encryption.org/v1, "X25519 recipient")."""
        made = x25519.Identity.generate()
        return cls(str(made.to_public()), str(made))

    @classmethod
    def parse(cls, text: str, file: str) -> Identity:
        """Read an identity file. Raises `InvalidInputError` that names `file`, never its content."""
        lines = [line.strip() for line in text.splitlines()]
        keys = [line for line in lines if line and not line.startswith("#")]
        fix = "give the file that `secret-authority root new` wrote"
        if len(keys) != 1:
            raise InvalidInputError([Problem(file, "", f"holds {len(keys)} age identities, not one", fix)])
        try:
            return cls(str(x25519.Identity.from_str(keys[0]).to_public()), keys[0])
        except pyrage.IdentityError:
            raise InvalidInputError([Problem(file, "", "is not an age identity file", fix)]) from None

    def as_file(self) -> str:
        """The text of an identity file, as `age-keygen` writes it."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return f"# created: {now}\n# public key: {self.recipient}\n{self.secret}\n"


def read_identity(path: Path, passphrase: Passphrase | None = None, unlock: Unlock | None = None) -> Identity:
    """Read an identity from a file that only its owner can read, or from a pipe. Raises `InvalidInputError`.

    `passphrase` is asked for a file that is protected by one, `unlock` for one that is encrypted to a key; without them
    such a file is refused.
    """
    shown = str(path)
    try:
        mode = path.stat().st_mode
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "is not a file name"
        raise InvalidInputError([Problem(shown, "", f"cannot be read: {reason}", "check the path")]) from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InvalidInputError([Problem(shown, "", "can be read by others than its owner", f"chmod 600 {path}")])
    if is_sealed(content):
        content = _unprotect(content, shown, passphrase, unlock)
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise InvalidInputError([Problem(shown, "", "cannot be read: is not text", "check the path")]) from None
    return Identity.parse(text, shown)


def _unprotect(content: bytes, shown: str, passphrase: Passphrase | None, unlock: Unlock | None) -> bytes:
    header = parse_header(content)
    if header is None:
        raise InvalidInputError([Problem(shown, "", "is a damaged age file", "take another copy of the identity")])
    if [stanza.kind for stanza in header.stanzas] != ["scrypt"]:
        if unlock is not None:
            return unlock(content, shown)
        fix = f"name that key: --unlock-with KEY; or give a pipe of age: <(age --decrypt --identity KEY {shown})"
        raise InvalidInputError([Problem(shown, "", "is encrypted to a key and not with a passphrase", fix)])
    if passphrase is None:
        fix = "use `secret-authority pulumi`, which asks for the passphrase"
        raise InvalidInputError(
            [Problem(shown, "", "is protected by a passphrase, which cannot be asked for here", fix)]
        )
    try:
        opened: bytes = age_passphrase.decrypt(content, passphrase(shown))
    except pyrage.DecryptError as error:
        problem = Problem(shown, "", "does not open with this passphrase", "try again")
        if str(error).startswith(_TOO_MUCH_WORK):
            reason = "was protected on a faster machine: opening it takes longer than age allows here at the moment"
            problem = Problem(shown, "", reason, "try again when the machine is idle, or open it with age into a pipe")
        raise InvalidInputError([problem]) from None
    return opened


def write_identity(
    identity: Identity, path: Path, passphrase: str | None = None, lock: Callable[[bytes], bytes] | None = None
) -> None:
    """Write an identity file with mode 0600, protected by `passphrase` or encrypted by `lock` if there is one.

    Refuses an existing file and any place inside a Git work tree. Raises `InvalidInputError`; nothing is written then.
    """
    content = identity.as_file().encode()
    if lock is not None:
        content = lock(content)
    elif passphrase is not None:
        content = age_passphrase.encrypt(content, passphrase, armored=True)
    write_private(content, path)


def write_private(content: bytes, path: Path) -> None:
    """Write a new file with mode 0600, outside of every Git work tree. Raises `InvalidInputError`."""
    if _inside_git(path):
        fix = "choose a place outside of every repository, best a removable disk of an offline machine"
        raise InvalidInputError([Problem(str(path), "", "is inside a Git work tree", fix)])
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "is not a file name"
        raise InvalidInputError(
            [Problem(str(path), "", f"cannot be created: {reason}", "choose a new file; none is overwritten")]
        ) from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def is_recipient(text: str) -> bool:
    """Whether a text is an X25519 recipient, checksum included (BIP 173)."""
    try:
        x25519.Recipient.from_str(text)
    except (pyrage.RecipientError, UnicodeEncodeError):  # a command's argument may be bytes that are no text
        return False
    return True


def seal(identity: Identity, recipients: list[str]) -> bytes:
    """Encrypt a (cluster) identity to root recipients; armored, so that Git shows it as text.

    Raises `pyrage.RecipientError` for what is no age recipient, and `pyrage.EncryptError` for an empty list.
    """
    to = [x25519.Recipient.from_str(recipient) for recipient in recipients]
    sealed: bytes = pyrage.encrypt(identity.as_file().encode(), to, armored=True)
    return sealed


def count_recipients(path: Path) -> int | None:
    """To how many X25519 recipients a sealed file is encrypted; None when it is no readable age file.

    The header is public, and names nobody. Stanzas of other types, such as grease, are passed over.
    """
    try:
        header = parse_header(path.read_bytes())
    except OSError:
        return None
    return None if header is None else sum(stanza.kind == "X25519" for stanza in header.stanzas)


def open_sealed(
    path: Path,
    shown: str,
    root: Identity,
    fix: str = "give the identity of one of the root recipients in root-of-trust.yaml",
) -> Identity:
    """Open a sealed identity with a root identity. Raises `InvalidInputError` for a wrong key, with `fix`."""
    try:
        sealed = path.read_bytes()
    except OSError as error:
        raise InvalidInputError(
            [Problem(shown, "", f"cannot be read: {error.strerror}", "run `secret-authority cluster new NAME`")]
        ) from None
    try:
        text = pyrage.decrypt(sealed, [x25519.Identity.from_str(root.secret)])
    except pyrage.DecryptError:
        raise InvalidInputError(
            [
                Problem(
                    shown,
                    "",
                    f"cannot be opened by the given root identity ({root.recipient})",
                    fix,
                )
            ]
        ) from None
    return Identity.parse(text.decode(errors="replace"), shown)


def open_data_key(sealed: str, identity: Identity) -> bytes | None:
    """The data key of a SOPS file, from the stanza of this identity. None when the stanza does not open with it."""
    try:
        key: bytes = pyrage.decrypt(sealed.strip().encode(), [x25519.Identity.from_str(identity.secret)])
    except pyrage.DecryptError:
        return None
    return key


def _inside_git(path: Path) -> bool:
    """Whether a folder above is the top of a Git work tree. Git itself need not be installed on an offline machine."""
    return any((parent / ".git").exists() for parent in path.absolute().parents) or any(
        (parent / ".git").exists() for parent in path.resolve().parents
    )
