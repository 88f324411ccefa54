"""Claims as plain data, so that a component can register them and the policy pack can read them again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from secret_authority.core.claims.conflicts import Claim, Claimant, System
from secret_authority.core.claims.locations import (
    Keys,
    KubernetesSecret,
    Location,
    Part,
    StoreSecret,
    Unknown,
    VaultSecret,
)

_KINDS: dict[str, type[KubernetesSecret] | type[VaultSecret] | type[StoreSecret]] = {
    "kubernetes": KubernetesSecret,
    "vault": VaultSecret,
    "store": StoreSecret,
}


def encode_claim(claim: Claim) -> dict[str, Any]:
    """A claim as JSON-like data without any value of a secret."""
    return {
        "system": claim.claimant.system.name,
        "subject": claim.claimant.subject,
        "place": _encode_location(claim.location),
        "keys": None if claim.keys.names is None else sorted(claim.keys.names),
        "source": None if claim.source is None else _encode_location(claim.source),
        "createOnly": claim.create_only,
        "secret": claim.secret,
    }


def decode_claim(data: Mapping[str, Any]) -> Claim:
    """The claim that `encode_claim` wrote. Raises ValueError naming the field that does not fit."""
    try:
        names = data["keys"]
        source = data.get("source")
        return Claim(
            Claimant(System[data["system"]], data["subject"]),
            _decode_location(data["place"]),
            Keys.all() if names is None else Keys(frozenset(names)),
            source=None if source is None else _decode_location(source),
            create_only=bool(data.get("createOnly")),
            secret=data.get("secret"),
        )
    except KeyError as error:
        raise ValueError(f"a claim has no or an unknown {error.args[0]}") from None


def _encode_location(location: Location) -> dict[str, Any]:
    kind = next(name for name, cls in _KINDS.items() if isinstance(location, cls))
    parts = [{"unknown": part.field} if isinstance(part, Unknown) else part for part in location.parts()]
    return {"kind": kind, "parts": parts}


def _decode_location(data: Mapping[str, Any]) -> Location:
    parts: list[Part] = [part if isinstance(part, str) else Unknown(part["unknown"]) for part in data["parts"]]
    if len(parts) != 3:
        raise ValueError("a location has three parts")
    return _KINDS[data["kind"]](*parts)
