"""Every rotator keeps the same promises; PostgreSQL's against real servers, of every version that is there."""

from __future__ import annotations

import base64
import contextlib
import logging
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from pg8000.native import Connection

from secret_authority.core.catalogue.schema import CatalogueSecret
from secret_authority.core.errors import Unavailable
from secret_authority.core.rotation.rotator import (
    Accepts,
    Connected,
    Dated,
    Fence,
    FencedError,
    GivenValueError,
    MadeByTarget,
    Overlap,
    Plan,
    Provisioner,
    Rotator,
    TakesValues,
    TargetRefusedError,
    Value,
)
from secret_authority.engine.rotation.controller import drain_of
from secret_authority.engine.rotation.rotators import postgresql, registry
from secret_authority.engine.rotation.rotators.postgresql import scram_verifier
from secret_authority.engine.tls.ca import Pair, issue, new_ca
from tests.support.issuer import TOKEN, Issuer, certificate, serving
from tests.support.postgres_process import ADMIN, PostgresServer, installations, postgres_server
from tests.support.vault_process import free_ports, wait_for

ROOT = Path(__file__).parents[2]
FIRST = {"username": "orders_a", "password": "first-password", "host": "db"}


def entry(rotator: dict[str, object], keys: list[str], **rotation: str) -> CatalogueSecret:
    return CatalogueSecret.model_validate(
        {
            "name": "orders-db",
            "class": "internal",
            "owner": "team-orders",
            "vault": {"datasource": "postgres", "consumer": "orders"},
            "consumers": [{"namespace": "shop", "secret": "orders-db", "keys": {key: key for key in keys}}],
            "rotation": {"type": "time-based", "ttl": "720h", **rotation},
            "rotator": rotator,
        }
    )


def at_server(server: PostgresServer, users: list[str], **more: object) -> Rotator:
    settings = {"kind": "postgresql", "host": "127.0.0.1", "port": server.port, "database": "orders", "tls": False}
    secret = entry({**settings, "users": users, "admin": "admin", **more}, ["username", "password"])
    return registry.build(secret, lambda _name: ADMIN)


VERSIONS = sorted(installations())


@pytest.fixture(scope="module")
def started() -> Iterator[Callable[[str], PostgresServer]]:
    """Servers by version, each started when it is first asked for."""
    made: dict[str, PostgresServer] = {}
    with contextlib.ExitStack() as stack:

        def start(version: str) -> PostgresServer:
            if version not in made:
                made[version] = stack.enter_context(postgres_server(installations()[version]))
            return made[version]

        yield start


def as_at_first(server: PostgresServer) -> PostgresServer:
    with contextlib.closing(server.superuser()) as admin:
        for user, password in (("orders_a", "'first-password'"), ("orders_b", "NULL")):
            admin.run(f"ALTER ROLE {user} LOGIN PASSWORD {password}")
            admin.run(f"COMMENT ON ROLE {user} IS NULL")
        admin.run("ALTER ROLE rotator CREATEROLE")
    return server


@pytest.fixture(params=VERSIONS)
def fresh(request: pytest.FixtureRequest, started: Callable[[str], PostgresServer]) -> PostgresServer:
    """A server with its users as they were at first."""
    return as_at_first(started(request.param))


def fence(generation: int, in_force: Value, identity: str = "") -> Fence:
    return Fence("orders-db", generation, identity or f"ro-{generation}", in_force)


ISSUED = {"key-id": "first", "api-key": "first-issued-secret"}


@pytest.fixture
def issuer(tmp_path: Path) -> Iterator[Issuer]:
    with serving(tmp_path) as made:
        made.register("first", ISSUED["api-key"], "orders-db", 0)
        yield made


def at_issuer(issuer: Issuer, **more: object) -> Rotator:
    keys = {"id": "key-id", "secret": "api-key"}
    settings = {"kind": "issuer", "url": issuer.url, "keys": keys, "admin": "admin", **more}
    return registry.build(entry(settings, ["key-id", "api-key"]), lambda _name: issuer.login)


@dataclass
class Case:
    rotator: Rotator
    current: Value

    def plan(self, generation: int = 1, identity: str = "") -> tuple[Plan, Fence]:
        """A plan whose values are complete, also where the target makes them."""
        fenced = fence(generation, self.current, identity)
        plan = self.rotator.plan(self.current, fenced)
        whole = [replace(one, value=self._complete(one.value, fenced)) for one in plan.publications]
        return replace(plan, publications=tuple(whole)), fenced

    def _complete(self, value: Value, fenced: Fence) -> Value:
        if isinstance(self.rotator, MadeByTarget) and self.rotator.incomplete(value):
            return self.rotator.complete(value, fenced)
        return value


