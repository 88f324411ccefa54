"""Values of every kind, from a number: bytes, and texts with what programs like to change."""

from __future__ import annotations

import random

_ALPHABETS = ("\x00\x01\t\n\r\x0b\x7f", "abc<>&\"'\\/", "äß€\u2028\u2029\ufeff", "😀𝔘", " \n")


def odd_value(number: int) -> bytes:
    """Never empty. Every third one is no text; texts end with nothing, a line feed, CRLF or NUL."""
    chance = random.Random(number)  # noqa: S311
    if number % 3 == 0:
        return chance.randbytes(chance.choice((1, 2, 7, 64, 1000))) or b"x"
    alphabet = "".join(chance.sample(_ALPHABETS, 2)) + "xyz"
    text = "".join(chance.choice(alphabet) for _ in range(chance.choice((1, 2, 30, 500))))
    return text.encode() + chance.choice((b"", b"\n", b"\r\n", b"\x00"))


def is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
