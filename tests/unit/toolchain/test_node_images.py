"""Images made from binaries: the table, the archive, the engine's name."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from toolchain import venv
from toolchain.images import engine, python_base
from toolchain.node import addons, files, netpolicy
from toolchain.node import image_archive as archive
from toolchain.node import image_table as table
from toolchain.node.errors import NodeError
from toolchain.node.progress import Progress
from toolchain.programs import pins

IMAGE = table.Image("example.org/thing", "v1", "thing", "/usr/local/bin/thing", "65532:65532")


def test_tags_are_the_versions_that_are_built() -> None:
    """The tag says upstream's version, so it must be the version of the pins. pause is our own program."""
    built = pins.load()
    for image in table.load():
        if image.binary != "pause":
            assert image.tag.removeprefix("v") == built.program(image.binary).version, image.reference


def test_the_node_uses_images_of_the_table() -> None:
    references = {image.reference for image in table.load()}
    assert {files.PAUSE_IMAGE, addons.COREDNS_IMAGE, netpolicy.IMAGE} <= references


def test_select_by_any_name() -> None:
    vault = "docker.io/hashicorp/vault"
    for name in ("vault", vault, f"{vault}:1.21.1"):
        assert [image.name for image in table.select([name])] == [vault]


def test_an_unknown_image_is_named() -> None:
    with pytest.raises(NodeError, match=r"image nothing: not in images\.toml; known: pause"):
        table.select(["nothing"])


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "thing"
    path.write_bytes(b"\x7fELF" + bytes(range(256)) * 40)
    return path


def read(path: Path) -> tuple[dict[str, object], dict[str, tarfile.TarInfo], dict[str, bytes]]:
    """Config, entries of the layer, and contents of the layer's files. Checks the digests on the way."""
    with tarfile.open(path) as outer:
        content = {entry.name: outer.extractfile(entry).read() for entry in outer}  # type: ignore[union-attr]
    manifest = json.loads(content["manifest.json"])
    assert manifest[0]["RepoTags"] == [IMAGE.reference]
    raw = content[manifest[0]["Config"]]
    assert manifest[0]["Config"] == f"{hashlib.sha256(raw).hexdigest()}.json"
    config = json.loads(raw)
    layer = content[manifest[0]["Layers"][0]]
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}"]
    plain = path.with_name("layer.tar")
    plain.write_bytes(layer)
    with tarfile.open(plain) as inner:
        entries = {entry.name: entry for entry in inner}
        contents = {name: inner.extractfile(entry).read() for name, entry in entries.items() if entry.isreg()}  # type: ignore[union-attr]
    return config, entries, contents


def test_an_image_holds_the_program_and_its_surroundings(tmp_path: Path, program: Path) -> None:
    archive.write(IMAGE, program, tmp_path / "image.tar")
    config, entries, contents = read(tmp_path / "image.tar")
    assert config["config"]["Entrypoint"] == ["/usr/local/bin/thing"]  # type: ignore[index]
    assert config["config"]["User"] == "65532:65532"  # type: ignore[index]
    assert contents["usr/local/bin/thing"] == program.read_bytes()
    assert entries["usr/local/bin/thing"].mode == 0o755
    assert entries["tmp"].mode == 0o1777
    assert b"BEGIN CERTIFICATE" in contents["etc/ssl/certs/ca-certificates.crt"]
    assert b":65532:65532:" in contents["etc/passwd"]
    names = list(entries)
    for name in names:
        parent = str(Path(name).parent)
        assert parent == "." or names.index(parent) < names.index(name), f"{name} comes before its folder"


def test_same_input_same_bytes(tmp_path: Path, program: Path) -> None:
    archive.write(IMAGE, program, tmp_path / "one.tar")
    program.touch()
    archive.write(IMAGE, program, tmp_path / "two.tar")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    assert not list(tmp_path.glob("*.layer"))


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for package in engine.PACKAGES:
        (tmp_path / package).mkdir(parents=True)
        (tmp_path / package / "__init__.py").write_text(f'"""{package}"""\n')
    (tmp_path / "secret_authority/__init__.py").write_text("")
    (tmp_path / "requirements-engine.lock").write_text("a==1 --hash=sha256:00\n")
    (tmp_path / "Containerfile").write_text("FROM scratch\n")
    monkeypatch.setattr(engine, "CHECKOUT", tmp_path)
    monkeypatch.setattr(engine, "LOCK", tmp_path / "requirements-engine.lock")
    monkeypatch.setattr(engine, "RECIPE", tmp_path / "Containerfile")
    return tmp_path


