"""Looks for secret values, in the forms in which they could leak, in bytes of any kind."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote_from_bytes

# A shorter value would be found by chance.
_SHORT = 12
# Long values are looked for by parts, so that a wrapped or cut copy is found too.
_PART = 24
_LONG = 64
# Texts that grep looks through at once, in bytes.
BATCH = 8 * 1024 * 1024


@dataclass(frozen=True)
class Hit:
    """A value was found. `where` is a file, an object or the like; the value itself is not repeated."""

    name: str
    place: str
    where: str


class Canaries:
    """Values by name, each with its forms: as it is, base64 at all three offsets, base64 twice, hex, URL-quoted.

    Raises `ValueError` for a value of less than 12 bytes.
    """

    def __init__(self, values: Mapping[str, bytes]) -> None:
        short = sorted(name for name, value in values.items() if len(value) < _SHORT)
        if short:
            raise ValueError(f"values too short to be looked for: {', '.join(short)}")
        self._forms = {name: tuple(sorted(set(_forms(value)))) for name, value in values.items()}
        # In memory, because these are secrets: neither a file nor an argument holds them.
        self._patterns = os.fdopen(os.memfd_create("patterns"), "wb")
        self._patterns.write(b"\n".join(sorted({_line(f) for forms in self._forms.values() for f in forms})) + b"\n")
        self._patterns.flush()

    def search(self, place: str, texts: Iterable[tuple[str, bytes]]) -> Iterator[Hit]:
        """Every value that stands in a text of (where, bytes), once for each text."""
        for batch in _batches(texts):
            yield from self._search(place, batch)

    def _search(self, place: str, batch: Sequence[tuple[str, bytes]]) -> Iterator[Hit]:
        """Halve what may hold a value until one text is left, and look into that text for each form."""
        if not self._may_hold(b"\n".join(text for _, text in batch)):
            return
        if len(batch) > 1:
            middle = len(batch) // 2
            yield from self._search(place, batch[:middle])
            yield from self._search(place, batch[middle:])
            return
        for where, text in batch:
            for name, forms in self._forms.items():
                if any(form in text for form in forms):
                    yield Hit(name, place, where)

    def _may_hold(self, text: bytes) -> bool:
        """Whether a part of any form stands in the text. It takes grep one look for a thousand forms."""
        patterns = self._patterns.fileno()
        done = subprocess.run(
            ["grep", "-qaF", "-f", f"/proc/self/fd/{patterns}"],
            input=text,
            pass_fds=[patterns],
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            check=False,
        )
        assert done.returncode in (0, 1), "grep has failed"
        return done.returncode == 0


def _line(form: bytes) -> bytes:
    """The longest line of a form: grep takes patterns line by line."""
    return max(form.split(b"\n"), key=len)


def _batches(texts: Iterable[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    batch: list[tuple[str, bytes]] = []
    size = 0
    for where, text in texts:
        batch.append((where, text))
        size += len(text)
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _forms(value: bytes) -> Iterator[bytes]:
    parts = [value]
    if len(value) > _LONG:
        parts = [value[start : start + _PART] for start in range(0, len(value) - _PART + 1, _PART)]
        parts = [part for part in parts if b"-----" not in part]
    for part in parts:
        yield part
        for offset in range(3):
            encoded = inner_base64(part, offset)
            yield encoded
            yield encoded.replace(b"+", b"-").replace(b"/", b"_")
            yield inner_base64(encoded, 0)
        yield part.hex().encode()
        yield part.hex().upper().encode()
        if not part.isalnum():
            yield quote_from_bytes(part).encode()


def inner_base64(value: bytes, offset: int) -> bytes:
    """The characters that stand in base64 text when the value begins `offset` bytes into a group of three."""
    encoded = base64.b64encode(b"\0" * offset + value).rstrip(b"=")
    begin = (0, 2, 3)[offset]
    # The last character may carry bits of what follows.
    end = len(encoded) if (offset + len(value)) % 3 == 0 else len(encoded) - 1
    return encoded[begin:end]
