"""What the Secrets hold that workloads read."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from secret_authority.core.catalogue.schema import SecretClass
from secret_authority.repository.intent.intent import read_intent
from secret_authority.repository.layout import Layout
from tests.support.recorded_stack import RecordedStack

Secrets = Mapping[tuple[str, str], Mapping[str, bytes]]


def consumer_secrets(stack: RecordedStack, *classes: SecretClass) -> dict[tuple[str, str], dict[str, bytes]]:
    """The values of the secrets of some classes, by namespace and name; those that are there."""
    catalogue = read_intent(stack.fleet, Layout.of(stack.name)).catalogue
    places = {(c.namespace, c.secret) for s in catalogue if s.secret_class in classes for c in s.consumers}
    found = {place: stack.objects.secret(*place) for place in sorted(places)}
    return {
        place: {key: base64.b64decode(text) for key, text in (secret.get("data") or {}).items()}
        for place, secret in found.items()
        if secret
    }
