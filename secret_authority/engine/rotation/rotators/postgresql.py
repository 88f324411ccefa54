"""`postgresql`: the login of an application at a PostgreSQL server, 15 to 18.

    rotator:
      kind: postgresql
      host: orders-db.data.svc
      database: orders
      users: [orders_a, orders_b]   # they take turns; one name alone needs accept_window: true
      admin: orders-db-admin        # a secret of the catalogue with the keys username and password
      owner: orders                 # users that are missing are made as members of this role; without it none is made
      drain: 10s                    # how long the old user must be without a session; 60s without it

Two users that take turns are the normal case: the new login works before anybody has it, and the old one until
everybody has the new one. With one user a new password ends the old one, so consumers are refused from then until they
have it; no protocol removes that window, which is the time of a delivery.

Each change is one transaction under an advisory lock. It reads the generation in the user's comment and changes nothing
when that is newer: an engine that was paused for two generations finds that out from the database itself. Passwords
reach the server as SCRAM verifiers that are made here, so no statement log can show one.

Upstream: postgresql.org/docs, "ALTER ROLE", "Password Authentication"; RFC 5803 for the verifier.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import re
import secrets
import ssl
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from pg8000.exceptions import DatabaseError, InterfaceError
from pg8000.native import Connection, identifier, literal

from secret_authority.core.catalogue.schema import CatalogueSecret
from secret_authority.core.errors import Problem, Unavailable
from secret_authority.core.rotation.rotator import (
    Accepts,
    Fence,
    FencedError,
    GivenValueError,
    Overlap,
    Plan,
    Publication,
    TargetRefusedError,
    Value,
)
from secret_authority.engine.rotation.rotators import postgresql_settings
from secret_authority.engine.rotation.rotators.settings import Logins

TIMEOUT_SECONDS = 10
_COMMENT = re.compile(r"^secret-authority gen=(\d+) id=(\S+)$")
_INVALID_PASSWORD = "28P01"
# Connection, operator intervention, resources, serialisation, "tuple concurrently updated": another try may succeed.
_PASSING = ("08", "53", "57", "40", "55", "XX")


def scram_verifier(password: str, salt: bytes | None = None, iterations: int = 4096) -> str:
    """What PostgreSQL stores for a password of ASCII characters (RFC 5803)."""
    password.encode("ascii")  # others would have to be normalised first (RFC 4013)
    salt = secrets.token_bytes(16) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    client = hmac.digest(salted, b"Client Key", "sha256")
    server = hmac.digest(salted, b"Server Key", "sha256")
    stored = hashlib.sha256(client).digest()
    encoded = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${iterations}:{encoded[0]}${encoded[1]}:{encoded[2]}"


class Server:
    """Connections to one server, as the administrator or as an application. Errors never quote a statement."""

    def __init__(self, settings: Mapping[str, Any], logins: Logins) -> None:
        self.host, self.port = str(settings["host"]), int(settings.get("port", 5432))
        self._database, self._tls = str(settings["database"]), settings.get("tls", True)
        self._admin, self._logins = str(settings["admin"]), logins
        # Whether the administrator's connection is used for the next statement as well, and that connection.
        self._sharing = False
        self._shared: Connection | None = None

    def as_user(self, username: str, password: str, ca: str | None) -> Connection:
        """Raises `DatabaseError` when the server says no, `Unavailable` when it says nothing."""
        try:
            return Connection(
                username,
                host=self.host,
                port=self.port,
                database=self._database,
                password=password,
                timeout=TIMEOUT_SECONDS,
                ssl_context=self._context(ca),
                application_name="secret-authority",
            )
        except (InterfaceError, OSError) as error:
            raise Unavailable(f"{self.host}:{self.port} cannot be reached: {type(error).__name__}") from None

    def _context(self, ca: str | None) -> ssl.SSLContext | Literal[False]:
        # For None the library takes TLS where it is offered, and checks no certificate.
        return ssl.create_default_context(cadata=ca) if self._tls else False

    def ca(self) -> str | None:
        """The CA certificates to trust: key ca.crt of the administrator's login, else those of the system."""
        return self._logins(self._admin).get("ca.crt") if self._tls else None

    @contextlib.contextmanager
    def connected(self) -> Iterator[None]:
        """One login of the administrator for all that is done inside."""
        self._sharing = True
        try:
            yield
        finally:
            self._sharing = False
            _close(self._shared)
            self._shared = None

    @contextlib.contextmanager
    def admin(self) -> Iterator[Connection]:
        # A connection is taken out while it is used. After an error it does not come back: its transaction, and what
        # the server thinks of it, are unknown.
        connection, self._shared = self._shared, None
        used = False
        try:
            if connection is None:
                login = self._logins(self._admin)
                connection = self.as_user(login["username"], login["password"], self.ca())
            yield connection
            used = True
        except DatabaseError as error:
            raise self._refusal(error) from None
        except (InterfaceError, OSError) as error:
            raise Unavailable(f"{self.host}:{self.port} cannot be reached: {type(error).__name__}") from None
        except KeyError as error:
            raise TargetRefusedError(f"secret {self._admin} has no key {error.args[0]}") from None
        finally:
            if used and self._sharing:
                self._shared = connection
            else:
                _close(connection)

    def _refusal(self, error: DatabaseError) -> Exception:
        code = error_code(error)
        if code.startswith(_PASSING):
            return Unavailable(f"{self.host}:{self.port} answered with error {code}")
        hint = {_INVALID_PASSWORD: f"it refuses the login of {self._admin}", "42501": f"{self._admin} lacks rights"}
        return TargetRefusedError(f"{self.host}:{self.port}: {hint.get(code, f'error {code}')}")


