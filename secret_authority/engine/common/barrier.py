"""The last resort of an engine's step: whatever goes wrong in it becomes a condition, and ends nothing else."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import TypeVar

from secret_authority.clients.kubernetes import ApiRefusedError
from secret_authority.clients.vault import VaultRefusedError
from secret_authority.core.errors import InvalidInputError, LostRace, Unavailable
from secret_authority.engine.common.status import Status

log = logging.getLogger(__name__)

T = TypeVar("T")
# These say what is wrong in words that hold no value.
_KNOWN: tuple[type[Exception], ...] = (VaultRefusedError, ApiRefusedError, InvalidInputError, LookupError)


def run_step(status: Status, name: str, step: Callable[[], T], known: tuple[type[Exception], ...] = ()) -> T | None:
    """Do a step. What it raises becomes the condition `name`, and None is returned.

    Of an error that nobody foresaw only the type and the place are said: its message may hold a value. `known` are
    further errors whose messages are safe.
    """
    safe = _KNOWN + known
    try:
        result = step()
    except (Unavailable, LostRace) as error:
        status.set(name, False, f"waiting: {error}")
    except safe as error:
        status.set(name, False, str(error))
    except Exception as error:
        status.set(name, False, unexpected(error))
    else:
        status.confirm(name)
        return result
    return None


def unexpected(error: BaseException) -> str:
    """An error without its message: what kind it is, and where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "secret_authority" in frame.filename] or frames
    place = f" at {ours[-1].filename.rpartition('secret_authority/')[2]}:{ours[-1].lineno}" if ours else ""
    return f"unexpected {type(error).__name__}{place}: an error of the engine, or input that it does not foresee"
