"""age identities: made offline, kept offline, opened for one run.

age-encryption.org/v1 through pyrage, the bindings of the Rust implementation. An identity file has the
form that `age-keygen` writes: comment lines and one AGE-SECRET-KEY-1... line.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pyrage
from pyrage import x25519

from secret_authority.core.errors import InvalidInputError, Problem

_ARMOR_BEGIN, _ARMOR_END = b"-----BEGIN AGE ENCRYPTED FILE-----", b"-----END AGE ENCRYPTED FILE-----"


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
            raise InvalidInputError([Problem(file, "", "is no age identity file", fix)]) from None

    def as_file(self) -> str:
        """The text of an identity file, as `age-keygen` writes it."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return f"# created: {now}\n# public key: {self.recipient}\n{self.secret}\n"


def read_identity(path: Path) -> Identity:
    """Read an identity from a file that only its owner can read. Raises `InvalidInputError`."""
    try:
        mode = path.stat().st_mode
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not text"
        raise InvalidInputError([Problem(str(path), "", f"cannot be read: {reason}", "check the path")]) from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InvalidInputError([Problem(str(path), "", "can be read by others than its owner", f"chmod 600 {path}")])
    return Identity.parse(text, str(path))


def write_identity(identity: Identity, path: Path) -> None:
    """Write an identity file with mode 0600. Refuses an existing file and any place inside a Git work tree.

    Raises `InvalidInputError`; nothing is written then.
    """
    if _inside_git(path):
        fix = "choose a place outside of every repository, best a removable disk of an offline machine"
        raise InvalidInputError([Problem(str(path), "", "lies inside a Git work tree", fix)])
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InvalidInputError(
            [Problem(str(path), "", f"cannot be made: {error.strerror}", "choose a new file; none is overwritten")]
        ) from None
    with os.fdopen(descriptor, "w") as file:
        file.write(identity.as_file())


def seal(identity: Identity, recipients: list[str]) -> bytes:
    """Encrypt a (cluster) identity to root recipients; armored, so that Git shows it as text.

    Raises `pyrage.RecipientError` for what is no age recipient, and `pyrage.EncryptError` for an empty list.
    """
    to = [x25519.Recipient.from_str(recipient) for recipient in recipients]
    sealed: bytes = pyrage.encrypt(identity.as_file().encode(), to, armored=True)
    return sealed


def count_recipients(path: Path) -> int | None:
    """To how many X25519 recipients a sealed file is encrypted; None when it is no readable age file.

    The header is public, and names nobody: each stanza starts with "-> X25519" (age-encryption.org/v1, "Header";
    armor: "ASCII armor"). Stanzas of other types, such as grease, are passed over.
    """
    try:
        content = path.read_bytes().strip()
        if content.startswith(_ARMOR_BEGIN) and content.endswith(_ARMOR_END):
            content = base64.b64decode(content[len(_ARMOR_BEGIN) : -len(_ARMOR_END)])
    except (OSError, binascii.Error):
        return None
    header, end, _ = content.partition(b"\n--- ")
    if not end or not header.startswith(b"age-encryption.org/v1\n"):
        return None
    return sum(line.startswith(b"-> X25519 ") for line in header.splitlines())


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
    return Identity.parse(text.decode(), shown)


def _inside_git(path: Path) -> bool:
    done = subprocess.run(
        ["git", "-C", str(path.resolve().parent), "rev-parse", "--is-inside-work-tree"],
        capture_output=True,
        check=False,
    )
    return done.returncode == 0
