"""Values through a real Vault: what is accepted comes back byte for byte, what is too large is refused before."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.commands.enter import read_values
from secret_authority.clients.vault import Vault, VaultRefusedError
from secret_authority.core.digest import decode_values, encode_values
from secret_authority.core.errors import InvalidInputError, Unavailable
from secret_authority.core.limits import VAULT_ENTRY_BYTES, VAULT_STRING_BYTES, impossible_values
from tests.support.odd_values import odd_value
from tests.support.vault_process import servers, vault_program, wait_for

pytestmark = pytest.mark.skipif(vault_program() is None, reason="no vault program: run `make tools`")

VALUES = 240


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vault]:
    with servers(tmp_path_factory.mktemp("values")) as (server,):
        wait_for(lambda: _answers(server.api), "Vault answers")
        keys = server.api.write("sys/init", {"secret_shares": 1, "secret_threshold": 1})
        server.api.write("sys/unseal", {"key": keys["keys_base64"][0]})
        root = server.api.with_token(keys["root_token"])
        wait_for(lambda: root.health() == 200, "Vault is in service")
        root.write("sys/mounts/data", {"type": "kv", "options": {"version": "2"}})
        wait_for(lambda: _upgraded(root), "the mount is ready")
        yield root


def _answers(vault: Vault) -> bool:
    try:
        return vault.health() == 501
    except Unavailable:
        return False


def _upgraded(vault: Vault) -> bool:
    try:
        return vault.read("data/config") is not None
    except (VaultRefusedError, Unavailable):
        return False


def through(vault: Vault, path: str, values: dict[str, bytes], binary: list[str]) -> dict[str, bytes]:
    texts, encoded = encode_values(values, binary)
    vault.write(f"data/data/{path}", {"data": texts})
    found = vault.read(f"data/data/{path}")
    assert found is not None
    return decode_values(found["data"]["data"], encoded)


def test_every_value_comes_back_byte_for_byte(vault: Vault, tmp_path: Path) -> None:
    """By the way of `enter --file` and by that of the handover, as text and named binary."""
    file = tmp_path / "value"
    for number in range(VALUES):
        value = odd_value(number)
        file.write_bytes(value)
        try:
            value.decode()
            kinds: list[list[str]] = [[], ["key"]]
        except UnicodeDecodeError:
            kinds = [["key"]]
            with pytest.raises(InvalidInputError, match="is not UTF-8 text"):
                read_values(["key"], file, "x")
        for binary in kinds:
            assert through(vault, f"v{number}", {"key": value}, binary) == {"key": value}
            texts = read_values(["key"], file, "x", binary)
            vault.write(f"data/data/e{number}", {"data": texts})
            found = (vault.read(f"data/data/e{number}") or {})["data"]["data"]
            assert decode_values(found, binary) == {"key": value}


@pytest.mark.parametrize("character", ["x", "\n", "<", "\u2028", "ß", "\x00", '"', "\x7f", "😀"])
@pytest.mark.parametrize("binary", [True, False])
def test_the_largest_value_that_is_accepted_is_taken_by_vault(vault: Vault, character: str, binary: bool) -> None:
    named = ["key"] if binary else []
    low, high = 1, 1_100_000
    while low + 1 < high:
        middle = (low + high) // 2
        fits = not list(impossible_values({"key": (character * middle).encode()}, named))
        low, high = (middle, high) if fits else (low, middle)
    value = (character * low).encode()
    assert through(vault, "large", {"key": value}, named) == {"key": value}


def test_the_limits_are_not_far_below_those_of_vault(vault: Vault) -> None:
    """A little more than what is accepted is refused by Vault, and that refusal is final."""
    for size in (VAULT_STRING_BYTES + 1, VAULT_ENTRY_BYTES + (16 << 10)):
        assert list(impossible_values({"key": b"x" * size}, []))
        with pytest.raises(VaultRefusedError):
            vault.write("data/data/over", {"data": {"key": "x" * size}})
    keys = {f"k{number}": secrets.token_hex(50_000).encode() for number in range(11)}
    assert list(impossible_values(keys, []))
    with pytest.raises(VaultRefusedError):
        vault.write("data/data/over", {"data": encode_values(keys)[0]})
