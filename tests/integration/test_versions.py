"""Versions are read when Vault has counted a change, and only then. Over a real Vault."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.runtime_authority.vault_config import vault_config
from secret_authority.clients.vault import Vault, VaultRefusedError
from secret_authority.clients.vault_counters import changes
from secret_authority.contract.vault_policies import versions_policy
from secret_authority.core.errors import Unavailable
from secret_authority.engine.consumption import versions
from secret_authority.engine.consumption.versions import Version, Versions
from tests.support.vault_process import Server, servers, vault_program, wait_for

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(vault_program() is None, reason="no vault program: run `make tools`"),
]
ORDERS, BROKER = ("platform-data", "postgres/orders"), ("platform-config", "broker/orders")
LOOKS = 'path "+/metadata/*" { capabilities = ["read"] }\n'


class Site:
    """A Vault with its root, and an engine's token that may look."""

    def __init__(self, server: Server) -> None:
        self.server = server
        wait_for(lambda: answers(server.api, 501), "Vault answers")
        made = server.api.write("sys/init", {"secret_shares": 1, "secret_threshold": 1})
        self.key = made["keys"][0]
        self.root = server.api.with_token(made["root_token"])
        self.unseal()
        self.root.write("sys/audit/file", {"type": "file", "options": {"file_path": str(server.audit_file)}})
        for mount in ("platform-data", "platform-config", "elsewhere"):
            self.root.write(f"sys/mounts/{mount}", {"type": "kv", "options": {"version": "2"}})
        wait_for(lambda: self.write(*ORDERS) is not None, "the mounts are upgraded to version 2")

    def unseal(self) -> None:
        self.server.api.write("sys/unseal", {"key": self.key})
        wait_for(lambda: answers(self.server.api, 200), "Vault is active")

    def write(self, mount: str, path: str) -> int | None:
        try:
            return int(self.root.write(f"{mount}/data/{path}", {"data": {"a": "b"}})["data"]["version"])
        except (VaultRefusedError, Unavailable):
            return None  # a mount that is new is not ready for a moment

    def looker_token(self, policy: str | None = None) -> str:
        self.root.write("sys/policies/acl/looker", {"policy": policy or versions_policy()})
        made = self.root.write("auth/token/create", {"policies": ["looker"], "no_default_policy": True})
        return str(made["auth"]["client_token"])

    def looker(self, policy: str | None = None) -> Vault:
        return self.server.api.with_token(self.looker_token(policy))

    def looks(self, at: str = "/metadata/") -> int:
        """How many looks at a version, or at another path, Vault has on record."""
        lines = [json.loads(line) for line in self.server.audit_file.read_text().splitlines()]
        paths = [line["request"]["path"] for line in lines if line["type"] == "request"]
        return sum(at in path for path in paths)


def answers(vault: Vault, status: int) -> bool:
    try:
        return vault.health() == status
    except Unavailable:
        return False


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """As the program configures it."""
    with servers(tmp_path_factory.mktemp("vault"), start=False) as (server,):
        file = server.folder / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **telemetry()}))
        server.start()
        yield Site(server)


def telemetry() -> dict[str, object]:
    return {"telemetry": json.loads(vault_config(1))["telemetry"]}


def test_nothing_is_read_while_nothing_is_written(counting: Site) -> None:
    found = Versions(counting.looker())
    first = found.of([ORDERS, BROKER])
    assert first[ORDERS].number >= 1 and first[BROKER] == Version(0)
    before = counting.looks()
    for _ in range(5):
        assert found.of([ORDERS, BROKER]) == first
        counting.write("elsewhere", "a")
        counting.root.read("platform-data/data/postgres/orders")
    assert counting.looks() == before


def test_while_nothing_at_all_is_written_not_even_the_counters_are_read(
    counting: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "SETTLED_SECONDS", 0.2)
    found = Versions(counting.looker())
    first = found.of([ORDERS])

    def rests() -> bool:
        before = counting.looks("sys/metrics")
        return not found.written() and counting.looks("sys/metrics") == before

    wait_for(rests, "the counters are not read any more", 10)
    for _ in range(5):
        assert rests() and found.of([ORDERS]) == first
    counting.write("elsewhere", "a")
    assert not found.written()
    wait_for(rests, "nor after a change of something else", 10)
    number = counting.write(*ORDERS)
    assert found.written() and found.of([ORDERS])[ORDERS].number == number


