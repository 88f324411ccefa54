"""First values against a real Vault: create-only, on record, and no metadata is ever lost."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from secret_authority.clients.kubernetes import Api
from secret_authority.clients.vault import Vault, VaultRefusedError
from secret_authority.contract.consumption_settings import ConsumptionSettings
from secret_authority.contract.vault_policies import consumption_policy, entry_policy, reader_policy, versions_policy
from secret_authority.core.catalogue.schema import Catalogue, parse_catalogue
from secret_authority.core.errors import LostRace, Unavailable
from secret_authority.core.handover.state_machine import Record
from secret_authority.engine.common.status import Status
from secret_authority.engine.consumption.config_sync import sync_config
from secret_authority.engine.consumption.controller import VALUES, ConsumptionController
from secret_authority.engine.consumption.first_write import FirstWrites, RunInfo, State
from tests.support.vault_process import servers, vault_program, wait_for

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(vault_program() is None, reason="no vault program: run `make tools`"),
]
DATA, METADATA = "platform-data/data/sessions/shop", "platform-data/metadata/sessions/shop"
POLICY = {"rotation_type": "time-based", "ttl": "168h", "rotate_before": "12h", "owner": "team-shop"}
CATALOGUE = {
    "apiVersion": "secret-authority.dev/v1",
    "kind": "SecretCatalogue",
    "bootstrapNamespaces": ["bootstrap-data"],
    "secrets": [
        {
            "name": "session-key",
            "class": "internal",
            "owner": "team-shop",
            "vault": {"datasource": "sessions", "consumer": "shop"},
            "consumers": [{"namespace": "shop", "secret": "session-key", "keys": {"SESSION": "key", "SALT": "salt"}}],
            "rotation": {"type": "time-based", "ttl": "168h", "rotate_before": "12h"},
        },
        {
            "name": "payment-api",
            "class": "external",
            "owner": "team-billing",
            "vault": {"datasource": "payment", "consumer": "billing"},
            "consumers": [{"namespace": "shop", "secret": "payment-api", "keys": {"API_KEY": "api-key"}}],
            "rotation": {"type": "event-based"},
        },
        {
            "name": "endpoint",
            "class": "config",
            "owner": "team-orders",
            "vault": {"datasource": "postgres", "instance": "orders"},
        },
        {
            "name": "orders-db",
            "class": "bootstrap",
            "owner": "team-orders",
            "bootstrap": {"namespace": "bootstrap-data", "secret": "orders-db", "keys": ["password"]},
            "vault": {"datasource": "postgres", "consumer": "orders"},
            "consumers": [{"namespace": "shop", "secret": "orders-db", "keys": {"DB_PASSWORD": "password"}}],
            "rotation": {"type": "static"},
        },
    ],
}


class Site:
    """A Vault with the platform's mounts, and tokens with the policies of the real roles."""

    def __init__(self, root: Vault) -> None:
        self.root = root
        self.catalogue: Catalogue = parse_catalogue(CATALOGUE, "catalogue.yaml")
        for mount in ("platform-data", "platform-config", "platform-authority"):
            root.write(f"sys/mounts/{mount}", {"type": "kv", "options": {"version": "2"}})
        wait_for(self._upgraded, "the mounts are ready")
        root.write("platform-data/config", {"cas_required": True})
        self.consumption = self.token("consumption", consumption_policy(self.catalogue, {"endpoint"}))
        self.entry = self.token("entry", entry_policy(self.catalogue, {"endpoint"}))

    def _upgraded(self) -> bool:
        try:
            for mount in ("platform-data", "platform-config", "platform-authority"):
                self.root.read(f"{mount}/config")
        except (VaultRefusedError, Unavailable):
            return False  # KV v2 answers after a short upgrade
        return True

    def token(self, name: str, policy: str) -> Vault:
        self.root.write(f"sys/policies/acl/{name}", {"policy": policy})
        made = self.root.write("auth/token/create", {"policies": [name], "no_default_policy": True})
        return self.root.with_token(made["auth"]["client_token"])

    def writes(self, vault: Vault | None = None) -> FirstWrites:
        return FirstWrites(vault or self.consumption, bytes(32), RunInfo("dev", "run-1"))

    def secret(self, name: str):  # type: ignore[no-untyped-def]
        return next(secret for secret in self.catalogue if secret.name == name)

    def metadata(self, path: str = METADATA) -> dict[str, str]:
        return ((self.root.read(path) or {})["data"]["custom_metadata"]) or {}

    def value(self, path: str = DATA) -> dict[str, str] | None:
        found = self.root.read(path)
        return found["data"]["data"] if found else None


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vault]:
    with servers(tmp_path_factory.mktemp("vault")) as (server,):
        wait_for(lambda: _answers(server.api), "Vault answers")
        made = server.api.write("sys/init", {"secret_shares": 1, "secret_threshold": 1})
        server.api.write("sys/unseal", {"key": made["keys"][0]})
        wait_for(lambda: server.api.health() == 200, "Vault is active")
        yield server.api.with_token(made["root_token"])


