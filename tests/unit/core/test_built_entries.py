"""A value goes where the cluster says: what may differ from the checkout, and what may not."""

from __future__ import annotations

from typing import Any

import pytest

from secret_authority.core.catalogue.built import why_not_as_built
from secret_authority.core.catalogue.schema import CatalogueSecret, parse_catalogue

API = {"namespace": "shop", "secret": "api", "keys": {"TOKEN": "token"}}
WEB = {"namespace": "web", "secret": "api", "keys": {"TOKEN": "token"}}
ENTRY: dict[str, Any] = {
    "name": "api",
    "class": "external",
    "owner": "team",
    "vault": {"datasource": "payment", "consumer": "api"},
    "consumers": [API],
    "rotation": {"type": "static"},
}
HEAD = {"apiVersion": "secret-authority.dev/v1", "kind": "SecretCatalogue", "bootstrapNamespaces": ["bootstrap-a"]}


def entry(**changes: Any) -> CatalogueSecret:
    (found,) = parse_catalogue({**HEAD, "secrets": [ENTRY | changes]}, "catalogue.yaml")
    return found


@pytest.mark.parametrize(
    ("wanted", "built"),
    [
        ({}, {}),
        ({"owner": "others"}, {}),
        ({"consumers": [API, WEB]}, {}),  # not built yet
        ({"consumers": [WEB, API]}, {"consumers": [API, WEB]}),
        ({"consumers": [API | {"reload": "restart"}]}, {}),
    ],
)
def test_it_arrives_where_the_checkout_says(wanted: dict[str, Any], built: dict[str, Any]) -> None:
    assert why_not_as_built(entry(**wanted), entry(**built)) == ""


@pytest.mark.parametrize(
    ("built", "reason"),
    [
        (None, "is not built"),
        ({"vault": {"datasource": "payment", "consumer": "other"}}, "is external platform-data/payment/other in the"),
        ({"class": "internal"}, "is internal platform-data/payment/api in the cluster, not external"),
        ({"binary": ["token"]}, "has the binary keys token in the cluster"),
        ({"consumers": [API, WEB]}, "is delivered to web/api in the cluster"),
        ({"consumers": [WEB]}, "is delivered to web/api in the cluster"),
        ({"consumers": [API | {"keys": {"PASSWORD": "token"}}]}, "is delivered to shop/api in the cluster"),
    ],
)
def test_it_would_arrive_elsewhere_or_in_another_form(built: dict[str, Any] | None, reason: str) -> None:
    found = why_not_as_built(entry(), None if built is None else entry(**built))
    assert found.startswith(reason) or reason in found
