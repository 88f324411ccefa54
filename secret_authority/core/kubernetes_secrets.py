"""What the Kubernetes API server takes as a Secret: types and their keys, base64, sizes, names.

Upstream: kubernetes/kubernetes, pkg/apis/core/validation `ValidateSecret`; "Types of Secret" of the documentation.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Collection, Iterator, Mapping

OPAQUE = "Opaque"
TLS = "kubernetes.io/tls"
DOCKER_CONFIG_JSON = "kubernetes.io/dockerconfigjson"
DOCKER_CONFIG = "kubernetes.io/dockercfg"
BASIC_AUTH = "kubernetes.io/basic-auth"
SSH_AUTH = "kubernetes.io/ssh-auth"

# For each type, sets of keys of which one has to be there.
_NEEDED: Mapping[str, tuple[frozenset[str], ...]] = {
    OPAQUE: (),
    TLS: (frozenset({"tls.crt"}), frozenset({"tls.key"})),
    DOCKER_CONFIG_JSON: (frozenset({".dockerconfigjson"}),),
    DOCKER_CONFIG: (frozenset({".dockercfg"}),),
    BASIC_AUTH: (frozenset({"username", "password"}),),
    SSH_AUTH: (frozenset({"ssh-privatekey"}),),
}
_JSON_KEYS = {DOCKER_CONFIG_JSON: ".dockerconfigjson", DOCKER_CONFIG: ".dockercfg"}
TYPES = tuple(_NEEDED)
# The control plane acts on these: it writes a token into the one and lets nodes join with the other.
_OF_THE_CONTROL_PLANE = frozenset({"kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token"})

MAX_SECRET_BYTES = 1 << 20  # the values of one Secret together
_QUALIFIED = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


def is_allowed_type(kind: str) -> bool:
    """Whether a Secret of this type is only data: a known type, or one of an application, `example.com/kind`."""
    if kind in _NEEDED:
        return True
    return "kubernetes.io/" not in kind and bool(re.fullmatch(r"[a-z0-9.-]+/[A-Za-z0-9._-]{1,63}", kind))


def missing_keys(kind: str, keys: Collection[str]) -> list[str]:
    """The keys that a Secret of this type has to have and has not, alternatives joined by "or"."""
    return [" or ".join(sorted(some)) for some in _NEEDED.get(kind, ()) if not some & set(keys)]


def type_problems(kind: str, values: Mapping[str, bytes]) -> Iterator[tuple[str, str]]:
    """(key, what is wrong) for values that the API server refuses in a Secret of this type."""
    key = _JSON_KEYS.get(kind)
    if key is not None and key in values:
        try:
            parsed = isinstance(json.loads(values[key]), dict)
        except (ValueError, RecursionError):
            parsed = False
        if not parsed:
            yield key, f"is not JSON, as type {kind} needs it"
    if kind == SSH_AUTH and values.get("ssh-privatekey") == b"":
        yield "ssh-privatekey", f"is empty, which type {kind} does not allow"


def decode_base64(text: str) -> bytes | None:
    """The bytes of a value of `data`, None where the API server refuses it. Line ends are passed over, as it does."""
    joined = text.replace("\r", "").replace("\n", "")
    return base64.b64decode(joined) if _BASE64.fullmatch(joined) else None


def is_label_value(text: str) -> bool:
    """Whether a label may have this value (IsValidLabelValue)."""
    return len(text) <= 63 and bool(re.fullmatch(rf"({_QUALIFIED})?", text))


def is_qualified_name(key: str) -> bool:
    """Whether a label or an annotation may have this key (IsQualifiedName)."""
    prefix, found, name = key.rpartition("/")
    fits = not found or (len(prefix) <= 253 and bool(re.fullmatch(_SUBDOMAIN, prefix)))
    return fits and len(name) <= 63 and bool(re.fullmatch(_QUALIFIED, name))


def is_data_key(key: str) -> bool:
    """Whether a Secret may have this key (IsConfigMapKey)."""
    return bool(re.fullmatch(r"[-._a-zA-Z0-9]{1,253}", key)) and key != "." and not key.startswith("..")