@pytest.fixture
def site(vault: Vault) -> Iterator[Site]:
    yield Site(vault)
    for mount in ("platform-data", "platform-config", "platform-authority"):
        vault.delete(f"sys/mounts/{mount}")


def _answers(vault: Vault) -> bool:
    try:
        vault.health()
    except Unavailable:
        return False
    return True


def test_an_internal_secret_is_born_once_with_its_policy_its_record_and_its_event(site: Site) -> None:
    assert site.writes().reconcile(site.secret("session-key")) is State.ON_RECORD
    born, metadata = site.value(), site.metadata()
    assert born is not None and sorted(born) == ["key", "salt"] and born["key"] != born["salt"]
    assert all(len(value) >= 43 for value in born.values()), "256 bits, base64"
    assert metadata.items() >= POLICY.items()
    record = Record.from_metadata(metadata)
    assert record is not None and record.run == "run-1"
    event = site.root.read(f"platform-authority/data/events/session-key/{record.id}")
    assert event is not None and event["data"]["data"]["change"] == "authority none -> vault"
    assert not any(value in str(event) + str(metadata) for value in born.values())
    # A second run, also of another engine, changes nothing.
    again = FirstWrites(site.consumption, bytes(32), RunInfo("dev", "run-2"))
    assert again.reconcile(site.secret("session-key")) is State.ON_RECORD
    assert (site.value(), site.metadata()) == (born, metadata)


def test_many_engines_at_once_make_one_value(site: Site) -> None:
    ends: list[str] = []

    def run() -> None:
        try:
            ends.append(site.writes().reconcile(site.secret("session-key")))
        except (LostRace, VaultRefusedError) as error:
            ends.append(type(error).__name__)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert State.ON_RECORD in ends
    found = site.root.read(METADATA)
    assert found is not None and found["data"]["current_version"] == 1, ends
    assert site.writes().reconcile(site.secret("session-key")) is State.ON_RECORD


@pytest.mark.parametrize("left", ["value", "value and record"])
def test_a_killed_run_is_taken_up_by_the_next_one(site: Site, left: str) -> None:
    """Killed after the value was written, and after the record was."""

    class Dies(Vault):
        def request(self, method, path, data, *seconds):  # type: ignore[no-untyped-def]
            stop = "metadata/" if left == "value" else "events/"
            if stop in path and method in ("PATCH", "POST"):
                raise SystemExit
            return site.consumption.request(method, path, data)

    with pytest.raises(SystemExit):
        site.writes(Dies("unused")).reconcile(site.secret("session-key"))
    born = site.value()
    assert born is not None
    assert site.writes().reconcile(site.secret("session-key")) is State.ON_RECORD
    assert site.value() == born, "the value is not generated anew"
    record = Record.from_metadata(site.metadata())
    assert record is not None
    assert site.root.read(f"platform-authority/data/events/session-key/{record.id}") is not None


def test_what_stands_already_is_never_changed(site: Site) -> None:
    """An older value with a policy of its own, set by somebody else: kept, the rest is added."""
    site.root.write(DATA, {"options": {"cas": 0}, "data": {"key": "theirs"}})
    site.root.patch(METADATA, {"custom_metadata": {"rotation_type": "static", "note": "by hand"}})
    assert site.writes().reconcile(site.secret("session-key")) is State.ON_RECORD
    assert site.value() == {"key": "theirs"}
    metadata = site.metadata()
    assert (metadata["rotation_type"], metadata["note"], metadata["owner"]) == ("static", "by hand", "team-shop")


def test_a_deleted_value_is_not_born_again(site: Site) -> None:
    site.writes().reconcile(site.secret("session-key"))
    before = site.metadata()
    site.root.delete(DATA)
    assert site.writes().reconcile(site.secret("session-key")) is State.ON_RECORD
    found = site.root.read(METADATA)
    assert found is not None and found["data"]["current_version"] == 1
    assert site.metadata() == before
    with pytest.raises(VaultRefusedError, match="403"):
        site.consumption.write(DATA, {"options": {"cas": 1}, "data": {"key": "new"}})


def test_a_deleted_value_without_a_record_is_reported(site: Site) -> None:
    site.root.write(DATA, {"options": {"cas": 0}, "data": {"key": "theirs"}})
    site.root.delete(DATA)
    assert site.writes().reconcile(site.secret("session-key")) is State.GONE


def push_as_external_secrets_does(vault: Vault, values: dict[str, str]) -> None:
    """The two requests of external-secrets v0.20 (provider vault, PushSecret) for a path that it takes for absent."""
    vault.write(METADATA, {"custom_metadata": {"managed-by": "external-secrets"}})
    vault.write(DATA, {"options": {"cas": 0}, "data": values})


def test_a_value_that_is_on_record_under_another_name_is_reported(site: Site) -> None:
    site.writes().reconcile(site.secret("session-key"))
    renamed = site.secret("session-key").model_copy(update={"name": "web-session"})
    assert site.writes().reconcile(renamed) is State.FOREIGN
    assert not site.root.list("platform-authority/metadata/events/web-session")


