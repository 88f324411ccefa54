"""The small CA of the Vault listeners, and when it issues a new certificate.

Used where cert-manager is not installed. A certificate is replaced after two thirds of its life; a new CA
is trusted beside the old one for as long as certificates of the old one are about.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_LIFE = timedelta(days=3650)
SERVER_LIFE = timedelta(days=90)
# How long a new CA is known before its first certificate is used: mounted ConfigMaps take a minute or two to
# change, and the stores of External Secrets follow them.
KNOWN_AHEAD = timedelta(minutes=10)
# Clocks of nodes may differ a little.
_BACKDATE = timedelta(minutes=5)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, PEM."""

    certificate: str
    key: str

    @property
    def parsed(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.certificate.encode())

    def wears_out(self, now: datetime) -> bool:
        """Whether two thirds of its life are over."""
        found = self.parsed
        life = found.not_valid_after_utc - found.not_valid_before_utc
        return now >= found.not_valid_before_utc + life * 2 / 3

    def covers(self, names: Sequence[str]) -> bool:
        extension = self.parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found = {str(name.value) for name in extension}
        return set(names) <= found

    def issued_by(self, ca: x509.Certificate) -> bool:
        try:
            self.parsed.verify_directly_issued_by(ca)
        except Exception:  # any reason means no
            return False
        return True


def new_ca(name: str, now: datetime | None = None, life: timedelta = CA_LIFE) -> Pair:
    """A new CA, a P-256 key that may sign certificates and nothing else."""
    now = now or datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    made = (
        _builder(subject, subject, key.public_key(), now, life)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _pair(made, key)


def issue(ca: Pair, names: Sequence[str], now: datetime | None = None, life: timedelta = SERVER_LIFE) -> Pair:
    """A server (and cluster peer) certificate for DNS names and IP addresses."""
    now = now or datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    signer = serialization.load_pem_private_key(ca.key.encode(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)  # noqa: S101  new_ca makes no other
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    made = (
        _builder(subject, ca.parsed.subject, key.public_key(), now, life)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.parsed.public_key()),  # type: ignore[arg-type]
            critical=False,
        )
        .sign(signer, hashes.SHA256())
    )
    return _pair(made, key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + life)
    )


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    return Pair(
        certificate.public_bytes(serialization.Encoding.PEM).decode(),
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@dataclass(frozen=True)
class Certificates:
    """What the engine keeps: the CA that signs, the listener's pair, and every CA that is still trusted."""

    ca: Pair
    server: Pair
    bundle: str


def renew(held: Certificates | None, name: str, names: Sequence[str], now: datetime) -> tuple[Certificates, bool]:
    """The state of the certificates as it should be at `now`, and whether it differs from `held`.

    A CA that wears out gets a successor. The bundle holds both for `KNOWN_AHEAD` before the first certificate of the
    new one is in use, unless the listener's certificate ends meanwhile.
    """
    if held is None:
        ca = new_ca(name, now)
        return Certificates(ca, issue(ca, names, now), ca.certificate), True
    ca, server, bundle = held.ca, held.server, _still_valid(held.bundle, now)
    if ca.wears_out(now):
        ca = new_ca(name, now)
        bundle = ca.certificate + bundle
        return Certificates(ca, server, bundle), True
    if now < _made(ca) + KNOWN_AHEAD and _serves(server, names, bundle, now):
        return Certificates(ca, server, bundle), bundle != held.bundle
    if server.wears_out(now) or not server.covers(names) or not server.issued_by(ca.parsed):
        return Certificates(ca, issue(ca, names, now), bundle), True
    return Certificates(ca, server, bundle), bundle != held.bundle


def _made(ca: Pair) -> datetime:
    return ca.parsed.not_valid_before_utc + _BACKDATE


def _serves(server: Pair, names: Sequence[str], bundle: str, now: datetime) -> bool:
    """Whether clients that trust `bundle` accept the certificate, and will for `KNOWN_AHEAD`."""
    known = x509.load_pem_x509_certificates(bundle.encode())
    lasts = now + KNOWN_AHEAD < server.parsed.not_valid_after_utc
    return lasts and server.covers(names) and any(server.issued_by(ca) for ca in known)


def _still_valid(bundle: str, now: datetime) -> str:
    found = x509.load_pem_x509_certificates(bundle.encode())
    return "".join(
        one.public_bytes(serialization.Encoding.PEM).decode() for one in found if now < one.not_valid_after_utc
    )
