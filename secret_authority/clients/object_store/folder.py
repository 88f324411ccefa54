"""A mounted folder as a store, such as NFS.

The folder has to hold a file `secret-authority-store`, which whoever sets up the store makes: an empty mount point
is a folder, too, and what is written there is lost with the machine. Objects are readable by their owner only.
"""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path

from secret_authority.clients.object_store import (
    ObjectExistsError,
    ObjectMissingError,
    StoredObject,
    StoreRefusedError,
    check_key,
    check_prefix,
)
from secret_authority.core.errors import Unavailable

MARKER = "secret-authority-store"
# No key begins with a dot, so that these are no objects.
_PARTIAL = ".partial-"
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)


class FolderStore:
    """`ObjectStore` in a folder, and `ObjectDeleter` where its file permissions allow that."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put_new(self, key: str, content: bytes) -> None:
        """A hard link makes the object appear whole and never over another one (link(2), also atomic on NFS)."""
        path = self._path(key)
        partial = path.with_name(f"{_PARTIAL}{secrets.token_hex(8)}")
        try:
            self._make_parents(path.parent)
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                self._link(partial, path, key)
            finally:
                partial.unlink(missing_ok=True)
            _sync(path.parent)
        except OSError as error:
            raise _said(error, f"writing {key}") from None

    def get(self, key: str) -> bytes:
        try:
            return self._path(key).read_bytes()
        except FileNotFoundError:
            raise ObjectMissingError(f"{key} is not in {self._folder}") from None
        except OSError as error:
            raise _said(error, f"reading {key}") from None

    def list(self, prefix: str) -> list[StoredObject]:
        check_prefix(prefix)
        self._present()
        found: list[StoredObject] = []
        top = self._folder / prefix

        def fail(error: OSError) -> None:
            # An unreadable folder is not an empty one.
            if error.filename != str(top) or not isinstance(error, FileNotFoundError):
                raise error

        try:
            for folder, _, files in os.walk(top, onerror=fail):
                for name in files:
                    path = Path(folder) / name
                    if not name.startswith("."):
                        found.append(StoredObject(str(path.relative_to(self._folder)), path.stat().st_size))
        except OSError as error:
            raise _said(error, f"listing {prefix}") from None
        return sorted(found, key=lambda one: one.key)

    def delete(self, key: str) -> None:
        try:
            self._path(key).unlink(missing_ok=True)
        except OSError as error:
            raise _said(error, f"deleting {key}") from None

    def _path(self, key: str) -> Path:
        self._present()
        return self._folder / check_key(key)

    def _present(self) -> None:
        try:
            there = (self._folder / MARKER).is_file()
        except OSError as error:
            raise _said(error, "looking for it") from None
        if not there:
            raise Unavailable(f"{self._folder} has no file {MARKER}: it is not mounted, or was never set up as a store")

    def _make_parents(self, folder: Path) -> None:
        """Make the folders of a key, each durable in the one above it."""
        missing = [one for one in (folder, *folder.parents) if one.is_relative_to(self._folder) and not one.exists()]
        for one in reversed(missing):
            one.mkdir(mode=0o700, exist_ok=True)
            _sync(one.parent)

    def _link(self, partial: Path, path: Path, key: str) -> None:
        try:
            os.link(partial, path)
        except FileExistsError:
            # Over NFS the answer to a link that was made may be lost; asked again, the server says that it is there.
            if partial.stat().st_nlink != 2:
                raise ObjectExistsError(f"{key} is in {self._folder} already; it was not changed") from None


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _said(error: OSError, what: str) -> Exception:
    reason = f"{what} failed: {error.strerror or type(error).__name__}"
    return StoreRefusedError(reason) if error.errno in _REFUSED else Unavailable(reason)