CA = new_ca("web-ca")
CA_LOGIN = {"tls.crt": CA.certificate, "tls.key": CA.key}
WEB = {"kind": "tls", "names": ["web.shop.svc", "10.0.0.7"], "admin": "admin"}
TLS_KEYS = ["ca.crt", "tls.crt", "tls.key"]


def certificates(login: dict[str, str], **more: object) -> Rotator:
    secret = entry({**WEB, **more}, TLS_KEYS, rotate_before="240h")
    return registry.build(secret, lambda _name: login)


def issued(ca: Pair, names: list[str], bundle: str = "", **more: Any) -> Value:
    pair = issue(ca, names, **more)
    return Value({"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": bundle or ca.certificate})


CASES = [
    "generated",
    "tls",
    "key-set",
    "issuer",
    "issuer-creates",
    *(f"{users} {version}" for users in ("two-users", "one-user") for version in VERSIONS),
]


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, started: Callable[[str], PostgresServer]) -> Case:
    if request.param == "generated":
        return Case(registry.build(entry({"kind": "generated"}, ["key"]), lambda _: {}), Value({"key": "old"}))
    if request.param == "key-set":
        keys = {"current": "key", "next": "key-next", "previous": "key-previous"}
        secret = entry({"kind": "key-set", "keys": keys}, list(keys.values()), max_overlap="1h")
        return Case(registry.build(secret, lambda _: {}), Value({"key": "old", "key-next": "x", "key-previous": "y"}))
    if request.param == "tls":
        return Case(certificates(CA_LOGIN), issued(CA, ["web.shop.svc", "10.0.0.7"]))
    if request.param.startswith("issuer"):
        issuer: Issuer = request.getfixturevalue("issuer")
        return Case(at_issuer(issuer, create=request.param == "issuer-creates"), Value(ISSUED))
    kind, version = request.param.split()
    users = ["orders_a", "orders_b"] if kind == "two-users" else ["orders_a"]
    return Case(at_server(as_at_first(started(version)), users), Value(FIRST))


# The conformance suite: what every rotator promises.


def test_a_plan_changes_nothing_and_is_different_each_time(case: Case) -> None:
    before = case.rotator.accepts(case.current)
    plan, _ = case.plan()
    other, _ = case.plan(identity="ro-other")
    assert plan.publications[0].value != other.publications[0].value
    assert case.rotator.accepts(case.current) is before is Accepts.YES
    for publication in plan.publications:
        assert set(publication.value.fields) == set(case.current.fields), "a key came or went"


def test_apply_may_be_repeated_and_then_the_value_is_accepted(case: Case) -> None:
    plan, fenced = case.plan()
    for publication in plan.publications:
        for _ in range(2):
            case.rotator.apply(publication.value, fenced)
        assert case.rotator.accepts(publication.value) is Accepts.YES
    old = case.rotator.accepts(case.current)
    assert old is (Accepts.NO if case.rotator.overlap is Overlap.NONE else Accepts.YES)


def test_what_is_retired_is_refused_after_revoke_and_the_new_one_is_not(case: Case) -> None:
    plan, fenced = case.plan()
    new = plan.publications[-1].value
    case.rotator.apply(new, fenced)
    if plan.retires is None:
        return
    for _ in range(2):
        case.rotator.revoke(plan.retires, fence(1, new))
    assert case.rotator.accepts(plan.retires) is Accepts.NO
    assert case.rotator.accepts(new) is Accepts.YES


def test_discard_leaves_the_value_that_is_in_force(case: Case) -> None:
    for generation, applied in enumerate((False, True), 1):
        plan, fenced = case.plan(generation)
        pending = plan.publications[0].value
        if applied:
            case.rotator.apply(pending, fenced)
        for _ in range(2):
            case.rotator.discard(pending, fenced)
        assert case.rotator.accepts(case.current) is Accepts.YES
        if plan.retires is not None:
            assert case.rotator.accepts(pending) is Accepts.NO


def test_an_older_generation_changes_nothing(case: Case) -> None:
    plan, fenced = case.plan(5)
    if plan.retires is None:
        return
    new = plan.publications[0].value
    case.rotator.apply(new, fenced)
    assert case.rotator.generation() == 5
    # Ids of keys are never used twice; users are, so a database has to know the rotation, too.
    also = [] if case.rotator.kind == "issuer" else [fence(5, case.current, "another-rotation")]
    stale = Value(
        {name: text if name in ("username", "key-id") else f"stale-{text}" for name, text in new.fields.items()}
    )
    calls: list[Callable[[Value, Fence], object]] = [case.rotator.apply, case.rotator.discard]
    if isinstance(case.rotator, MadeByTarget):
        calls = [case.rotator.complete]
    for call in calls:
        for older in (fence(4, case.current), *also):
            with pytest.raises(FencedError):
                call(stale, older)
    assert case.rotator.accepts(new) is Accepts.YES and case.rotator.accepts(stale) is Accepts.NO


