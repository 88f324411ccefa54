"""The catalogue: every mistake gets a message with file, field and fix, and none shows what was written."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from secret_authority.core.catalogue.schema import Consumer, SecretClass, parse_catalogue
from secret_authority.core.errors import InvalidInputError
from tests.support.documents import DOCUMENT


def problems(document: object) -> list[str]:
    with pytest.raises(InvalidInputError) as caught:
        parse_catalogue(document, "catalogue.yaml")
    return [str(problem) for problem in caught.value.problems]


def changed(**fields: Any) -> dict[str, Any]:
    """The example with fields of its first secret changed; a value of None removes the field."""
    document = copy.deepcopy(DOCUMENT)
    secret = document["secrets"][0]
    secret.update(fields)
    document["secrets"][0] = {key: value for key, value in secret.items() if value is not None}
    return document


def test_the_example() -> None:
    catalogue = parse_catalogue(DOCUMENT, "catalogue.yaml")
    assert len(catalogue.of_class(SecretClass.BOOTSTRAP)) == 13
    orders = catalogue.secrets[0]
    assert str(orders.vault) == "platform-data/postgres/orders"
    assert orders.rotation is not None
    assert orders.rotation.metadata() == {
        "rotation_type": "time-based",
        "ttl": "720h",
        "rotate_before": "24h",
        "revoke_old": "true",
        "max_overlap": "1h",
        "failure_strategy": "retry",
    }
    assert str(catalogue.secrets[-1].vault) == "platform-config/postgres/orders"


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"class": "bootstrapped"}, "secrets[orders-db].class", "use 'bootstrap'"),
        ({"owner": None}, "secrets[orders-db].owner", "is missing"),
        ({"valt": {}}, "secrets[orders-db].valt", "is not a field"),
        ({"name": "Orders DB"}, "secrets[Orders DB].name", "not a valid name"),
        ({"bootstrap": None}, "secrets[orders-db]", "needs a bootstrap target"),
        ({"class": "internal"}, "secrets[orders-db]", "only class bootstrap is in Git"),
        ({"rotation": None}, "secrets[orders-db]", "needs a rotation policy"),
        ({"vault": {"datasource": "pg", "instance": "x"}}, "secrets[orders-db]", "consumer (platform-data)"),
        ({"vault": {"datasource": "pg"}}, "secrets[orders-db].vault", "one of them"),
        ({"rotation": {"type": "time-based"}}, "secrets[orders-db].rotation", "needs a ttl"),
        ({"rotation": {"type": "static", "ttl": "1h"}}, "secrets[orders-db].rotation", "never rotated"),
        ({"rotation": {"type": "time-based", "ttl": "7d"}}, "secrets[orders-db].rotation.ttl", "write it like 720h"),
        (
            {"rotation": {"type": "time-based", "ttl": "1h", "rotate_before": "2h"}},
            "secrets[orders-db].rotation",
            "shorter than ttl",
        ),
        ({"consumers": [{"namespace": "a", "secret": "b", "keys": {}}]}, "secrets[orders-db].consumers[0].keys", ""),
        ({"binary": ["passwrd"]}, "secrets[orders-db]", "binary names passwrd"),
        ({"owner": "a\x00b"}, "secrets[orders-db]", "owner is not printable"),
        ({"owner": 5}, "secrets[orders-db].owner", "is not a text. Fix: put it in quotes"),
        ({"consumers": "x"}, "secrets[orders-db].consumers", "is not a list"),
        ({"vault": "x"}, "secrets[orders-db].vault", "is not a mapping"),
        ({"rotation": {"type": "time-based", "ttl": "0s"}}, "secrets[orders-db].rotation.ttl", "longer than nothing"),
        ({"rotation": {"type": "time-based", "ttl": "9" * 40 + "h"}}, "secrets[orders-db].rotation.ttl", "shorter"),
        (
            {"bootstrap": {"namespace": "bootstrap-data", "secret": "a..b", "keys": ["username", "password"]}},
            "secrets[orders-db].bootstrap.secret",
            "is not a valid name. Fix: use lower-case letters, digits and -, single dots between",
        ),
    ],
)
def test_a_mistake_in_a_secret(fields: dict[str, Any], field: str, says: str) -> None:
    (message,) = problems(changed(**fields))
    assert message.startswith(f"catalogue.yaml: {field}: ")
    assert says in message
    assert "Fix: " in message


def test_a_name_twice() -> None:
    document = copy.deepcopy(DOCUMENT)
    document["secrets"][1]["name"] = "orders-db"
    assert any("is defined twice" in problem for problem in problems(document))


def test_a_consumer_secret_twice_in_one_entry() -> None:
    twice = [{"namespace": "shop", "secret": "db", "keys": {key: "password"}} for key in ("A", "B")]
    elsewhere = {"namespace": "other", "secret": "db", "keys": {"A": "password"}}
    (message,) = problems(changed(consumers=[*twice, elsewhere]))
    assert message.startswith("catalogue.yaml: secrets[orders-db].consumers[1]: names Secret shop/db a second time")
    assert "Fix: " in message
    assert parse_catalogue(changed(consumers=[twice[0], elsewhere]), "catalogue.yaml")


@pytest.mark.parametrize(
    "namespace", ["flux-system", "vault", "secret-authority", "external-secrets", "kube-system", "kube-node-lease"]
)
def test_no_secret_is_born_in_or_delivered_to_a_namespace_of_the_platform(namespace: str) -> None:
    (message,) = problems(changed(consumers=[{"namespace": namespace, "secret": "db", "keys": {"A": "password"}}]))
    assert f"consumers[0].namespace: {namespace} is reserved" in message
    document = copy.deepcopy(DOCUMENT)
    document["bootstrapNamespaces"].append(namespace)
    (message,) = problems(document)
    assert f"bootstrapNamespaces[{len(document['bootstrapNamespaces']) - 1}]: {namespace} is reserved" in message


def test_names_that_only_resemble_those_of_the_platform_are_free() -> None:
    consumers = [{"namespace": name, "secret": "db", "keys": {"A": "password"}} for name in ("vault-ui", "kubernetes")]
    assert parse_catalogue(changed(consumers=consumers), "catalogue.yaml")


def test_every_mistake_is_told_at_once() -> None:
    document = changed(owner=None)
    document["secrets"][3]["class"] = "nonsense"
    assert len(problems(document)) == 2


@pytest.mark.parametrize("document", [None, [], "text", {}])
def test_what_is_no_catalogue(document: object) -> None:
    assert problems(document)


@pytest.mark.parametrize("key", [".", "..", "..a", "a b", "a/b", "", "x" * 254])
def test_keys_that_a_secret_cannot_have(key: str) -> None:
    keys = ["username", "password", key]
    bootstrap = {"namespace": "bootstrap-data", "secret": "orders-db", "keys": keys}
    (message,) = problems(changed(bootstrap=bootstrap))
    assert message.startswith("catalogue.yaml: secrets[orders-db].bootstrap.keys[2]: ")


@pytest.mark.parametrize("key", [".dockerconfigjson", "tls.crt", "a..b", "_", "-", "a.", ".-"])
def test_keys_that_a_secret_may_have(key: str) -> None:
    bootstrap = {"namespace": "bootstrap-data", "secret": "orders-db", "keys": ["username", "password", key]}
    assert parse_catalogue(changed(bootstrap=bootstrap), "catalogue.yaml")


def test_the_names_of_binary_keys_have_to_fit_into_the_metadata() -> None:
    keys = [f"{number}-{'k' * 100}" for number in range(5)]
    bootstrap = {"namespace": "bootstrap-data", "secret": "orders-db", "keys": keys}
    assert parse_catalogue(changed(bootstrap=bootstrap, binary=keys[:4], consumers=None), "catalogue.yaml")
    (message,) = problems(changed(bootstrap=bootstrap, binary=keys, consumers=None))
    assert "the names of the binary keys together are longer than 512 bytes" in message


@pytest.mark.parametrize(
    ("kind", "keys", "says"),
    [
        ("kubernetes.io/tls", {"tls.crt": "username"}, "needs the keys tls.key"),
        ("kubernetes.io/dockerconfigjson", {"config": "password"}, "needs the keys .dockerconfigjson"),
        ("kubernetes.io/basic-auth", {"user": "username"}, "needs the keys password or username"),
        ("kubernetes.io/ssh-auth", {"key": "password"}, "needs the keys ssh-privatekey"),
        ("kubernetes.io/service-account-token", {"a": "password"}, "type is not one of"),
        ("bootstrap.kubernetes.io/token", {"a": "password"}, "type is not one of"),
        ("nonsense", {"a": "password"}, "type is not one of"),
    ],
)
def test_a_type_that_the_consumer_cannot_have(kind: str, keys: dict[str, str], says: str) -> None:
    consumer = {"namespace": "shop", "secret": "db", "keys": keys, "type": kind}
    (message,) = problems(changed(consumers=[consumer]))
    assert message.startswith("catalogue.yaml: secrets[orders-db].consumers[0]: ") and says in message


def test_the_type_of_a_consumer_is_the_one_named_else_that_of_the_bootstrap_secret_if_its_keys_are_there() -> None:
    def consumer(**fields: Any) -> Consumer:
        return Consumer(namespace="shop", secret="db", **fields)

    both = {"tls.crt": "a", "tls.key": "b"}
    assert consumer(keys=both).type_of() == "Opaque"
    assert consumer(keys=both).type_of("kubernetes.io/tls") == "kubernetes.io/tls"
    assert consumer(keys=both, type="Opaque").type_of("kubernetes.io/tls") == "Opaque"
    assert consumer(keys={"ca.crt": "a"}).type_of("kubernetes.io/tls") == "Opaque"
    assert consumer(keys={"a": "a"}).type_of("example.com/kind") == "example.com/kind"
