"""`tls`: certificates that a CA of your own issues, for workloads inside.

    rotator:
      kind: tls
      names: [web.shop.svc, 10.0.0.7]   # DNS names and IP addresses
      admin: web-ca                     # a secret of the catalogue with the CA: tls.crt and tls.key, of a P-256 key

The secret has the keys `tls.crt`, `tls.key` and `ca.crt`. Its certificate is valid for the policy's `ttl`, and is due
`rotate_before` the end that is written in the certificate itself. Certificate and key are one version in Vault.

An old certificate is valid until its end: nothing is revoked, and while pods restart both are good. After the CA has
changed, the first publication only makes it known in `ca.crt`, beside the old one; certificates of the new CA follow
when every consumer has that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from secret_authority.core.catalogue.schema import CatalogueSecret
from secret_authority.core.errors import Problem
from secret_authority.core.rotation.rotator import (
    Accepts,
    Fence,
    GivenValueError,
    Overlap,
    Plan,
    Publication,
    TargetRefusedError,
    Value,
)
from secret_authority.engine.rotation.rotators.generated import GeneratedRotator
from secret_authority.engine.rotation.rotators.settings import Logins, common_problems, field
from secret_authority.engine.tls.ca import Pair, issue

CERTIFICATE, KEY, BUNDLE = "tls.crt", "tls.key", "ca.crt"
_KEYS = {CERTIFICATE, KEY, BUNDLE}


class TlsRotator(GeneratedRotator):
    """Certificates for `names`, valid for `life`."""

    kind: ClassVar[str] = "tls"
    overlap: ClassVar[Overlap] = Overlap.BY_NATURE

    def __init__(self, names: list[str], life: timedelta, admin: str, logins: Logins) -> None:
        super().__init__(sorted(_KEYS))
        self._names, self._life, self._admin, self._logins = names, life, admin, logins

    @classmethod
    def build(cls, secret: CatalogueSecret, settings: Mapping[str, Any], logins: Logins) -> TlsRotator:
        life = (secret.rotation.ttl if secret.rotation else None) or timedelta(days=90)
        return cls([str(name) for name in settings["names"]], life, settings["admin"], logins)

    @classmethod
    def check(cls, secret: CatalogueSecret, settings: Mapping[str, Any], file: str) -> list[Problem]:
        return [
            *common_problems(secret, settings, {"kind", "names", "admin"}, ("admin",), file),
            *cls._check_names(secret, settings, file),
            *cls._check_keys(secret, file),
            *cls._check_times(secret, file),
        ]

    @staticmethod
    def _check_names(secret: CatalogueSecret, settings: Mapping[str, Any], file: str) -> Iterator[Problem]:
        names = settings.get("names")
        if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
            fix = "list the DNS names and addresses of the certificate, such as [web.shop.svc]"
            yield Problem(file, field(secret, "rotator.names"), "does not name anything", fix)

    @staticmethod
    def _check_keys(secret: CatalogueSecret, file: str) -> Iterator[Problem]:
        for consumer in secret.consumers:
            taken = set(consumer.keys.values())
            if strange := sorted(taken - _KEYS):
                fix = f"take {', '.join(sorted(_KEYS))}"
                yield Problem(file, field(secret, "consumers"), f"takes {', '.join(strange)}, which it has not", fix)
            if KEY in taken and CERTIFICATE not in taken:
                message = f"{consumer.namespace}/{consumer.secret} takes {KEY} without {CERTIFICATE}"
                yield Problem(file, field(secret, "consumers"), message, "take both: they belong together")

    @staticmethod
    def _check_times(secret: CatalogueSecret, file: str) -> Iterator[Problem]:
        policy = secret.rotation
        if policy is None or policy.type != "time-based":
            yield Problem(file, field(secret, "rotation.type"), "is not time-based", "a certificate ends: write it")
        elif policy.rotate_before is None:
            fix = "set it to a third of ttl, say: the new certificate has to arrive before the old one ends"
            yield Problem(file, field(secret, "rotation.rotate_before"), "is missing", fix)

    def ready(self) -> str:
        ends = self._ca().parsed.not_valid_after_utc
        if ends <= _now() + self._life:
            return f"the CA of {self._admin} ends at {ends.isoformat()}, before a new certificate would: replace it"
        return ""

    def plan(self, current: Value, fence: Fence) -> Plan:
        ca = self._ca()
        made = issue(ca, self._names, life=self._life)
        bundle = _bundle(ca, current)
        fresh = Value({**current.fields, CERTIFICATE: made.certificate, KEY: made.key, BUNDLE: bundle})
        held = _pair(current)
        if held is None or held.issued_by(ca.parsed):
            return Plan((Publication(fresh),))
        known = Value({**current.fields, BUNDLE: bundle})
        return Plan((Publication(known), Publication(fresh)))

    def plan_given(self, current: Value, given: Value) -> Plan:
        value = Value({**current.fields, **given.fields})
        if self._problem(value):
            raise GivenValueError(self._problem(value))
        return Plan((Publication(value),))

    def accepts(self, value: Value) -> Accepts:
        """Whether a client that trusts the value's own `ca.crt` would accept the certificate now."""
        return Accepts.NO if self._problem(value) else Accepts.YES

    def expires(self, value: Value) -> datetime:
        """The end of the certificate; the beginning of time for what is none, such as a generated first value."""
        held = _pair(value)
        return datetime.fromtimestamp(0, UTC) if held is None else held.parsed.not_valid_after_utc

    def _problem(self, value: Value) -> str:
        held = _pair(value)
        if held is None:
            return "its certificate and key do not belong together, or are none"
        if not held.covers(self._names):
            return f"its certificate does not name {', '.join(self._names)}"
        found = held.parsed
        if not found.not_valid_before_utc <= _now() < found.not_valid_after_utc:
            return "its certificate is not valid now"
        if not any(held.issued_by(ca) for ca in _certificates(value.fields.get(BUNDLE, ""))):
            return f"its certificate is not issued by a CA of its {BUNDLE}"
        return ""

    def _ca(self) -> Pair:
        login = self._logins(self._admin)
        ca = Pair(login.get(CERTIFICATE, ""), login.get(KEY, ""))
        try:
            key = serialization.load_pem_private_key(ca.key.encode(), None)
            fits = isinstance(key, ec.EllipticCurvePrivateKey) and key.public_key() == ca.parsed.public_key()
        except (ValueError, TypeError):
            fits = False
        if not fits:
            raise TargetRefusedError(f"secret {self._admin} holds no CA: tls.crt and tls.key of a P-256 key, in PEM")
        return ca


def _now() -> datetime:
    return datetime.now(UTC)


def _pair(value: Value) -> Pair | None:
    """Certificate and key of a value; None unless both are there and belong together."""
    pair = Pair(value.fields.get(CERTIFICATE, ""), value.fields.get(KEY, ""))
    try:
        key = serialization.load_pem_private_key(pair.key.encode(), None)
        fits = key.public_key() == pair.parsed.public_key()
        pair.covers([])
    except (ValueError, TypeError, x509.ExtensionNotFound):
        return None
    return pair if fits else None


def _certificates(bundle: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(bundle.encode())
    except ValueError:
        return []


def _bundle(ca: Pair, current: Value) -> str:
    """The CA, and before it is forgotten every other one that consumers trust and that has not ended."""
    others = [
        one
        for one in _certificates(current.fields.get(BUNDLE, ""))
        if one != ca.parsed and _now() < one.not_valid_after_utc
    ]
    return "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in (ca.parsed, *others))
