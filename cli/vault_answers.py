"""One request to Vault for a command, and its answer. What goes wrong is one error, in words without any value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import urllib3

from secret_authority.access.vault_tunnel import VaultSessionError


def ask(
    vault: urllib3.PoolManager, method: str, url: str, token: str, body: Mapping[str, object] | None = None
) -> dict[str, Any] | None:
    """The data of Vault's answer, None when there is nothing. Raises `VaultSessionError`, without any value."""
    try:
        answer = vault.request(
            method, url, headers={"X-Vault-Token": token}, body=json.dumps(body) if body is not None else None
        )
    except (OSError, urllib3.exceptions.HTTPError) as error:
        # What was sent may have arrived before the connection was cut.
        unknown = "" if body is None else "; whether the value was written is not known, run the command again"
        raise VaultSessionError(f"{type(error).__name__}{unknown}") from None
    if answer.status == 404:
        return None
    try:
        content = json.loads(answer.data) if answer.data else {}
    except ValueError:
        raise VaultSessionError(f"it answered {answer.status}, and not in JSON") from None
    if answer.status != 200:
        said = "; ".join(content.get("errors") or []) or "no reason given"
        raise VaultSessionError(f"it answered {answer.status}: {said}")
    found: dict[str, Any] = content["data"]
    return found
