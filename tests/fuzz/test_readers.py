"""Every reader of bytes from outside reads them or names the problem: no other exception, no hang, bounded memory.

`FUZZ_EXAMPLES` sets how many inputs each reader gets (default 200). The inputs are valid files with random edits, and
random YAML.
"""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyrage
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyrage import x25519

from secret_authority.clients.age import Identity, count_recipients, open_sealed, seal
from secret_authority.clients.age_header import parse_header as parse_age_header
from secret_authority.clients.sops import parse_header
from secret_authority.core.catalogue.schema import parse_catalogue
from secret_authority.core.errors import InvalidInputError, raise_if_any
from secret_authority.core.handover.state_machine import Record
from secret_authority.core.ledger.audit_trail import Event
from secret_authority.core.ledger.published_trail import NAME, read_pieces, read_unsigned
from secret_authority.repository.bootstrap.encrypted_secrets import read_encrypted
from secret_authority.repository.bootstrap.whole_files import BINARY, DOTENV, JSON, read_whole_file
from secret_authority.repository.files.yaml_documents import read_documents, read_sources
from secret_authority.repository.trust.root_of_trust import read_trust

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "200"))
MEMORY = 256 * 2**20
ROOT = Path(__file__).parents[2]
FLEET = ROOT / "examples/fleet"

IDENTITY, CLUSTER = Identity.generate(), Identity.generate()
DATA_KEY = pyrage.encrypt(bytes(32), [x25519.Recipient.from_str(IDENTITY.recipient)], armored=True).decode()
SEALED = seal(IDENTITY, [IDENTITY.recipient])
CIPHER = f"ENC[AES256_GCM,data:c2VjcmV0,iv:{'A' * 43}=,tag:{'A' * 22}==,type:str]"
SECRET = yaml.safe_dump(
    {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "orders-db", "namespace": "bootstrap-data"},
        "stringData": {"password": CIPHER},
        "sops": {
            "age": [{"recipient": IDENTITY.recipient, "enc": DATA_KEY}],
            "lastmodified": "2026-01-01T00:00:00Z",
            "mac": CIPHER,
            "encrypted_regex": "^(data|stringData)$",
            "version": "3.11.0",
        },
    },
    sort_keys=False,
).encode()
TRUST = yaml.safe_dump(
    {
        "apiVersion": "secret-authority.dev/v1",
        "kind": "RootOfTrust",
        "root": [{"holder": "alice", "recipient": IDENTITY.recipient}],
        "clusters": [{"name": "prod", "recipient": CLUSTER.recipient, "identity": "clusters/prod/identity.age"}],
    }
).encode()
_SOPS = yaml.safe_load(SECRET)["sops"]
BLOB = json.dumps({"data": CIPHER, "sops": {**_SOPS, "encrypted_regex": None}}, indent="\t").encode()
_SEALED_KEY = DATA_KEY.replace("\n", "\\n")
ENV = (
    f"#note\nPASSWORD={CIPHER}\nEMPTY=\nsops_age__list_0__map_enc={_SEALED_KEY}\n"
    f"sops_age__list_0__map_recipient={IDENTITY.recipient}\nsops_lastmodified=2026-01-01T00:00:00Z\n"
    f"sops_mac={CIPHER}\nsops_version=3.11.0\n"
).encode()
GENERATOR = b"""secretGenerator:
- name: app
  namespace: bootstrap-data
  envs: [a.env]
  files: [blob]
  options: {disableNameSuffixHash: true, labels: {a: b}}
"""
EVENT = {
    name: "2026-01-01T00:00:00.000+00:00" if name == "at" else "git -> vault" if name == "change" else "text"
    for name in Event.__dataclass_fields__
}
PIECES = json.dumps({NAME: {"events": json.dumps(EVENT), "total": "1", "signature": "00", "key": "00"}}).encode()
CATALOGUE = next(FLEET.rglob("catalogue.yaml")).read_bytes()