def test_no_value_is_shown(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    plan, fenced = case.plan()
    case.rotator.apply(plan.publications[0].value, fenced)
    shown = repr(plan) + repr(fenced) + repr(case.rotator) + caplog.text
    values = [
        text
        for one in plan.publications
        for name, text in one.value.fields.items()
        if name not in ("username", "key-id")
    ]
    assert not [text for text in values if len(text) > 8 and text in shown]


# Issuers.


def test_an_issuer_that_is_away_has_neither_accepted_nor_refused(issuer: Issuer) -> None:
    rotator, current = at_issuer(issuer), Value(ISSUED)
    issuer.down = True
    assert rotator.accepts(current) is Accepts.UNKNOWN
    for call in (lambda: rotator.apply(Value({**ISSUED, "key-id": "x"}), fence(1, current)), rotator.ready):
        with pytest.raises(Unavailable, match="issuer localhost"):
            call()


def test_a_key_that_was_ended_never_comes_back(issuer: Issuer) -> None:
    """A paused engine registers what another one has taken back meanwhile."""
    rotator, current = at_issuer(issuer), Value(ISSUED)
    new = rotator.plan(current, fence(1, current)).publications[0].value
    rotator.apply(new, fence(1, current))
    rotator.discard(new, fence(1, current))
    with pytest.raises(FencedError):
        rotator.apply(new, fence(1, current))
    assert rotator.accepts(new) is Accepts.NO and list(issuer.keys) == ["first"]


def test_a_key_taken_back_before_it_arrived_never_comes_either(issuer: Issuer) -> None:
    rotator, current = at_issuer(issuer), Value(ISSUED)
    new = rotator.plan(current, fence(1, current)).publications[0].value
    rotator.discard(new, fence(1, current))
    with pytest.raises(FencedError):
        rotator.apply(new, fence(1, current))


def test_an_issuer_that_creates_makes_one_key_for_a_rotation_however_often_it_is_asked(issuer: Issuer) -> None:
    rotator, current = at_issuer(issuer, create=True), Value(ISSUED)
    assert isinstance(rotator, MadeByTarget)
    pending = rotator.plan(current, fence(1, current)).publications[0].value
    assert rotator.incomplete(pending) and rotator.accepts(pending) is Accepts.NO and list(issuer.keys) == ["first"]
    first, again = (rotator.complete(pending, fence(1, current)) for _ in range(2))
    assert first == again and rotator.accepts(first) is Accepts.YES and len(issuer.keys) == 2
    other = rotator.complete(pending, fence(2, current))
    assert other != first and len(issuer.keys) == 3


def test_a_key_that_was_created_and_never_published_ends_without_its_name(issuer: Issuer) -> None:
    """The engine was killed before it had the answer: it knows no more than the rotation's id."""
    rotator, current = at_issuer(issuer, create=True), Value(ISSUED)
    assert isinstance(rotator, MadeByTarget)
    pending = rotator.plan(current, fence(1, current)).publications[0].value
    lost = rotator.complete(pending, fence(1, current))
    rotator.discard(pending, fence(1, current))
    assert rotator.accepts(lost) is Accepts.NO and list(issuer.keys) == ["first"]
    for identity in ("ro-1", "ro-never-asked"):
        rotator.discard(pending, fence(1, current, identity))
        with pytest.raises(FencedError):
            rotator.complete(pending, fence(1, current, identity))
    assert list(issuer.keys) == ["first"]


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (409, None, "cannot show the key of this rotation again: abort the rotation"),
        (201, {"id": "x"}, "its answer has no id and secret"),
        (201, {"id": "x", "secret": ["CANARY"]}, "its answer has no id and secret"),
        (201, None, "its answer has no id and secret"),
    ],
)
def test_a_key_that_cannot_be_had_is_a_matter_for_a_person(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch, status: int, answer: object, said: str
) -> None:
    rotator, current = at_issuer(issuer, create=True), Value(ISSUED)
    assert isinstance(rotator, MadeByTarget)
    pending = rotator.plan(current, fence(1, current)).publications[0].value
    monkeypatch.setattr(issuer, "answer", lambda *_: (status, answer))
    with pytest.raises(TargetRefusedError, match=said) as refused:
        rotator.complete(pending, fence(1, current))
    assert "CANARY" not in str(refused.value)