def test_every_kind_of_change_is_seen_at_once(counting: Site) -> None:
    found = Versions(counting.looker())
    before = found.of([ORDERS, BROKER])
    number = counting.write(*ORDERS)
    assert found.of([ORDERS, BROKER])[ORDERS].number == number == before[ORDERS].number + 1
    assert counting.write(*BROKER) == found.of([ORDERS, BROKER])[BROKER].number == 1
    counting.root.patch("platform-data/metadata/postgres/orders", {"custom_metadata": {"base64_keys": "a"}})
    assert found.of([ORDERS])[ORDERS].base64 == {"a"}
    counting.root.delete("platform-data/data/postgres/orders")
    assert found.of([ORDERS])[ORDERS].deleted
    counting.root.write("platform-data/undelete/postgres/orders", {"versions": [number]})
    assert not found.of([ORDERS])[ORDERS].deleted
    counting.root.write("platform-data/destroy/postgres/orders", {"versions": [number]})
    assert found.of([ORDERS])[ORDERS].deleted
    counting.root.delete("platform-config/metadata/broker/orders")
    assert found.of([BROKER])[BROKER] == Version(0)


def test_a_place_that_is_new_is_read(counting: Site) -> None:
    found = Versions(counting.looker())
    found.of([ORDERS])
    assert BROKER in found.of([ORDERS, BROKER])


def test_a_restarted_vault_is_read_anew(counting: Site) -> None:
    found = Versions(counting.looker())
    first = found.of([ORDERS])
    counting.server.kill()
    with pytest.raises(Unavailable):
        found.of([ORDERS])
    counting.server.start()
    wait_for(lambda: answers(counting.server.api, 503), "Vault answers")
    with pytest.raises(Unavailable):
        found.of([ORDERS])
    counting.unseal()
    before = counting.looks()
    assert found.of([ORDERS]) == first
    assert counting.looks() == before + 1


def test_what_happens_without_a_request_is_found_by_the_full_look(
    counting: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Versions(counting.looker())
    found.of([ORDERS])
    clock = found.last_full_read + versions.FULL_LOOK_SECONDS
    monkeypatch.setattr("secret_authority.engine.consumption.versions.time.monotonic", lambda: clock)
    before = counting.looks()
    found.of([ORDERS])
    found.of([ORDERS])
    assert counting.looks() == before + 1


def test_without_a_right_to_the_counters_every_look_reads(counting: Site) -> None:
    found = Versions(counting.looker(LOOKS))
    found.of([ORDERS])
    number = counting.write(*ORDERS)
    assert found.of([ORDERS])[ORDERS].number == number


def test_a_vault_that_was_started_without_counters_is_read_every_time(tmp_path: Path) -> None:
    with servers(tmp_path) as (server,):
        site = Site(server)
        found = Versions(site.looker())
        found.of([ORDERS])
        number = site.write(*ORDERS)
        assert found.of([ORDERS])[ORDERS].number == number


def test_a_standby_names_the_active_server(tmp_path: Path) -> None:
    with servers(tmp_path, count=2, start=False) as two:
        for server in two:
            file = server.folder / "config.json"
            file.write_text(json.dumps({**json.loads(file.read_text()), **telemetry()}))
            server.start()
        site, standby = Site(two[0]), two[1].api
        wait_for(lambda: answers(standby, 503), "the second server has joined")
        standby.write("sys/unseal", {"key": site.key})
        wait_for(lambda: answers(standby, 429), "the second server stands by")
        found = Versions(standby.with_token(site.looker_token()))
        first = found.of([ORDERS])
        before = site.looks()
        assert found.of([ORDERS]) == first and site.looks() == before
        number = site.write(*ORDERS)
        assert found.of([ORDERS])[ORDERS].number == number
        assert site.looks() == before + 1


def test_a_version_of_a_path_that_began_again_is_another(counting: Site) -> None:
    found = Versions(counting.looker())
    place = ("platform-config", "began/again")
    counting.write(*place)
    first = found.of([place])[place]
    counting.root.delete("platform-config/metadata/began/again")
    counting.write(*place)
    second = found.of([place])[place]
    assert first.number == second.number == 1 and first.mark != second.mark


def test_only_changes_to_the_mounts_in_question_count() -> None:
    text = "\n".join(
        [
            "# TYPE vault_route_create_platform_data_ summary",
            'vault_route_create_platform_data_{quantile="0.5"} 2.1',
            "vault_route_create_platform_data__sum 31.5",
            "vault_route_create_platform_data__count 3",
            "vault_route_read_platform_data__count 9",
            "vault_route_rollback_platform_data__count 9",
            "vault_route_create_platform_data_more__count 9",
        ]
    )
    wanted = {"vault_route_create_platform_data__sum 31.5", "vault_route_create_platform_data__count 3"}
    assert changes(text, {"platform-data"}) == wanted
    assert changes(text, {"platform-config"}) == frozenset()