def test_the_engine_image_is_named_by_its_content(tree: Path) -> None:
    first = engine.reference()
    assert engine.reference() == first
    seen = {first}
    for changed in (
        "secret_authority/engine/__init__.py",
        "secret_authority/core/new.py",
        "requirements-engine.lock",
        "Containerfile",
    ):
        with (tree / changed).open("a") as stream:
            stream.write("# changed\n")
        assert engine.reference() not in seen, changed
        seen.add(engine.reference())
    (tree / "secret_authority/engine/__pycache__").mkdir()
    (tree / "secret_authority/engine/__pycache__/x.pyc").write_bytes(b"")
    assert engine.reference() in seen, "compiled files are no content"


def test_the_engine_needs_its_lock_file(tree: Path) -> None:
    (tree / "requirements-engine.lock").unlink()
    with pytest.raises(NodeError, match=r"requirements-engine\.lock is missing"):
        engine.reference()


@pytest.fixture
def ran(tree: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that laying out the dependencies ran; pip installs one file."""
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        if "--target" in command:
            site = Path(command[command.index("--target") + 1])
            site.mkdir()
            (site / "thing.py").write_text("")
            (site / "thing-1.dist-info").mkdir()
            script = f"../../bin/thing,sha256={hashlib.sha256(command[0].encode()).hexdigest()},9"
            (site / "thing-1.dist-info/RECORD").write_text(f"{script}\nthing.py,sha256=00,0\nthing/bin/x,sha256=00,0\n")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def test_dependencies_need_no_pip_of_the_system(ran: list[list[str]], tmp_path: Path) -> None:
    site = tmp_path / "site"
    engine.make_site(site, Progress("test"))
    pips = [command for command in ran if "pip" in command]
    assert [command[0] for command in pips] == [str(venv.PYTHON)]
    assert "--python-version=3.11" in pips[0] and (site / "thing.py").stat().st_mtime == 0
    ran.clear()
    engine.make_site(site, Progress("test"))
    assert not ran, "what is laid out already stays"


def test_where_the_interpreter_lies_is_not_in_the_image(ran: list[list[str]], tmp_path: Path) -> None:
    engine.make_site(tmp_path / "site", Progress("test"))
    record = tmp_path / "site/thing-1.dist-info/RECORD"
    assert record.read_text() == "thing.py,sha256=00,0\nthing/bin/x,sha256=00,0\n"


def test_without_the_environment_it_says_how_to_make_it(
    ran: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "VENV_PYTHON", tmp_path / "bin/python")
    with pytest.raises(NodeError, match="run `python3 -m toolchain venv`"):
        engine.make_site(tmp_path / "site", Progress("test"))
    assert not ran


def test_the_base_is_slimmed(tmp_path: Path) -> None:
    full = tmp_path / "full.tar"
    kept = ["usr/bin/python3.11", "usr/bin/python3", "usr/lib/python3.11/json/__init__.py", "etc/passwd", "lib/libc.so"]
    dropped = [
        "usr/share/doc/x",
        "usr/bin/dpkg-query",
        "usr/bin/pdb3",
        "usr/bin/pydoc3.11",
        "bin/tar",
        "var/lib/dpkg/status",
    ]
    with tarfile.open(full, "w") as tar:
        for name in kept + dropped:
            tar.addfile(tarfile.TarInfo(f"./{name}"))
    python_base.slim(full, tmp_path / "slim.tar")
    with tarfile.open(tmp_path / "slim.tar") as tar:
        entries = {entry.name.removeprefix("./"): entry for entry in tar}
    assert sorted(entries) == sorted(kept)
    assert {entry.mtime for entry in entries.values()} == {0}