def test_a_key_that_is_still_accepted_after_its_end_is_not_taken_for_ended(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotator, current = at_issuer(issuer, create=True), Value(ISSUED)
    monkeypatch.setattr(issuer, "answer", lambda method, *_: (200, {"ids": ["x"]}) if method == "GET" else (204, None))
    with pytest.raises(TargetRefusedError, match="still accepts a key"):
        rotator.discard(current, fence(1, current))


def test_the_issuer_of_the_example_is_killed_and_comes_back_with_what_it_has_confirmed(tmp_path: Path) -> None:
    public, key, ca = certificate(tmp_path)
    state, token, (port,) = tmp_path / "keys.json", tmp_path / "token", free_ports(1)
    token.write_text(f"{TOKEN}\n")
    files = [f"--certificate={public}", f"--key={key}", f"--token={token}", f"--state={state}"]

    @contextlib.contextmanager
    def running() -> Iterator[None]:
        command = [sys.executable, "-m", "examples.issuer", f"--listen=127.0.0.1:{port}", *files]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None and "listening" in process.stdout.readline()
                yield
            finally:
                process.kill()

    settings = {"kind": "issuer", "url": f"https://localhost:{port}/v1", "admin": "admin"}
    settings["keys"] = {"id": "key-id", "secret": "api-key"}
    rotator = registry.build(entry(settings, ["key-id", "api-key"]), lambda _name: {"token": TOKEN, "ca.crt": ca})
    first, second = Value(ISSUED), Value({"key-id": "second", "api-key": "second-issued-secret"})
    with running():
        rotator.apply(first, fence(1, Value({})))
        rotator.apply(second, fence(2, first))
    assert rotator.accepts(second) is Accepts.UNKNOWN
    with running():
        assert rotator.accepts(first) is rotator.accepts(second) is Accepts.YES and rotator.generation() == 2
        with pytest.raises(FencedError):
            rotator.apply(Value({**ISSUED, "key-id": "third"}), fence(1, first))
        rotator.revoke(first, fence(2, second))
    creating = registry.build(
        entry({**settings, "create": True}, ["key-id", "api-key"]), lambda _name: {"token": TOKEN, "ca.crt": ca}
    )
    assert isinstance(creating, MadeByTarget)
    gaps = creating.plan(second, fence(3, second)).publications[0].value
    with running():
        assert rotator.accepts(first) is Accepts.NO and rotator.accepts(second) is Accepts.YES
        made = creating.complete(gaps, fence(3, second))
    with running():
        assert creating.complete(gaps, fence(3, second)) == made
        creating.discard(gaps, fence(3, second))
    with running():
        assert creating.accepts(made) is Accepts.NO
        with pytest.raises(FencedError):
            creating.complete(gaps, fence(3, second))
        with pytest.raises(FencedError):
            rotator.apply(first, fence(3, second))
    assert not any(value.fields["api-key"] in state.read_text() for value in (first, second, made))


def test_another_administrator_token_is_a_matter_for_a_person(issuer: Issuer) -> None:
    settings = {"kind": "issuer", "url": issuer.url, "keys": {"id": "key-id", "secret": "api-key"}, "admin": "admin"}
    wrong = {**issuer.login, "token": "canary-token"}
    rotator = registry.build(entry(settings, ["key-id", "api-key"]), lambda _name: wrong)
    with pytest.raises(TargetRefusedError, match="answered 403") as refused:
        rotator.ready()
    assert "canary" not in str(refused.value)


# Certificates.


def chain(value: Value) -> tuple[x509.Certificate, list[x509.Certificate]]:
    bundle = x509.load_pem_x509_certificates(value.fields["ca.crt"].encode())
    return x509.load_pem_x509_certificate(value.fields["tls.crt"].encode()), bundle


def test_a_certificate_and_its_key_are_of_one_generation_and_its_end_says_when_it_is_due() -> None:
    rotator, current = certificates(CA_LOGIN), issued(CA, ["web.shop.svc", "10.0.0.7"])
    (publication,) = rotator.plan(current, fence(1, current)).publications
    made, bundle = chain(publication.value)
    assert publication.value.fields["tls.key"] != current.fields["tls.key"] and bundle == [CA.parsed]
    assert isinstance(rotator, Dated) and rotator.expires(publication.value) == made.not_valid_after_utc
    life = made.not_valid_after_utc - datetime.now(UTC)
    assert timedelta(hours=719) < life <= timedelta(hours=720)
    torn = Value({**publication.value.fields, "tls.key": current.fields["tls.key"]})
    assert rotator.accepts(publication.value) is Accepts.YES and rotator.accepts(torn) is Accepts.NO


def test_a_server_and_a_client_agree_on_what_is_published(tmp_path: Path) -> None:
    """A real handshake: the client trusts `ca.crt`, and the server has what a consumer gets."""
    rotator, current = certificates(CA_LOGIN), issued(CA, ["web.shop.svc", "10.0.0.7"])
    value = rotator.plan(current, fence(1, current)).publications[-1].value
    for name, text in value.fields.items():
        (tmp_path / name).write_text(text)
    there, here = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=tmp_path / "ca.crt")
    there.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    one, other = socket.socketpair()
    thread = threading.Thread(target=lambda: there.wrap_socket(one, server_side=True).close())
    thread.start()
    with here.wrap_socket(other, server_hostname="web.shop.svc") as session:
        assert session.getpeercert()["subjectAltName"][0] == ("DNS", "web.shop.svc")  # type: ignore[index]
    thread.join()


