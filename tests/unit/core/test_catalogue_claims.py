"""What a catalogue claims, and what the engine does where it gives a secret two authorities."""

from __future__ import annotations

from typing import Any, cast

import pytest

from secret_authority.clients.kubernetes import Api
from secret_authority.clients.vault import Vault
from secret_authority.core.catalogue.admission import admitted_entries
from secret_authority.core.catalogue.schema import Catalogue, parse_catalogue
from secret_authority.core.claims.conflicts import System
from secret_authority.core.claims.from_catalogue import catalogue_claims, conflicts_by_secret
from secret_authority.core.handover.state_machine import Blocked, Reason
from secret_authority.core.phases import Phase
from secret_authority.engine.handover.controller import Handover, lines
from secret_authority.engine.handover.git_state import GitState
from tests.fakes.untouched import Untouched


def entry(name: str, kind: str = "bootstrap", consumer: str = "", **more: Any) -> dict[str, Any]:
    found = {
        "name": name,
        "class": kind,
        "owner": "team",
        "vault": {"datasource": "pg", "consumer": consumer or name},
        "consumers": [{"namespace": name, "secret": name, "keys": {"password": "password"}}],
        "rotation": {"type": "static"},
        **more,
    }
    if kind == "bootstrap":
        found.setdefault("bootstrap", {"namespace": "platform", "secret": name, "keys": ["password"]})
    return found


def catalogue(*entries: dict[str, Any]) -> Catalogue:
    document = {
        "apiVersion": "secret-authority.dev/v1",
        "kind": "SecretCatalogue",
        "bootstrapNamespaces": ["platform"],
        "secrets": list(entries),
    }
    return parse_catalogue(document, "catalogue.yaml")


@pytest.mark.parametrize(
    ("phase", "systems"),
    [
        (Phase.BOOTSTRAP, {System.GIT}),
        (Phase.RUNTIME_AUTHORITY, {System.GIT, System.VAULT}),
        (Phase.CONSUMPTION, {System.GIT, System.VAULT, System.EXTERNAL_SECRETS}),
        (None, {System.GIT, System.VAULT, System.EXTERNAL_SECRETS}),
    ],
)
def test_a_bootstrap_secret_is_claimed_as_its_phases_come(phase: Phase | None, systems: set[System]) -> None:
    found = catalogue_claims("dev", catalogue(entry("orders")), phase)
    assert {claim.claimant.system for claim in found} == systems


def test_a_secret_that_is_never_in_git_is_vaults_from_the_start() -> None:
    found = catalogue_claims("dev", catalogue(entry("orders", "external")), Phase.BOOTSTRAP)
    assert {claim.claimant.system for claim in found} == {System.VAULT}


SHARED = {"namespace": "platform", "secret": "shared", "keys": ["password"]}
CACHE = [{"namespace": "shop", "secret": "db", "keys": {"password": "password"}}]
CLASHES = {
    "a bootstrap and an external secret on one Vault path": (
        entry("orders", consumer="x"),
        entry("billing", "external", consumer="x"),
    ),
    "two bootstrap secrets on one Vault path": (entry("orders", consumer="x"), entry("billing", consumer="x")),
    "one cache": (entry("orders", consumers=CACHE), entry("billing", "external", consumers=CACHE)),
}


@pytest.mark.parametrize("entries", list(CLASHES.values()), ids=list(CLASHES))
def test_the_engine_does_not_touch_a_secret_of_two_authorities(entries: tuple[dict[str, Any], ...]) -> None:
    given = catalogue(*entries)
    assert set(conflicts_by_secret("dev", given)) == {"orders", "billing"}
    api, vault = cast(Api, Untouched()), cast(Vault, Untouched())
    summary = Handover("dev", api, vault, "run", admitted_entries(given)).run(GitState("main@sha1:0", given), b"key")
    assert not summary.complete
    for result in summary.results:
        assert isinstance(result.end, Blocked)
        assert result.end.reason is Reason.TWO_AUTHORITIES
        assert "two authorities over" in str(result.end)
        assert "billing" in str(result.end) and "orders" in str(result.end)
    assert {line["state"] for line in lines(summary.results)} == {"conflict"}


def test_secrets_that_meet_nowhere_have_no_conflict() -> None:
    given = catalogue(entry("orders", bootstrap=SHARED), entry("billing"), entry("web", "external"))
    assert not conflicts_by_secret("dev", given)


def test_each_claimant_of_a_secret_is_named() -> None:
    claims = list(catalogue_claims("dev", catalogue(entry("orders"))))
    assert [(claim.claimant.system, claim.claimant.subject, claim.secret) for claim in claims] == [
        (System.GIT, "catalogue entry orders", "orders"),
        (System.VAULT, "secret orders", "orders"),
        (System.EXTERNAL_SECRETS, "ExternalSecret orders/orders of secret orders", "orders"),
    ]
