"""Switches of pulumi: a flag with or without a value, or the variable by which pulumi 3.250 takes the same one."""

from __future__ import annotations

from collections.abc import Mapping

_OFF = ("false", "0")


def is_on(value: str) -> bool:
    """Whether a flag with this value after "=" is set; one without a value, "", is."""
    return value.lower() not in _OFF


def variable_is_on(environment: Mapping[str, str], name: str) -> bool:
    """Whether the variable is there and says yes."""
    value = environment.get(name, "")
    return bool(value) and is_on(value)