def test_one_secret_in_disorder_holds_up_no_other(site: Site) -> None:
    site.root.write(
        "platform-authority/data/consumption-digest-key", {"data": {"key": base64.b64encode(bytes(32)).decode()}}
    )
    site.root.write(DATA, {"options": {"cas": 0}, "data": {"key": "a"}})
    site.root.write(METADATA, {"custom_metadata": {"handover_id": "by hand"}})
    status = Status()
    task = ConsumptionSettings("dev", site.catalogue, {"endpoint": {"url": "https://db"}})
    nowhere = Path("/nonexistent")
    engine = ConsumptionController(
        task, cast(Api, None), site.consumption, "secret-authority", "run-1", status, nowhere
    )
    assert not engine.reconcile_values()
    said = status.as_dict()[VALUES]
    assert not said["status"] and "session-key: its record in the metadata" in said["message"]
    assert "payment-api is not entered yet" in said["message"], "it comes after the one in disorder"
    assert site.value("platform-config/data/postgres/orders") == {"url": "https://db"}


def test_why_external_secrets_own_push_is_not_used(site: Site) -> None:
    """Its IfNotExists takes a deleted value for absent, and replaces the metadata before the value is refused."""
    pusher = site.token(
        "pusher",
        f'path "{METADATA}" {{ capabilities = ["create", "read", "update"] }}\n'
        f'path "{DATA}" {{ capabilities = ["create", "read", "update"] }}\n',
    )
    site.writes().reconcile(site.secret("session-key"))
    site.root.delete(DATA)
    with pytest.raises(LostRace):
        push_as_external_secrets_does(pusher, {"key": "pushed"})
    assert site.metadata() == {"managed-by": "external-secrets"}, "policy and record are lost"


def test_no_identity_of_layer_5_can_push_over_metadata(site: Site) -> None:
    site.writes().reconcile(site.secret("session-key"))
    before = site.metadata()
    reader = site.token("reader", reader_policy([DATA]))
    for vault in (site.consumption, site.entry, reader):
        with pytest.raises(VaultRefusedError, match="403"):
            push_as_external_secrets_does(vault, {"key": "pushed"})
    assert site.metadata() == before


def test_an_external_secret_waits_and_is_put_on_record_when_it_is_entered(site: Site) -> None:
    secret = site.secret("payment-api")
    assert site.writes().reconcile(secret) is State.NOT_ENTERED
    site.entry.write("platform-data/data/payment/billing", {"options": {"cas": 0}, "data": {"api-key": "issued"}})
    assert site.writes().reconcile(secret) is State.ON_RECORD
    metadata = site.metadata("platform-data/metadata/payment/billing")
    assert metadata["rotation_type"] == "event-based" and metadata["authority"] == "vault"


def test_the_entry_identity_reads_no_value(site: Site) -> None:
    site.entry.write("platform-data/data/payment/billing", {"options": {"cas": 0}, "data": {"api-key": "issued"}})
    keys = ("platform-authority/data/digest-key", "platform-authority/data/consumption-digest-key")
    for path in ("platform-data/data/payment/billing", DATA, *keys):
        with pytest.raises(VaultRefusedError, match="403"):
            site.entry.read(path)


def test_the_engine_of_consumption_reads_no_key_but_its_own(site: Site) -> None:
    for path in ("platform-authority/data/digest-key", "platform-authority/data/trail-key"):
        with pytest.raises(VaultRefusedError, match="403"):
            site.consumption.read(path)


def test_layer_5_reads_no_bootstrap_value_and_overwrites_nothing(site: Site) -> None:
    site.root.write("platform-data/data/postgres/orders", {"options": {"cas": 0}, "data": {"password": "handed over"}})
    data, metadata = "platform-data/data/postgres/orders", "platform-data/metadata/postgres/orders"
    versions = site.token("versions", versions_policy())
    for identity in (site.consumption, versions):
        with pytest.raises(VaultRefusedError, match="403"):
            identity.read(data)
        with pytest.raises(VaultRefusedError, match="403"):
            identity.write(data, {"options": {"cas": 1}, "data": {"password": "x"}})
        with pytest.raises(VaultRefusedError, match="403"):
            identity.patch(metadata, {"custom_metadata": {"authority": "git"}})
    assert versions.read(metadata) is not None


def test_configuration_follows_git_and_makes_a_version_only_when_it_changes(site: Site, tmp_path: Path) -> None:
    secret = site.secret("endpoint")
    assert sync_config(site.consumption, secret, {"host": "a", "port": "1"})
    assert not sync_config(site.consumption, secret, {"port": "1", "host": "a"})
    assert sync_config(site.consumption, secret, {"host": "b", "port": "1"})
    found = site.root.read("platform-config/data/postgres/orders")
    assert found is not None and found["data"]["metadata"]["version"] == 2 and found["data"]["data"]["host"] == "b"
