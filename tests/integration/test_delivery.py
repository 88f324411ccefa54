"""From Vault into Secrets by the real External Secrets: bytes and types, over a bare API server and a real Vault."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from components.consumption.external_secret import external_secret_spec
from secret_authority.clients.vault import Vault, VaultRefusedError
from secret_authority.contract.names import MANAGED_BY, SYNCED_BEFORE_ANNOTATION, VERSION_ANNOTATION
from secret_authority.core.catalogue.schema import CatalogueSecret
from secret_authority.core.errors import Unavailable
from secret_authority.engine.consumption.delivery import what_is_missing
from secret_authority.engine.consumption.versions import Version
from tests.support.delivery_site import (
    ESO,
    NAMESPACE,
    custom,
    delivery_programs,
    entry,
    external_secrets,
    made,
    synced,
    write,
)
from tests.support.flux_process import Flux
from tests.support.http_server import Handler, served
from tests.support.odd_values import is_text, odd_value
from tests.support.vault_process import Server, servers, wait_for

pytestmark = pytest.mark.skipif(not delivery_programs(), reason="no programs of the node: run `make tools`")
NUMBER = 210
PULL = b'{"auths": {"registry.example.org": {"auth": "dXNlcjpwYXNz"}}}'


def in_service(server: Server) -> Vault:
    """Vault with the mount of values; the client has the root token."""

    def answers() -> bool:
        with contextlib.suppress(Unavailable):
            return server.api.health() == 501
        return False

    wait_for(answers, "Vault answers")
    keys = server.api.write("sys/init", {"secret_shares": 1, "secret_threshold": 1})
    server.api.write("sys/unseal", {"key": keys["keys_base64"][0]})
    root = server.api.with_token(keys["root_token"])
    wait_for(lambda: root.health() == 200, "Vault is in service")
    root.write("sys/mounts/platform-data", {"type": "kv", "options": {"version": "2"}})

    def upgraded() -> bool:
        with contextlib.suppress(VaultRefusedError, Unavailable):
            return root.read("platform-data/config") is not None
        return False

    wait_for(upgraded, "the mount is ready")
    return root


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Flux, Vault]]:
    folder = tmp_path_factory.mktemp("delivery")
    (folder / "vault").mkdir()
    (folder / "api").mkdir()
    with contextlib.ExitStack() as stack:
        (server,) = stack.enter_context(servers(folder / "vault"))
        root = in_service(server)
        api = stack.enter_context(external_secrets(folder / "api", server, str(root.token)))
        yield api, root


def deliver(site: tuple[Flux, Vault], secret: CatalogueSecret, values: dict[str, bytes]) -> dict[str, Any]:
    """Write the values as `enter` and the handover do, and give the Secret that External Secrets makes."""
    write(site[1], secret, values)
    (consumer,) = secret.consumers
    return made(site[0], consumer.secret, external_secret_spec(secret, consumer, "10m0s"))


def read_again(api: Flux, name: str, mark: str) -> None:
    """Make External Secrets read Vault again, as the engine does for a new version."""
    patch = {"metadata": {"annotations": {"test/read": mark}}}
    api.call("PATCH", f"{ESO}/externalsecrets/{name}", patch, "application/merge-patch+json")


def key_by_key(secret: CatalogueSecret) -> dict[str, Any]:
    """The ExternalSecret of earlier releases: one read of Vault for each key."""
    (consumer,) = secret.consumers
    decoded = {key: {"decodingStrategy": "Base64"} if key in secret.binary else {} for key in consumer.keys.values()}
    template = {"template": {"type": consumer.type, "metadata": {"labels": MANAGED_BY}}} if consumer.type else {}
    return {
        "refreshInterval": "10m0s",
        "secretStoreRef": {"kind": "SecretStore", "name": secret.vault.mount},
        "target": {"name": consumer.secret, "creationPolicy": "Owner", "deletionPolicy": "Retain", **template},
        "data": [
            {"secretKey": key, "remoteRef": {"key": secret.vault.path, "property": of, **decoded[of]}}
            for key, of in sorted(consumer.keys.items())
        ],
    }


@contextlib.contextmanager
def turning_vault() -> Iterator[str]:
    """The address of a Vault in which a new version is published between any two reads."""
    numbers = itertools.count(1)

    class Turning(Handler):
        def do_GET(self) -> None:
            data: dict[str, Any] = {"type": "service", "ttl": 0, "expire_time": None}
            if "/data/" in self.path:
                number = next(numbers)
                data = {"data": {key: f"{key}-{number}" for key in ("username", "password", "host")}}
            self.answer(json.dumps({"data": data}).encode())

        do_POST = do_PUT = do_GET

    with served(Turning) as url:
        yield url


def test_values_arrive_byte_for_byte(site: tuple[Flux, Vault]) -> None:
    values = {f"k{number}": odd_value(number) for number in range(NUMBER)}
    binary = [key for key, value in values.items() if not is_text(value)]
    # Texts that are named binary travel in base64 as well.
    binary += [key for key, value in values.items() if is_text(value)][:20]
    assert len(values) >= 200 and len(binary) < 100
    deliver(site, entry("odd", list(values), binary), values)
    assert site[0].secret(NAMESPACE, "odd") == values


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("kubernetes.io/tls", {"tls.crt": b"certificate\n", "tls.key": b"key\n"}),
        ("kubernetes.io/dockerconfigjson", {".dockerconfigjson": PULL}),
        ("kubernetes.io/basic-auth", {"username": b"a", "password": b"b<&>\n"}),
        ("kubernetes.io/ssh-auth", {"ssh-privatekey": b"-----BEGIN-----\nx\n-----END-----\n"}),
        ("example.com/kind", {"a": b"b"}),
        (None, {"a": b"b"}),
    ],
)
def test_types_arrive(site: tuple[Flux, Vault], kind: str | None, values: dict[str, bytes]) -> None:
    name = (kind or "none").rpartition("/")[2]
    found = deliver(site, entry(name, list(values), [], kind), values)
    assert found["type"] == (kind or "Opaque")
    assert site[0].secret(NAMESPACE, name) == values


def test_all_keys_of_a_secret_are_of_one_version(site: tuple[Flux, Vault]) -> None:
    """A version that is published while External Secrets reads: a Secret never has the user of one and the password
    of another. Read key by key, as earlier releases did, it has."""
    api, _ = site
    keys = ["host", "password", "username"]
    with turning_vault() as address:
        auth = {"tokenSecretRef": {"name": "vault-token", "key": "token"}}
        vault = {"server": address, "path": "platform-data", "version": "v2", "auth": auth}
        api.call("POST", f"{ESO}/secretstores", custom("SecretStore", "turning", {"provider": {"vault": vault}}))
        turning = {"secretStoreRef": {"kind": "SecretStore", "name": "turning"}}
        numbers = {}
        for name, spec_of in (("torn", key_by_key), ("whole", whole)):
            made(api, name, spec_of(entry(name, keys, [])) | turning)
            values = api.secret(NAMESPACE, name)
            assert values is not None and set(values) == set(keys)
            numbers[name] = {value.decode().rpartition("-")[2] for value in values.values()}
        assert len(numbers["torn"]) == len(keys), "this Vault shows a tear where there is one"
        assert len(numbers["whole"]) == 1


def whole(secret: CatalogueSecret) -> dict[str, Any]:
    (consumer,) = secret.consumers
    return external_secret_spec(secret, consumer, "10m0s")


def test_values_of_every_kind_arrive_and_none_is_read_as_a_template(site: tuple[Flux, Vault]) -> None:
    values = {
        "action": b'{{ .entry }}{{ fail "x" }}',
        "unclosed": b"{{",
        "range": b"{{ range $i := until 3 }}x{{ end }}\"`\\'",
        "shell": b"$(id) ${HOME} $$ %s %d",
        "empty": b"",
        "empty-binary": b"",
        "binary": bytes(range(256)),
        "number": b"12345678901234567890",
        "json": b'{"a": null, "b": [1.0, "<no value>"]}',
        "yaml": b"a: &x !!binary |\n  eA==\n",
        "long": b"x" * 300_000,
        "separators": "\u2028<>&\u2029\ufeff".encode(),
        "tls.crt": b"-----BEGIN CERTIFICATE-----\r\nx\r\n-----END CERTIFICATE-----\n",
        "_-.": b" ",
    }
    deliver(site, entry("every-kind", list(values), ["binary", "empty-binary"]), values)
    assert site[0].secret(NAMESPACE, "every-kind") == values


def test_a_consumer_gets_the_keys_that_it_names_and_no_other(site: tuple[Flux, Vault]) -> None:
    api, root = site
    secret = entry("named", ["a", "b"], [])
    (consumer,) = secret.consumers
    renamed = secret.model_copy(update={"consumers": (consumer.model_copy(update={"keys": {"A": "a", "B.b": "b"}}),)})
    root.write("platform-data/data/values/named", {"data": {"a": "1", "b": "2", "c": "3", "not a key/": "4", "B": "5"}})
    made(api, "named", whole(renamed))
    assert api.secret(NAMESPACE, "named") == {"A": b"1", "B.b": b"2"}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"a": "1"}, "Vault has no text for b"),
        ({"a": "1", "b": None}, "Vault has no text for b"),
        ({"a": "1", "b": 7}, "Vault has no text for b"),
        ({"a": "1", "b": {"nested": "hunter2"}}, "Vault has no text for b"),
        ({"a": "1", "b": "hunter2!"}, "b is not base64"),
        ({"a": "1", "b": "aGk"}, "b is not base64"),
    ],
)
def test_what_is_not_a_whole_value_changes_nothing(
    site: tuple[Flux, Vault], wrong: dict[str, Any], said: str, request: pytest.FixtureRequest
) -> None:
    """The Secret stays, the ExternalSecret is not ready, and an event names the key and no value."""
    api, root = site
    number = request.node.callspec.indices["wrong"]
    name = f"incomplete-{number}"
    secret = entry(name, ["a", "b"], ["b"] if "base64" in said else [])
    deliver(site, secret, {"a": b"0", "b": b"0"})
    wait_for(lambda: synced(api, name)[0] == "True", "it is ready")
    root.write(f"platform-data/data/{secret.vault.path}", {"data": wrong})
    read_again(api, name, "wrong")
    wait_for(lambda: synced(api, name)[0] == "False", "External Secrets has seen it")
    assert api.secret(NAMESPACE, name) == {"a": b"0", "b": b"0"}

    def events() -> str:
        path = f"/api/v1/namespaces/{NAMESPACE}/events?fieldSelector=involvedObject.name={name}"
        return "".join(event["message"] for event in api.call("GET", path)["items"])

    wait_for(lambda: said in events(), "an event says why")
    assert "hunter2" not in events()
    write(root, secret, {"a": b"1", "b": b"1"})
    read_again(api, name, "right")
    wait_for(lambda: api.secret(NAMESPACE, name) == {"a": b"1", "b": b"1"}, "it goes on", 120)


@pytest.mark.parametrize("kind", [None, "kubernetes.io/tls"])
def test_an_external_secret_of_an_earlier_release_is_changed_and_its_secret_is_not(
    site: tuple[Flux, Vault], kind: str | None
) -> None:
    """Same object, same bytes, type and labels, and the version that it has: no workload has a reason to restart."""
    api, root = site
    name = f"earlier-{'typed' if kind else 'plain'}"
    values = {"tls.crt": b"certificate\n", "tls.key": b"\x00\xffkey"}
    secret = entry(name, list(values), ["tls.key"], kind)
    write(root, secret, values)
    before, path = made(api, name, key_by_key(secret)), f"{ESO}/externalsecrets/{name}"
    wait_for(lambda: synced(api, name)[0] == "True", "it is ready")
    version = Version(1, datetime(2026, 1, 1, tzinfo=UTC))
    marks = {VERSION_ANNOTATION: version.mark, SYNCED_BEFORE_ANNOTATION: synced(api, name)[1]}
    api.call("PATCH", path, {"metadata": {"annotations": marks}}, "application/merge-patch+json")
    wait_for(lambda: not what_is_missing(api.call("GET", path), version), "the engine sees it delivered")
    held = synced(api, name)
    api.call("PATCH", path, {"spec": whole(secret)}, "application/merge-patch+json")
    wait_for(lambda: synced(api, name)[1] != held[1], "it is read again")
    assert not what_is_missing(api.call("GET", path), version)
    after = api.call("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets/{name}")
    assert api.secret(NAMESPACE, name) == values
    for field in ("data", "type", "immutable"):
        assert after.get(field) == before.get(field)
    for field in ("uid", "creationTimestamp", "labels", "ownerReferences"):
        assert after["metadata"][field] == before["metadata"][field]