# Pieces of syntax that readers treat specially.
TOKENS = [
    *[
        b"---\n",
        b"- ",
        b": ",
        b"{",
        b"}",
        b"[",
        b"]",
        b"&a ",
        b"*a",
        b"!!binary ",
        b"!!python/name:os.system ",
        b"<<: ",
    ],
    *[b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\r\n", b"\t", b"'", b'"', b"|\n", b"#", b"? ", b"%YAML 1.1\n", b"..."],
    *[b"null", b"true", b"1e999", b".nan", b"0x_", b"2026-13-45", b"99999999999999999999", b"sops:", b"ENC[", b"~"],
]


@st.composite
def edited(draw: st.DrawFn, seed: bytes) -> bytes:
    """A valid file with up to eight edits: bytes cut, doubled, replaced, or syntax put in."""
    content = bytearray(seed)
    for _ in range(draw(st.integers(0, 8))):
        at = draw(st.integers(0, len(content)))
        to = min(len(content), at + draw(st.integers(0, 40)))
        match draw(st.integers(0, 3)):
            case 0:
                del content[at:to]
            case 1:
                content[at:at] = content[at:to] * draw(st.integers(1, 4))
            case 2:
                content[at:to] = draw(st.binary(max_size=8))
            case _:
                content[at:at] = draw(st.sampled_from(TOKENS))
    return bytes(content)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.binary(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
KEYS = [
    "apiVersion",
    "kind",
    "secrets",
    "name",
    "class",
    "vault",
    "consumers",
    "root",
    "sops",
    "age",
    "metadata",
    "data",
]
RANDOM_YAML = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=8).map(
    lambda value: yaml.dump(value, allow_unicode=True).encode(errors="surrogatepass")
)


def inputs(seed: bytes) -> st.SearchStrategy[bytes]:
    return edited(seed) | RANDOM_YAML | st.binary(max_size=64)


def documents(reader: Callable[[Any], object]) -> Callable[[Path], None]:
    """The reader, for each document of the file that is a mapping."""

    def read(path: Path) -> None:
        for document in read_documents(path, path.name):
            if isinstance(document, dict):
                reader(document)

    return read


def _pieces(path: Path) -> None:
    try:
        found = json.loads(path.read_bytes())
    except ValueError:
        return
    if isinstance(found, dict) and all(isinstance(piece, dict) for piece in found.values()):
        pieces = {name: {k: str(v) for k, v in piece.items()} for name, piece in found.items()}
        read_pieces(pieces)
        read_unsigned(pieces)


def _event(document: Any) -> None:
    try:
        Event.from_fields(document)
    except ValueError:
        return  # says which field is missing


def _record(document: Any) -> None:
    try:
        Record.from_metadata({str(key): str(value) for key, value in document.items()})
    except ValueError:
        return  # says what is missing


def _trust(path: Path) -> None:
    path.rename(path.with_name("root-of-trust.yaml"))
    read_trust(path.parent)


def _folder(path: Path) -> None:
    raise_if_any(read_encrypted(path.parent.parent, [path.parent.name]).problems)


def _generated(path: Path) -> None:
    path.rename(path.with_name("kustomization.yaml"))
    path.with_name("a.env").write_bytes(ENV)
    path.with_name("blob").write_bytes(BLOB)
    _folder(path)


READERS: dict[str, tuple[bytes, Callable[[Path], object]]] = {
    "catalogue": (CATALOGUE, documents(lambda document: parse_catalogue(document, "catalogue.yaml"))),
    "sops header": (SECRET, documents(lambda document: parse_header(document, "secret.yaml"))),
    "encrypted folder": (SECRET, _folder),
    "kustomization with a generator": (GENERATOR, _generated),
    "env file of a generator": (ENV, lambda path: read_whole_file(path, path.name, DOTENV)),
    "binary file of a generator": (BLOB, lambda path: read_whole_file(path, path.name, BINARY)),
    "JSON file of a generator": (BLOB.replace(b'"data"', b'"auths"', 1), lambda path: read_whole_file(path, "x", JSON)),
    "sealed identity": (SEALED, lambda path: open_sealed(path, path.name, IDENTITY)),
    "recipients of an age file": (SEALED, count_recipients),
    "age header": (SEALED, lambda path: parse_age_header(path.read_bytes())),
    "age identity": (
        IDENTITY.as_file().encode(),
        lambda path: Identity.parse(path.read_bytes().decode(errors="replace"), path.name),
    ),
    "root of trust": (TRUST, _trust),
    "published trail": (PIECES, _pieces),
    "audit event": (yaml.safe_dump(EVENT).encode(), documents(_event)),
    "record of authority": (b"authority: vault\nhandover_id: ho-1\nhandover_at: x\nsecret: a\n", documents(_record)),
    "YAML sources": (SECRET, lambda path: read_sources(path, path.name)),
}


@pytest.mark.parametrize("reader", READERS)
def test_the_file_that_is_edited_is_valid(reader: str, tmp_path: Path) -> None:
    content, read = READERS[reader]
    path = tmp_path / "folder" / "given.yaml"
    path.parent.mkdir()
    path.write_bytes(content)
    try:
        read(path)
    except InvalidInputError as error:
        pytest.fail(str(error))


@pytest.mark.parametrize("reader", READERS)
def test_a_reader_reads_or_names_the_problem(reader: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    seed, read = READERS[reader]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    folder = tmp_path_factory.mktemp("fuzz") / "folder"

    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck), derandomize=False
    )
    @given(content=inputs(seed))
    def run(content: bytes) -> None:
        folder.mkdir(exist_ok=True)
        for left in folder.iterdir():
            left.unlink()
        path = folder / "given.yaml"
        path.write_bytes(content)
        try:
            read(path)
        except InvalidInputError as error:
            assert str(error)

    run()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < MEMORY, f"{grown / 2**20:.0f} MiB more"
