"""The small CA of the Vault listeners: when it issues anew, and that trust never breaks meanwhile."""

from __future__ import annotations

import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from secret_authority.engine.tls.ca import CA_LIFE, KNOWN_AHEAD, SERVER_LIFE, Certificates, issue, new_ca, renew

NAMES = ["vault.vault.svc", "*.vault-internal.vault.svc"]
START = datetime(2026, 1, 1, tzinfo=UTC)


def rounds(trust: Certificates, now: datetime) -> list[Certificates]:
    """The states that are published one after the other, until nothing changes any more."""
    found: list[Certificates] = []
    while True:
        trust, changed = renew(trust, "ca", NAMES, now)
        if not changed:
            return found
        found.append(trust)


def verifies(server: x509.Certificate, bundle: str) -> bool:
    for authority in x509.load_pem_x509_certificates(bundle.encode()):
        try:
            server.verify_directly_issued_by(authority)
        except (ValueError, InvalidSignature):
            continue
        return True
    return False


def begin() -> Certificates:
    trust, changed = renew(None, "ca", NAMES, START)
    assert changed
    return trust


def test_a_fresh_state_stays_as_it_is() -> None:
    assert rounds(begin(), START + timedelta(days=1)) == []


def test_the_listener_gets_a_new_certificate_after_two_thirds_of_its_life() -> None:
    trust = begin()
    assert rounds(trust, START + SERVER_LIFE * 0.6) == []
    (after,) = rounds(trust, START + SERVER_LIFE * 0.7)
    assert after.server != trust.server and after.ca == trust.ca and after.bundle == trust.bundle


def test_a_new_name_asks_for_a_new_certificate() -> None:
    trust = begin()
    after, changed = renew(trust, "ca", [*NAMES, "other"], START)
    assert changed and after.server.covers(["other"])


def test_a_new_ca_is_trusted_before_its_first_certificate_is_used() -> None:
    now = START + CA_LIFE * 0.7
    trust = begin()
    trust = Certificates(trust.ca, issue(trust.ca, NAMES, now - timedelta(days=1)), trust.bundle)
    (known,) = rounds(trust, now)
    assert known.ca != trust.ca and known.server == trust.server
    assert verifies(known.server.parsed, known.bundle)
    # Whoever still trusts only the old bundle meets the old certificate; the new one comes some time later.
    assert rounds(known, now + KNOWN_AHEAD * 0.9) == []
    (used,) = rounds(known, now + KNOWN_AHEAD)
    assert used.server.issued_by(known.ca.parsed) and verifies(used.server.parsed, known.bundle)
    assert len(x509.load_pem_x509_certificates(used.bundle.encode())) == 2


def test_a_certificate_that_ends_is_replaced_before_the_new_ca_is_known_for_long() -> None:
    now = START + CA_LIFE * 0.7
    trust = begin()
    ending = issue(trust.ca, NAMES, now - timedelta(days=1), timedelta(days=1) + KNOWN_AHEAD / 2)
    known, used = rounds(Certificates(trust.ca, ending, trust.bundle), now)
    assert known.server == ending and used.server.issued_by(known.ca.parsed)


def test_a_new_name_does_not_wait_for_a_new_ca_to_be_known() -> None:
    now = START + CA_LIFE * 0.7
    trust = begin()
    (known,) = rounds(Certificates(trust.ca, issue(trust.ca, NAMES, now), trust.bundle), now)
    after, changed = renew(known, "ca", [*NAMES, "other"], now)
    assert changed and after.server.covers(["other"])


def test_an_ended_ca_leaves_the_bundle() -> None:
    after = rounds(begin(), START + CA_LIFE * 1.1)[-1]
    assert len(x509.load_pem_x509_certificates(after.bundle.encode())) == 1


def test_a_certificate_of_another_ca_is_replaced() -> None:
    trust = begin()
    foreign = Certificates(trust.ca, issue(new_ca("other", START), NAMES, START), trust.bundle)
    (after,) = rounds(foreign, START)
    assert after.server.issued_by(trust.ca.parsed)


def test_tls_clients_accept_it_for_its_names_and_no_other(tmp_path: Path) -> None:
    trust, _ = renew(None, "ca", NAMES, datetime.now(UTC))
    (tmp_path / "pair").write_text(trust.server.certificate + trust.server.key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "pair")
    client = ssl.create_default_context(cadata=trust.bundle)

    def connect(name: str) -> bool:
        near, far = socket.socketpair()

        def serve() -> None:
            try:
                server.wrap_socket(far, server_side=True).close()
            except OSError:
                far.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            client.wrap_socket(near, server_hostname=name).close()
        except ssl.SSLCertVerificationError:
            near.close()
            return False
        finally:
            thread.join()
        return True

    assert connect("vault.vault.svc") and connect("vault-2.vault-internal.vault.svc")
    assert not connect("vault.other.svc")
