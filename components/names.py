"""Names that layers share: namespaces, labels, and the Secret that holds the cluster's identity."""

from __future__ import annotations

FLUX_NAMESPACE = "flux-system"
# The engine, its evidence and the records of reached phases.
ENGINE_NAMESPACE = "secret-authority"
# The decryption identity; the name and key are Flux's convention for SOPS with age.
IDENTITY_SECRET = "sops-age"
IDENTITY_KEY = "age.agekey"

DOMAIN = "secret-authority.dev"
CLASS_LABEL = f"{DOMAIN}/class"
PHASE_LABEL = f"{DOMAIN}/phase"
RECIPIENT_ANNOTATION = f"{DOMAIN}/recipient"
# ConfigMaps in which the engine publishes what it knows; the audit trail is cut into several.
STATUS_SELECTOR = f"{DOMAIN}/part=status"
AUDIT_TRAIL = "audit-trail"
MANAGED_BY = {"app.kubernetes.io/part-of": "secret-authority"}


def layer_type(layer: str) -> str:
    """The type token of a layer component."""
    return f"secret-authority:layer:{layer}"