def test_a_first_value_that_is_no_certificate_is_due_at_once() -> None:
    rotator, random = certificates(CA_LOGIN), Value(dict.fromkeys(TLS_KEYS, "random"))
    assert isinstance(rotator, Dated) and rotator.expires(random) < datetime(2000, 1, 1, tzinfo=UTC)
    assert rotator.accepts(random) is Accepts.NO
    assert rotator.accepts(rotator.plan(random, fence(1, random)).publications[-1].value) is Accepts.YES


def test_a_new_ca_is_known_to_every_consumer_before_it_issues() -> None:
    old, current = new_ca("old-ca"), issued(CA, ["web.shop.svc", "10.0.0.7"])
    current = issued(old, ["web.shop.svc", "10.0.0.7"])
    rotator = certificates(CA_LOGIN)
    known, fresh = rotator.plan(current, fence(1, current)).publications
    assert known.value.fields["tls.crt"] == current.fields["tls.crt"]
    assert chain(known.value)[1] == chain(fresh.value)[1] == [CA.parsed, old.parsed]
    assert rotator.accepts(known.value) is rotator.accepts(fresh.value) is Accepts.YES
    # The next rotation forgets a CA that has ended.
    ended = new_ca("ended-ca", datetime(2020, 1, 1, tzinfo=UTC), timedelta(days=1))
    value = issued(CA, ["web.shop.svc"], CA.certificate + ended.certificate)
    assert chain(rotator.plan(value, fence(2, value)).publications[-1].value)[1] == [CA.parsed]


def test_a_ca_that_ends_too_soon_or_is_none_is_said_without_its_key() -> None:
    short = new_ca("short-ca", life=timedelta(days=3))
    rotator = certificates({"tls.crt": short.certificate, "tls.key": short.key})
    assert "before a new certificate would: replace it" in rotator.ready()
    for login in ({}, {"tls.crt": "canary", "tls.key": "canary"}, {"tls.crt": CA.certificate, "tls.key": short.key}):
        with pytest.raises(TargetRefusedError, match="secret admin holds no CA") as refused:
            certificates(login).ready()
        assert "canary" not in str(refused.value) and "PRIVATE" not in str(refused.value)


def test_a_certificate_of_a_person_has_to_fit() -> None:
    rotator, current = certificates(CA_LOGIN), issued(CA, ["web.shop.svc", "10.0.0.7"])
    assert isinstance(rotator, TakesValues)
    given = issued(CA, ["web.shop.svc", "10.0.0.7", "www.example"])
    assert rotator.plan_given(current, given).publications[0].value == given
    past = datetime(2020, 1, 1, tzinfo=UTC)
    for wrong, words in (
        (issued(CA, ["other.svc"]), "does not name web.shop.svc"),
        (issued(new_ca("x"), ["web.shop.svc", "10.0.0.7"], CA.certificate), "not issued by a CA of its ca.crt"),
        (issued(CA, ["web.shop.svc", "10.0.0.7"], now=past), "is not valid now"),
        (Value({**given.fields, "tls.key": current.fields["tls.key"]}), "do not belong together"),
    ):
        with pytest.raises(GivenValueError, match=words):
            rotator.plan_given(current, wrong)


# PostgreSQL.


def password_of(value: Value) -> str:
    return value.fields["password"]


def test_users_take_turns(fresh: PostgresServer) -> None:
    rotator, current, seen = at_server(fresh, ["orders_a", "orders_b"]), Value(FIRST), []
    for generation in range(1, 5):
        new = rotator.plan(current, fence(generation, current)).publications[0].value
        rotator.apply(new, fence(generation, current))
        assert rotator.accepts(current) is rotator.accepts(new) is Accepts.YES
        rotator.revoke(current, fence(generation, new))
        assert rotator.accepts(current) is Accepts.NO
        seen.append(new.fields["username"])
        current = new
    assert seen == ["orders_b", "orders_a"] * 2 and current.fields["host"] == "db"


def test_what_consumers_use_is_never_changed(fresh: PostgresServer) -> None:
    rotator, current = at_server(fresh, ["orders_a", "orders_b"]), Value(FIRST)
    attack = Value({**FIRST, "password": "another"})
    for call in (rotator.apply, rotator.revoke, rotator.discard):
        with pytest.raises(FencedError):
            call(attack, fence(9, current))
    assert rotator.accepts(current) is Accepts.YES


