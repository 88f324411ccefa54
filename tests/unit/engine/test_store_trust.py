"""The CA certificates in the stores of External Secrets, over an API in memory."""

from __future__ import annotations

import base64
import copy
from pathlib import Path
from typing import Any, cast

import pytest

from secret_authority.clients.kubernetes import Api
from secret_authority.core.errors import LostRace, Unavailable
from secret_authority.engine.tls.ca import new_ca
from secret_authority.engine.tls.secret_store_bundles import LOOK_SECONDS, SecretStoreBundles

OLD, NEW = new_ca("old").certificate, new_ca("new").certificate


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class Stores:
    """SecretStores by namespace and name, with merge patches as the API server does them."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, str], dict[str, Any]] = {}
        self.looks = 0
        self.changes_meanwhile = False

    def add(self, namespace: str, name: str, part_of: str = "secret-authority") -> None:
        metadata = {"name": name, "resourceVersion": "1", "labels": {"app.kubernetes.io/part-of": part_of}}
        vault = {"server": "https://vault", "path": name, "caBundle": encoded(OLD)}
        self.found[namespace, name] = {"metadata": metadata, "spec": {"provider": {"vault": vault}}}

    def bundles(self) -> dict[str, str]:
        return {
            f"{namespace}/{name}": base64.b64decode(store["spec"]["provider"]["vault"]["caBundle"]).decode()
            for (namespace, name), store in self.found.items()
        }

    def list(self, path: str, label_selector: str = "") -> list[dict[str, Any]]:
        self.looks += 1
        key, _, wanted = label_selector.partition("=")
        namespace = path.removeprefix("apis/external-secrets.io/v1/namespaces/").removesuffix("/secretstores")
        return [
            copy.deepcopy(store)
            for (where, _), store in self.found.items()
            if where == namespace and store["metadata"]["labels"].get(key) == wanted
        ]

    def merge(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        path, _, query = path.partition("?")
        assert query == "fieldManager=secret-authority-consumption"
        *_, namespace, kind, name = path.split("/")
        assert kind == "secretstores"
        store = self.found[namespace, name]
        if self.changes_meanwhile or body["metadata"]["resourceVersion"] != store["metadata"]["resourceVersion"]:
            raise LostRace(path)
        assert set(body) == {"metadata", "spec"} and set(body["spec"]["provider"]["vault"]) == {"caBundle"}
        store["spec"]["provider"]["vault"].update(body["spec"]["provider"]["vault"])
        store["metadata"]["resourceVersion"] += "1"
        return store


class Site:
    def __init__(self, home: Path) -> None:
        self.stores, self.file, self.now = Stores(), home / "ca.crt", 1000.0
        self.file.write_text(OLD)
        for namespace in ("shop", "edge"):
            self.stores.add(namespace, "platform-data")
        wanted = [("shop", "platform-data"), ("edge", "platform-data"), ("edge", "platform-config")]
        self.trust = SecretStoreBundles(cast(Api, self.stores), self.file, wanted)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    made = Site(tmp_path)
    monkeypatch.setattr("secret_authority.engine.tls.secret_store_bundles.time.monotonic", lambda: made.now)
    return made


def test_equal_certificates_are_left_alone(site: Site) -> None:
    assert site.trust.reconcile() == []
    assert all(store["metadata"]["resourceVersion"] == "1" for store in site.stores.found.values())


def test_a_renewed_ca_goes_to_every_store_of_the_program(site: Site) -> None:
    site.file.write_text(NEW + OLD)
    assert site.trust.reconcile() == ["edge/platform-data", "shop/platform-data"]
    assert site.stores.bundles() == {"shop/platform-data": NEW + OLD, "edge/platform-data": NEW + OLD}


def test_stores_of_others_stay_as_they_are(site: Site) -> None:
    site.stores.add("shop", "their-own")
    site.stores.add("edge", "platform-config", part_of="something else")
    site.file.write_text(NEW)
    site.trust.reconcile()
    left = {name for name, bundle in site.stores.bundles().items() if bundle == OLD}
    assert left == {"shop/their-own", "edge/platform-config"}


def test_it_looks_now_and_then_only(site: Site) -> None:
    site.trust.reconcile()
    before = site.stores.looks
    site.file.write_text(NEW)
    site.now += LOOK_SECONDS - 1
    assert site.trust.reconcile() == [] and site.stores.looks == before
    site.now += 1
    assert len(site.trust.reconcile()) == 2


def test_a_store_that_changes_meanwhile_is_looked_at_again_at_once(site: Site) -> None:
    site.file.write_text(NEW)
    site.stores.changes_meanwhile = True
    with pytest.raises(LostRace):
        site.trust.reconcile()
    site.stores.changes_meanwhile = False
    assert len(site.trust.reconcile()) == 2


@pytest.mark.parametrize("content", ["", "no certificate"])
def test_what_is_no_certificate_reaches_no_store(site: Site, content: str) -> None:
    site.file.write_text(content)
    with pytest.raises(ValueError, match="PEM"):
        site.trust.reconcile()
    assert set(site.stores.bundles().values()) == {OLD}


def test_a_file_that_is_away_is_waited_for(site: Site) -> None:
    site.file.unlink()
    with pytest.raises(Unavailable, match="cannot be read"):
        site.trust.reconcile()
