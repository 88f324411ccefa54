"""Connections of the rotator to a real PostgreSQL that offers TLS: Debian's, since the other one is built without."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import pytest

from secret_authority.core.errors import Unavailable
from secret_authority.engine.rotation.rotators.postgresql import Server
from secret_authority.engine.tls.ca import issue, new_ca
from tests.support.postgres_process import ADMIN, PostgresServer, installations, postgres_server
from tests.support.vault_process import wait_for

CA = new_ca("databases")
DEBIAN = sorted(version for version, programs in installations().items() if programs.is_relative_to("/usr"))

pytestmark = pytest.mark.skipif(not DEBIAN, reason="no PostgreSQL of Debian's")


@pytest.fixture(scope="module")
def encrypting() -> Iterator[PostgresServer]:
    with postgres_server(installations()[DEBIAN[-1]]) as made:
        data = made.folder / "data"
        pair = issue(CA, ["127.0.0.1"])
        for name, text in (("server.crt", pair.certificate), ("server.key", pair.key)):
            (data / name).write_text(text)
            (data / name).chmod(0o600)
            os.chown(data / name, data.stat().st_uid, data.stat().st_gid)
        with contextlib.closing(made.superuser()) as admin:
            admin.run("ALTER SYSTEM SET ssl = on")
            admin.run("SELECT pg_reload_conf()")

        def offers() -> bool:
            with contextlib.closing(made.superuser()) as admin:
                return bool(admin.run("SHOW ssl") == [["on"]])

        wait_for(offers, "the server offers TLS")
        yield made


def encrypted(server: PostgresServer, ca: str | None, **more: Any) -> bool:
    """Whether the administrator's session is."""
    settings = {"host": "127.0.0.1", "port": server.port, "database": "orders", "admin": "admin", **more}
    login = ADMIN if ca is None else ADMIN | {"ca.crt": ca}
    with Server(settings, lambda _: login).admin() as session:
        found = session.run("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    return bool(found[0][0])


def test_a_session_is_encrypted_and_the_server_is_known_by_its_ca(encrypting: PostgresServer) -> None:
    assert encrypted(encrypting, CA.certificate)
    with pytest.raises(Unavailable, match="cannot be reached"):
        encrypted(encrypting, new_ca("somebody else").certificate)


def test_without_a_ca_of_its_own_those_of_the_system_count(encrypting: PostgresServer) -> None:
    with pytest.raises(Unavailable, match="cannot be reached"):
        encrypted(encrypting, None)


def test_tls_false_means_none(encrypting: PostgresServer) -> None:
    """Encryption without knowing the other side would look like more than it is."""
    assert not encrypted(encrypting, None, tls=False)