def _close(connection: Connection | None) -> None:
    if connection is not None:
        with contextlib.suppress(Exception):
            connection.close()


def error_code(error: DatabaseError) -> str:
    """The SQLSTATE of an answer."""
    found = error.args[0] if error.args else None
    return str(found.get("C", "XX000")) if isinstance(found, dict) else "XX000"


class PostgresqlRotator:
    """`users` are two that take turns, or one."""

    kind: ClassVar[str] = "postgresql"
    overlap: ClassVar[Overlap] = Overlap.TWO_SLOTS
    window: ClassVar[bool] = False

    def __init__(self, server: Server, users: list[str], owner: str = "") -> None:
        self._server, self._users, self._owner = server, users, owner

    @classmethod
    def build(cls, secret: CatalogueSecret, settings: Mapping[str, Any], logins: Logins) -> PostgresqlRotator:
        users = [str(user) for user in settings["users"]]
        owner = str(settings.get("owner", ""))
        return (cls if len(users) > 1 else OneUserRotator)(Server(settings, logins), users, owner)

    @classmethod
    def check(cls, secret: CatalogueSecret, settings: Mapping[str, Any], file: str) -> list[Problem]:
        return postgresql_settings.check(secret, settings, file)

    @property
    def target(self) -> str:
        return f"postgresql {self._server.host}:{self._server.port}"

    def connected(self) -> contextlib.AbstractContextManager[None]:
        return self._server.connected()

    def ready(self) -> str:
        with self._server.admin() as admin:
            found = admin.run("SELECT rolname FROM pg_roles WHERE rolname = ANY(:names)", names=self._users)
        missing = sorted(set(self._users) - {name for (name,) in found or []})
        return f"{self.target} has no role {', '.join(missing)}; see docs/rotation.md" if missing else ""

    def provision(self, current: Value) -> str:
        """Make the users that are missing; the one that the current value names gets its password.

        A user that exists is left alone, whatever its password: it is somebody's, or a rotation's.
        """
        if not self._owner:
            return ""
        with self._server.admin() as admin:
            admin.run("BEGIN")
            admin.run("SET LOCAL statement_timeout = '10s'")
            for user in self._users:
                admin.run("SELECT pg_advisory_xact_lock(hashtext(:name))", name=f"secret-authority:{user}")
            query = "SELECT rolname FROM pg_roles WHERE rolname = ANY(:names)"
            there = {name for (name,) in admin.run(query, names=[*self._users, self._owner]) or []}
            if self._owner not in there:
                raise TargetRefusedError(f"{self.target} has no role {self._owner}; see docs/rotation.md")
            missing = [user for user in self._users if user not in there]
            for user in missing:
                named = user == current.fields.get("username")
                password = literal(scram_verifier(current.fields["password"])) if named else "NULL"
                admin.run(f"CREATE ROLE {identifier(user)} LOGIN PASSWORD {password} IN ROLE {identifier(self._owner)}")
                admin.run(f"ALTER ROLE {identifier(user)} SET role = {identifier(self._owner)}")
            admin.run("COMMIT")
        return f"users {', '.join(missing)}" if missing else ""

    def plan(self, current: Value, fence: Fence) -> Plan:
        used = current.fields.get("username")
        user = next(name for name in self._users if name != used or len(self._users) == 1)
        if fence.dead and used in self._users:
            user = used  # running pods have the other one's login
        fields = {**current.fields, "username": user, "password": secrets.token_urlsafe(32)}
        return Plan((Publication(Value(fields)),), retires=current)

    def plan_given(self, current: Value, given: Value) -> Plan:
        user, used = given.fields.get("username"), current.fields.get("username")
        turn = next(name for name in self._users if name != used or len(self._users) == 1)
        if user != turn:
            raise GivenValueError(f"its username is not {turn}, whose turn it is")
        if given.fields.get("password") == current.fields.get("password"):
            raise GivenValueError("it is the login that is in use")
        return Plan((Publication(Value({**current.fields, **given.fields})),), retires=current)

    def apply(self, value: Value, fence: Fence) -> None:
        fence.protect("username", value, same_is_fine=True)
        self._change(value.fields["username"], fence, scram_verifier(value.fields["password"]))

    def accepts(self, value: Value) -> Accepts:
        """Log in as the application does. Only "wrong password" is a no: other answers say nothing about the value."""
        try:
            connection = self._server.as_user(value.fields["username"], value.fields["password"], self._server.ca())
        except DatabaseError as error:
            return Accepts.NO if error_code(error) == _INVALID_PASSWORD else Accepts.UNKNOWN
        except (Unavailable, TargetRefusedError):
            return Accepts.UNKNOWN
        _close(connection)
        return Accepts.YES

    def in_use(self, value: Value) -> int | None:
        try:
            with self._server.admin() as admin:
                query = "SELECT count(*) FROM pg_stat_activity WHERE usename = :name"
                found = admin.run(query, name=value.fields["username"])
        except (Unavailable, TargetRefusedError):
            return None
        return int(found[0][0]) if found else None

    def revoke(self, value: Value, fence: Fence) -> None:
        fence.protect("username", value)
        self._change(value.fields["username"], fence, None)

    def discard(self, value: Value, fence: Fence) -> None:
        self.revoke(value, fence)

    def generation(self) -> int | None:
        with self._server.admin() as admin:
            query = "SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = ANY(:names)"
            comments = [comment for (comment,) in admin.run(query, names=self._users) or []]
        return max((generation_of(comment)[0] for comment in comments), default=0)

    def _change(self, user: str, fence: Fence, verifier: str | None) -> None:
        """Set or take a password, and note the generation, in one transaction."""
        with self._server.admin() as admin:
            admin.run("BEGIN")
            admin.run("SET LOCAL statement_timeout = '10s'")
            admin.run("SELECT pg_advisory_xact_lock(hashtext(:name))", name=f"secret-authority:{user}")
            query = "SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = :name"
            found = admin.run(query, name=user)
            if not found:
                raise TargetRefusedError(f"{self.target} has no role {user}; see docs/rotation.md")
            generation, identity = generation_of(found[0][0])
            newer = generation > fence.generation
            if newer or (generation == fence.generation and identity != fence.id):
                raise FencedError(f"{user} is at generation {generation}")
            password = "NULL" if verifier is None else literal(verifier)
            login = "" if verifier is None else "LOGIN "
            admin.run(f"ALTER ROLE {identifier(user)} {login}PASSWORD {password}")
            comment = f"secret-authority gen={fence.generation} id={fence.id}"
            admin.run(f"COMMENT ON ROLE {identifier(user)} IS {literal(comment)}")
            admin.run("COMMIT")


class OneUserRotator(PostgresqlRotator):
    """One user: `apply` ends the old password, and `discard` brings it back."""

    overlap: ClassVar[Overlap] = Overlap.NONE
    window: ClassVar[bool] = True

    def apply(self, value: Value, fence: Fence) -> None:
        self._change(value.fields["username"], fence, scram_verifier(value.fields["password"]))

    def in_use(self, value: Value) -> int | None:
        return None  # sessions of the old and of the new password look alike

    def revoke(self, value: Value, fence: Fence) -> None:
        """Nothing is left to revoke once the new password is set; if the old one works, that did not happen."""
        if self.accepts(fence.in_force) is not Accepts.YES:
            self._change(value.fields["username"], fence, scram_verifier(fence.in_force.fields["password"]))

    def discard(self, value: Value, fence: Fence) -> None:
        self._change(value.fields["username"], fence, scram_verifier(fence.in_force.fields["password"]))


def generation_of(comment: str | None) -> tuple[int, str]:
    """Generation and rotation id of a user's comment; 0 when it is not ours."""
    found = _COMMENT.match(comment or "")
    return (int(found[1]), found[2]) if found else (0, "")
