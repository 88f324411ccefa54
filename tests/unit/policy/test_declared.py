"""Declarations of layer components against what the resources of the stack do."""

from __future__ import annotations

from typing import Any

from tests.support.policy.cases import ORDERS, catalogue, claim, external, plain, push, store
from tests.support.policy.stacks import R, component, verdicts

SOURCE = {"kind": "vault", "parts": ["dev", "platform-data", "pg/orders"]}


def consumption(*claims: dict[str, Any], phase: int = 4) -> R:
    return component("Consumption", claims=list(claims), phase=phase)


def declared(**more: Any) -> dict[str, Any]:
    return claim("EXTERNAL_SECRETS", "ExternalSecret orders/db of secret orders-db", ["dev", "orders", "db"], **more)


def inside(resource: R) -> R:
    return R(resource.token, resource.name, resource.props, parent="consumption")


def test_a_true_declaration_is_counted_once() -> None:
    stack = [consumption(declared(source=SOURCE)), store("orders"), inside(external("orders/db", "pg/orders"))]
    found = verdicts(stack)
    assert "declared-claims" not in found
    assert "single-authority" not in found


def test_a_source_that_is_another_one_is_a_lie() -> None:
    stack = [consumption(declared(source=SOURCE)), store("orders"), inside(external("orders/db", "pg/other"))]
    (message,) = verdicts(stack)["declared-claims"]
    assert "is filled from Vault platform-data/pg/orders, but ExternalSecret orders/db" in message


def test_keys_that_are_other_ones_are_a_lie() -> None:
    merged = external("orders/db", "pg/orders", ["user"], creationPolicy="Merge")
    (message,) = verdicts([consumption(declared(keys=["password"])), store("orders"), inside(merged)])[
        "declared-claims"
    ]
    assert "holds password of Secret orders/db" in message
    assert "but it holds user" in message


def test_an_undeclared_deed_of_a_layer_is_found_and_a_strangers_is_not() -> None:
    more = [inside(external("orders/more", "pg/orders")), external("stranger/x", "pg/stranger")]
    stack = [consumption(declared()), store("orders"), inside(external("orders/db", "pg/orders")), *more]
    (message,) = verdicts(stack)["declared-claims"]
    assert "ExternalSecret orders/more" in message
    assert "does not declare" in message


def test_what_the_last_phase_will_do_is_no_lie_before() -> None:
    assert "declared-claims" not in verdicts([consumption(declared(), phase=2)])


def test_a_claim_that_cannot_be_read_is_found() -> None:
    (message,) = verdicts([consumption({"system": "NOBODY"})])["declared-claims"]
    assert "claims[0]" in message


def test_gits_declared_claim_meets_what_the_stack_does() -> None:
    git = claim("GIT", "clusters/dev/bootstrap/db.yaml", ["dev", "platform", "db"])
    stack = [component("BootstrapSecrets", claims=[git], phase=2), plain("platform/db")]
    (message,) = verdicts(stack)["single-authority"]
    assert "clusters/dev/bootstrap/db.yaml" in message
    assert "Secret platform/db of resource secret-platform-db" in message


def test_the_catalogue_speaks_where_no_claims_are_declared() -> None:
    stack = [
        component("BootstrapSecrets", catalogue=catalogue(ORDERS), claims=[], phase=2),
        plain("platform/orders-db"),
    ]
    (message,) = verdicts(stack)["single-authority"]
    assert "catalogue entry orders-db" in message
    assert "(secret orders-db)" in message


def test_the_cluster_speaks_of_its_vault_by_name_also_beside_a_tunnel() -> None:
    """Pulumi reaches Vault through a tunnel, the stores through the service; the declaration says only the cluster."""
    tunnel = R("pulumi:providers:vault", "tunnel", {"address": "https://127.0.0.1:41234"})
    mount = R("vault:index/mount:Mount", "data", {"path": "platform-data"}, provider="tunnel")
    stack = [tunnel, mount, consumption(declared(source=SOURCE)), store("orders")]
    assert "declared-claims" not in verdicts([*stack, inside(external("orders/db", "pg/orders"))])
    (message,) = verdicts([*stack, inside(external("orders/db", "pg/other"))])["declared-claims"]
    assert "is filled from" in message


def test_an_internal_secret_counts_once_also_where_no_claim_names_the_cluster_of_the_catalogue() -> None:
    """The layer with the catalogue has no bootstrap secret to claim, and Vault is seen under two addresses."""
    tunnel = R("pulumi:providers:vault", "tunnel", {"address": "https://127.0.0.1:41234"})
    mount = R("vault:index/mount:Mount", "data", {"path": "platform-data"}, provider="tunnel")
    held = claim("VAULT", "secret orders-db", ["dev", "platform-data", "pg/orders"], kind="vault")

    def stack(secret_class: str) -> list[R]:
        listed = {key: value for key, value in ORDERS.items() if key != "bootstrap"}
        layers = [
            component("BootstrapSecrets", catalogue=catalogue({**listed, "class": secret_class}), claims=[], phase=4),
            component("RuntimeAuthority", claims=[held], phase=4),
            consumption(declared(source=SOURCE)),
        ]
        seed = push("seed/orders-db", "seed", "pg/orders")
        cache = inside(external("orders/db", "pg/orders"))
        return [*layers, tunnel, mount, store("orders"), store("seed"), cache, seed]

    assert "single-authority" not in verdicts(stack("internal"))
    assert "single-authority" in verdicts(stack("external"))
