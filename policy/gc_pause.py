"""Pauses Python's cycle collector while many objects are made that all stay.

A tree of 10,000 secrets makes millions of objects that live until the verdict; the collector would look at all of
them again and again, which is 40 % of the time and makes it grow faster than the tree.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused() -> Iterator[None]:
    """No cycle collection inside. Memory without cycles is freed as ever, and what is left is not looked at again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.freeze()
            gc.enable()
