"""Looks for secret values, in the forms in which they could leak, in bytes of any kind."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote_from_bytes

# Long values are looked for by parts, so that a wrapped or cut copy is found too.
_PART = 24
_LONG = 64
_CHUNK = 8 * 1024 * 1024


@dataclass(frozen=True)
class Hit:
    """A value was found. `where` is a file, an object or the like; the value itself is not repeated."""

    name: str
    place: str
    where: str


class Canaries:
    """Values by name, each with its forms: as it is, base64 at all three offsets, base64 twice, hex, URL-quoted."""

    def __init__(self, values: Mapping[str, bytes]) -> None:
        self._forms = {name: tuple(sorted(_forms(value))) for name, value in values.items()}

    def search(self, place: str, texts: Iterable[tuple[str, bytes]]) -> Iterator[Hit]:
        """Every value that stands in a text of (where, bytes), once for each text."""
        for where, text in texts:
            for name, forms in self._forms.items():
                if any(form in text for form in forms):
                    yield Hit(name, place, where)


def _forms(value: bytes) -> Iterator[bytes]:
    parts = [value]
    if len(value) > _LONG:
        parts = [value[start : start + _PART] for start in range(0, len(value) - _PART + 1, _PART)]
        parts = [part for part in parts if b"-----" not in part]
    for part in parts:
        yield part
        for offset in range(3):
            encoded = _inner_base64(part, offset)
            yield encoded
            yield encoded.replace(b"+", b"-").replace(b"/", b"_")
            yield _inner_base64(encoded, 0)
        yield part.hex().encode()
        yield part.hex().upper().encode()
        if not part.isalnum():
            yield quote_from_bytes(part).encode()


def _inner_base64(value: bytes, offset: int) -> bytes:
    """The characters that stand in base64 text when the value begins `offset` bytes into a group of three."""
    encoded = base64.b64encode(b"\0" * offset + value).rstrip(b"=")
    begin = (0, 2, 3)[offset]
    # The last character may carry bits of what follows.
    end = len(encoded) if (offset + len(value)) % 3 == 0 else len(encoded) - 1
    return encoded[begin:end]


def files(folder: Path, *without: str) -> Iterator[tuple[str, bytes]]:
    """Every regular file below a folder, in overlapping chunks; folders of the given names are passed over."""
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_symlink() or not path.is_file() or any(part in without for part in inside.parts):
            continue
        yield from _chunks(path)


def _chunks(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with path.open("rb") as file:
            tail = b""
            while chunk := file.read(_CHUNK):
                yield str(path), tail + chunk
                tail = chunk[-1024:]
    except FileNotFoundError:
        return


def git_objects(repository: Path) -> Iterator[tuple[str, bytes]]:
    """Every object of a Git repository, reachable or not, with its content."""
    done = subprocess.run(
        ["git", "-C", str(repository), "cat-file", "--batch", "--batch-all-objects"], capture_output=True, check=True
    )
    yield f"objects of {repository.name}", done.stdout


def processes(pids: Iterable[int]) -> Iterator[tuple[str, bytes]]:
    """Arguments and environment of processes. One that has ended meanwhile is passed over."""
    for pid in pids:
        for part in ("cmdline", "environ"):
            try:
                yield f"{part} of process {pid}", Path(f"/proc/{pid}/{part}").read_bytes()
            except OSError:
                continue
