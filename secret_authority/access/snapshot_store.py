"""The store of a cluster's snapshots, with the credentials that a person gives."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path

import yaml

from secret_authority.clients.object_store.folder import FolderStore
from secret_authority.clients.object_store.s3 import S3Credentials, S3Store
from secret_authority.contract.names import ACCESS_KEY_ID, SECRET_ACCESS_KEY
from secret_authority.core.errors import InvalidInputError, Problem
from secret_authority.repository.layout import Layout
from secret_authority.repository.snapshot_settings import read_snapshot_settings, settings_file

_FIELDS = {ACCESS_KEY_ID, SECRET_ACCESS_KEY}


def open_store(root: Path, layout: Layout, credentials: Path | None, option: str) -> FolderStore | S3Store:
    """The store that snapshots.yaml names. `option` is the one that `credentials` came from.

    Raises `InvalidInputError`: without the file, and without credentials where the store asks for them.
    """
    settings = read_snapshot_settings(root, layout)
    if settings is None:
        fix = "write it as docs/snapshots.md says; without it no change since phase 3 is saved"
        raise InvalidInputError([Problem(settings_file(layout), "", "does not exist", fix)])
    if settings.store.s3 is None:
        return FolderStore(Path(str(settings.store.folder)))
    if credentials is None:
        fix = f"give {option} FILE, or pipe what `sops decrypt` prints to {option} /dev/stdin"
        raise InvalidInputError([Problem("the command", option, "is missing: the store asks for credentials", fix)])
    s3 = settings.store.s3
    return S3Store(s3.endpoint, s3.bucket, s3.region, read_credentials(credentials), s3.ca, s3.path_style)


def read_credentials(path: Path) -> S3Credentials:
    """A file that only its owner can read, or a pipe. Raises `InvalidInputError`, which never quotes it."""
    shown = str(path)
    try:
        mode, text = path.stat().st_mode, path.read_text()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "is not a text file"
        raise InvalidInputError([Problem(shown, "", f"cannot be read: {reason}", "check the path")]) from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InvalidInputError([Problem(shown, "", "can be read by others than its owner", f"chmod 600 {path}")])
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        found = None
    if not isinstance(found, Mapping) or set(found) != _FIELDS or not all(isinstance(v, str) for v in found.values()):
        fix = f"write two texts, {ACCESS_KEY_ID} and {SECRET_ACCESS_KEY}, and nothing else"
        raise InvalidInputError([Problem(shown, "", "does not hold the credentials of a store", fix)])
    return S3Credentials(found[ACCESS_KEY_ID], found[SECRET_ACCESS_KEY])
