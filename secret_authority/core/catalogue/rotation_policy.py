"""The rotation policy of a secret: data that lives with the secret, never in Git workflows.

RFC-SECOPS-0001 §6. In Vault each field is one short key of the KV v2 custom metadata (at most 64 keys,
values of 1 to 512 bytes); durations are written as Go durations ("720h", "15m").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError, model_validator

_DURATION = re.compile(r"(\d+)(h|m|s)")
_LONGEST_SECONDS = 100 * 366 * 24 * 3600
_UNITS = {"h": 3600, "m": 60, "s": 1}


def parse_duration(text: object) -> timedelta:
    """Read a Go duration of whole hours, minutes and seconds ("1h30m"). Raises ValueError."""
    if isinstance(text, timedelta):
        return text
    if not isinstance(text, str) or not text or _DURATION.sub("", text):
        raise ValueError(f"not a duration: {text!r}; write it like 720h, 90m or 1h30m")
    seconds = sum(int(n) * _UNITS[unit] for n, unit in _DURATION.findall(text))
    if not 0 < seconds < _LONGEST_SECONDS:
        raise ValueError("a duration is longer than nothing and shorter than a hundred years")
    return timedelta(seconds=seconds)


def format_duration(value: timedelta) -> str:
    """Write a duration the way `parse_duration` reads it, in the largest whole units."""
    seconds = int(value.total_seconds())
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    parts = [f"{number}{unit}" for number, unit in ((hours, "h"), (minutes, "m"), (seconds, "s")) if number]
    return "".join(parts) or "0s"


Duration = Annotated[timedelta, BeforeValidator(parse_duration), PlainSerializer(format_duration)]


class RotationPolicy(BaseModel):
    """How and when a secret gets a new value (RFC §6)."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    type: Literal["static", "time-based", "event-based"]
    ttl: Duration | None = None
    rotate_before: Duration | None = None
    revoke_old: bool = True
    max_overlap: Duration | None = None
    failure_strategy: Literal["retry", "alert", "hold"] = "retry"

    @model_validator(mode="after")
    def _times_fit(self) -> RotationPolicy:
        if self.type == "time-based" and self.ttl is None:
            raise ValueError("a time-based policy needs a ttl")
        if self.type == "static" and (self.ttl or self.rotate_before or self.max_overlap):
            raise ValueError("a static secret is never rotated: drop ttl, rotate_before and max_overlap")
        if self.rotate_before and (self.ttl is None or self.rotate_before >= self.ttl):
            raise ValueError("rotate_before must be shorter than ttl")
        if self.max_overlap and self.ttl and self.max_overlap >= self.ttl:
            raise ValueError("max_overlap must be shorter than ttl")
        return self

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> RotationPolicy | None:
        """What `metadata` wrote, None when there is no policy. Raises ValueError when it is invalid."""
        if "rotation_type" not in metadata:
            return None
        fields: dict[str, object] = {name: metadata[name] for name in cls.model_fields if name in metadata}
        fields["type"] = metadata["rotation_type"]
        if "revoke_old" in fields:
            fields["revoke_old"] = metadata["revoke_old"] == "true"
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            # Names of fields only: their texts come from whoever may write metadata.
            wrong = ", ".join(
                sorted({str(detail["loc"][0]) if detail["loc"] else "policy" for detail in error.errors()})
            )
            raise ValueError(f"the rotation policy in the metadata is invalid: {wrong}") from None

    def metadata(self) -> dict[str, str]:
        """The policy as KV v2 custom metadata: short keys, string values, no empty ones."""
        fields = self.model_dump(exclude_none=True)
        fields["rotation_type"] = fields.pop("type")
        return {key: str(value).lower() for key, value in fields.items()}