def test_the_newest_of_eight_at_once_wins(fresh: PostgresServer) -> None:
    rotator, current = at_server(fresh, ["orders_a", "orders_b"]), Value(FIRST)
    new = {n: Value({**FIRST, "username": "orders_b", "password": f"password-{n}"}) for n in range(8, 16)}

    def run(number: int) -> None:
        with contextlib.suppress(FencedError):
            for _ in range(20):
                with contextlib.suppress(Unavailable):
                    rotator.apply(new[number], fence(number, current))
                    return

    threads = [threading.Thread(target=run, args=(number,)) for number in new]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rotator.generation() == 15
    assert [number for number in new if rotator.accepts(new[number]) is Accepts.YES] == [15]


def test_no_password_reaches_the_log_of_the_server(fresh: PostgresServer) -> None:
    rotator, current = at_server(fresh, ["orders_a", "orders_b"]), Value(FIRST)
    new = rotator.plan(current, fence(1, current)).publications[0].value
    rotator.apply(new, fence(1, current))
    assert rotator.accepts(new) is Accepts.YES
    assert "ALTER ROLE" in fresh.log() and password_of(new) not in fresh.log()


def test_a_server_that_is_away_has_neither_accepted_nor_refused(fresh: PostgresServer) -> None:
    rotator = at_server(fresh, ["orders_a", "orders_b"])
    fresh.kill()
    try:
        assert rotator.accepts(Value(FIRST)) is Accepts.UNKNOWN and rotator.in_use(Value(FIRST)) is None
        with pytest.raises(Unavailable, match="cannot be reached"):
            rotator.apply(Value({**FIRST, "username": "orders_b"}), fence(1, Value(FIRST)))
        with pytest.raises(Unavailable):
            rotator.ready()
    finally:
        fresh.start()


def test_an_answer_that_is_not_about_the_password_is_no_refusal(fresh: PostgresServer) -> None:
    rotator = at_server(fresh, ["orders_a", "orders_b"], database="missing")
    assert rotator.accepts(Value(FIRST)) is Accepts.UNKNOWN


def test_sessions_of_the_old_user_are_counted(fresh: PostgresServer) -> None:
    rotator = at_server(fresh, ["orders_a", "orders_b"])
    assert rotator.in_use(Value(FIRST)) == 0
    session = Connection("orders_a", host="127.0.0.1", port=fresh.port, database="orders", password="first-password")
    assert rotator.in_use(Value(FIRST)) == 1
    session.close()


