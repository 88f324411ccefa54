"""Who may ask for rotations from outside: the part `events` of the catalogue."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

_Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]


class EventSender(BaseModel):
    """A system that may report events by signed messages.

    `key` names the secret of the catalogue that holds its signing key, `secrets` those that it may have rotated.
    `from`: the namespace whose pods may reach the receiver for it. `compromise`, `cut_off`: what it may say.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    name: _Name
    key: _Name
    secrets: tuple[_Name, ...] = Field(min_length=1)
    namespace: _Name = Field(alias="from")
    compromise: bool = False
    cut_off: bool = Field(default=False, alias="cutOff")


class Events(BaseModel):
    """`annotations`: whether an annotation of an ExternalSecret is a request as well."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    senders: tuple[EventSender, ...] = ()
    annotations: bool = True