def logins_of_admin(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> list[Connection]:
    """Connections that the administrator makes from now on."""
    made: list[Connection] = []
    as_user = postgresql.Server.as_user

    def counted(self: Any, username: str, *more: Any) -> Connection:
        connection = as_user(self, username, *more)
        if username == ADMIN["username"]:
            made.append(connection)
        return connection

    monkeypatch.setattr(postgresql.Server, "as_user", counted)
    return made


def sessions_of_admin(server: PostgresServer) -> int:
    with contextlib.closing(server.superuser()) as admin:
        query = "SELECT count(*) FROM pg_stat_activity WHERE usename = :name"
        return int((admin.run(query, name=ADMIN["username"]) or [[0]])[0][0])


def test_calls_of_one_look_share_the_login_of_the_administrator(
    fresh: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each proof that a value is accepted or refused is a login of its own nevertheless."""
    rotator, current, made = (
        at_server(fresh, ["orders_a", "orders_b"]),
        Value(FIRST),
        logins_of_admin(fresh, monkeypatch),
    )
    assert isinstance(rotator, Connected)
    with rotator.connected():
        assert rotator.ready() == "" and rotator.generation() == 0
        new = rotator.plan(current, fence(1, current)).publications[0].value
        rotator.apply(new, fence(1, current))
        assert rotator.accepts(new) is Accepts.YES and rotator.in_use(current) == 0
        rotator.revoke(current, fence(1, new))
        assert rotator.accepts(current) is Accepts.NO and rotator.generation() == 1
    assert len(made) == 1
    wait_for(lambda: sessions_of_admin(fresh) == 0, "its session has ended")
    assert rotator.in_use(current) == 0 and len(made) == 2, "outside of it, each call has a login"


def test_a_shared_login_is_not_used_after_an_error(fresh: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    rotator, current, made = (
        at_server(fresh, ["orders_a", "orders_b"]),
        Value(FIRST),
        logins_of_admin(fresh, monkeypatch),
    )
    new = rotator.plan(current, fence(2, current)).publications[0].value
    assert isinstance(rotator, Connected)
    with rotator.connected():
        rotator.apply(new, fence(2, current))
        with pytest.raises(FencedError):
            rotator.apply(new, fence(1, current))  # leaves a transaction open
        assert rotator.in_use(current) == 0 and len(made) == 2
        with contextlib.closing(fresh.superuser()) as admin:
            query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = :name"
            admin.run(query, name=ADMIN["username"])
        wait_for(lambda: sessions_of_admin(fresh) == 0, "the server has ended the session")
        with pytest.raises(Unavailable):
            rotator.ready()
        assert rotator.ready() == "" and len(made) == 3


def test_missing_rights_and_roles_are_said_without_a_value(fresh: PostgresServer) -> None:
    rotator, new = (
        at_server(fresh, ["orders_a", "orders_b"]),
        Value({**FIRST, "username": "orders_b", "password": "canary"}),
    )
    assert rotator.ready() == ""
    assert "has no role nobody" in at_server(fresh, ["orders_a", "nobody"]).ready()
    with contextlib.closing(fresh.superuser()) as admin:
        admin.run("ALTER ROLE rotator NOCREATEROLE")
    with pytest.raises(TargetRefusedError, match="admin lacks rights") as refused:
        rotator.apply(new, fence(1, Value(FIRST)))
    assert "canary" not in str(refused.value)


def test_a_quote_in_a_name_stays_a_name(fresh: PostgresServer) -> None:
    name = """o'r"d;--"""
    with contextlib.closing(fresh.superuser()) as admin:
        admin.run("""DROP ROLE IF EXISTS "o'r""d;--" """)
        admin.run("""CREATE ROLE "o'r""d;--" LOGIN""")
        admin.run("""GRANT "o'r""d;--" TO rotator WITH ADMIN OPTION""")
    rotator = at_server(fresh, ["orders_a", name])
    new = rotator.plan(Value(FIRST), fence(1, Value(FIRST))).publications[0].value
    rotator.apply(new, fence(1, Value(FIRST)))
    assert new.fields["username"] == name and rotator.accepts(new) is Accepts.YES


def without_users(server: PostgresServer) -> PostgresServer:
    """A server that knows the application's owner and the administrator, and no login of the application."""
    with contextlib.closing(server.superuser()) as admin:
        for user in ("orders_a", "orders_b"):
            admin.run(f"DROP ROLE {user}")
    return server


def with_users_as_documented(server: PostgresServer) -> None:
    with contextlib.closing(server.superuser()) as admin:
        for user in ("orders_a", "orders_b"):
            admin.run(f"DROP ROLE IF EXISTS {user}")
            admin.run(f"CREATE ROLE {user} LOGIN IN ROLE orders")
            admin.run(f"GRANT {user} TO rotator WITH ADMIN OPTION")


def test_missing_users_are_made_as_members_of_the_owner(fresh: PostgresServer) -> None:
    rotator, current = at_server(without_users(fresh), ["orders_a", "orders_b"], owner="orders"), Value(FIRST)
    logged = len(fresh.log())
    try:
        assert isinstance(rotator, Provisioner) and rotator.accepts(current) is Accepts.NO
        assert rotator.provision(current) == "users orders_a, orders_b"
        assert rotator.accepts(current) is Accepts.YES and rotator.ready() == ""
        assert rotator.provision(current) == "", "they are there"
        login = {"host": "127.0.0.1", "port": fresh.port, "database": "orders"}
        with contextlib.closing(Connection("orders_a", password="first-password", **login)) as session:
            assert session.run("SELECT session_user, current_user") == [["orders_a", "orders"]]
            session.run("CREATE TABLE made_by_a (id int)")
        new = rotator.plan(current, fence(1, current)).publications[0].value
        rotator.apply(new, fence(1, current))
        with contextlib.closing(Connection("orders_b", password=password_of(new), **login)) as session:
            session.run("DROP TABLE made_by_a")
        rotator.revoke(current, fence(1, new))
        assert rotator.accepts(current) is Accepts.NO
        assert rotator.provision(current) == "" and rotator.accepts(current) is Accepts.NO, "it brings nothing back"
        assert "CREATE ROLE" in fresh.log()[logged:] and "first-password" not in fresh.log()[logged:]
    finally:
        with_users_as_documented(fresh)


def test_users_that_exist_are_left_as_they_are(fresh: PostgresServer) -> None:
    with contextlib.closing(fresh.superuser()) as admin:
        admin.run("DROP ROLE orders_b")
    rotator = at_server(fresh, ["orders_a", "orders_b"], owner="orders")
    assert isinstance(rotator, Provisioner)
    try:
        assert rotator.provision(Value({**FIRST, "password": "of-somebody-else"})) == "users orders_b"
        assert rotator.accepts(Value(FIRST)) is Accepts.YES
        assert rotator.accepts(Value({**FIRST, "username": "orders_b"})) is Accepts.NO, "it has no password yet"
    finally:
        with_users_as_documented(fresh)


def test_nothing_is_made_without_an_owner_or_without_that_role(fresh: PostgresServer) -> None:
    try:
        unasked = at_server(without_users(fresh), ["orders_a", "orders_b"])
        assert isinstance(unasked, Provisioner) and unasked.provision(Value(FIRST)) == ""
        assert "has no role orders_a, orders_b" in unasked.ready()
        lost = at_server(fresh, ["orders_a", "orders_b"], owner="nobody")
        assert isinstance(lost, Provisioner)
        with pytest.raises(TargetRefusedError, match="has no role nobody"):
            lost.provision(Value(FIRST))
        fresh.kill()
        with pytest.raises(Unavailable):
            lost.provision(Value(FIRST))
        fresh.start()
    finally:
        with_users_as_documented(fresh)


def test_the_verifier_is_that_of_rfc_7677() -> None:
    """The exchange of RFC 7677 section 3: user, pencil, this salt."""
    made = scram_verifier("pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="))
    assert made == (
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
        "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )


Settings = dict[str, object]
GOOD: Settings = {"kind": "postgresql", "host": "h", "database": "d", "users": ["a", "b"], "admin": "orders-db"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({**GOOD, "users": ["a"]}, "accept_window: true"),
        ({**GOOD, "users": ["a", "a"]}, "does not name users"),
        ({**GOOD, "users": ["a", "b" * 64]}, "63 bytes"),
        ({**GOOD, "port": "5432"}, "is not a number"),
        ({**GOOD, "tls": "no"}, "is not true or false"),
        ({**GOOD, "owner": 7}, "is not a text"),
        ({**GOOD, "drain": "soon"}, "is not a duration"),
        ({**GOOD, "password": "x"}, "is not a field of postgresql"),
        ({**GOOD, "admin": "nobody"}, "nobody is not a secret"),
        ({"kind": "postgresql", "users": ["a", "b"]}, "host"),
        ({"kind": "mysql"}, "no rotator mysql"),
        ({"kind": "issuer", "url": "http://x", "keys": {"id": "a", "secret": "b"}, "admin": "orders-db"}, "https URL"),
        ({"kind": "issuer", "url": "https://x", "keys": {"id": "a"}, "admin": "orders-db"}, "the two keys"),
        ({"kind": "generated", "bytes": 3}, "is not a field of generated"),
        ({"kind": "tls", "names": [], "admin": "orders-db"}, "does not name anything"),
        ({"kind": "tls", "names": ["x"], "admin": "orders-db"}, "takes password, username, which it has not"),
        ({"kind": "tls", "names": ["x"], "admin": "orders-db"}, "rotate_before: is missing"),
        ({"kind": "key-set"}, "three keys"),
        ({"kind": "key-set", "keys": {"current": "k", "next": "n", "previous": "p"}}, "does not take k, n, p"),
    ],
)
def test_wrong_settings_are_found_without_a_connection(settings: Settings, words: str) -> None:
    secret = entry(settings, ["username", "password"])
    found = "\n".join(str(problem) for problem in registry.check([secret], "catalogue.yaml"))  # type: ignore[arg-type]
    assert words in found and "catalogue.yaml: secrets[orders-db]" in found


def test_right_settings_are_right() -> None:
    secrets = [
        entry(GOOD, ["username", "password"]),
        entry({**GOOD, "owner": "orders", "drain": "10s"}, ["username", "password"]),
        entry({**GOOD, "users": ["a"], "accept_window": True}, ["username", "password"]),
        entry({"kind": "generated"}, ["key"]),
    ]
    for secret in secrets:
        assert registry.check([secret], "c") == []  # type: ignore[arg-type]


def test_the_entry_says_how_long_an_old_value_is_out_of_use() -> None:
    assert drain_of(entry({**GOOD, "drain": "1m10s"}, ["username"])) == timedelta(seconds=70)
    assert drain_of(entry(GOOD, ["username"])) is None


def test_a_package_adds_a_rotator_and_cannot_replace_one(monkeypatch: pytest.MonkeyPatch) -> None:
    class Point:
        def __init__(self, name: str) -> None:
            self.name = name

        def load(self) -> object:
            return self

        def check(self, *_: object) -> list[object]:
            return []

    load: Callable[[str], object] = registry.rotator_class
    monkeypatch.setattr(registry, "installed", lambda: (Point("vendor"),))
    assert isinstance(load("vendor"), Point) and "vendor" in registry.kinds()
    assert registry.check([entry({"kind": "vendor"}, ["key"])], "c") == []  # type: ignore[arg-type]
    monkeypatch.setattr(registry, "installed", lambda: (Point("generated"),))
    with pytest.raises(LookupError, match="second rotator generated"):
        load("generated")
