"""The table of pins is the intent, go.mod and go.sum are the lock; they must say the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolchain.errors import ToolchainError
from toolchain.programs import golang, pins
from toolchain.programs.gomod import read_mod, read_sum

TABLE = pins.load()
programs = pytest.mark.parametrize("program", TABLE.programs.values(), ids=lambda program: program.name)


@programs
def test_lock_requires_what_the_table_says(program: pins.Program) -> None:
    mod = read_mod(program.lock / "go.mod")
    assert mod.module == program.module
    assert {module: mod.require.get(module) for module in program.require} == program.require


@programs
def test_lock_replaces_what_the_table_says(program: pins.Program) -> None:
    expected = dict(program.replace)
    if program.patch:
        expected[program.patch.module] = f"./{golang.UPSTREAM}"
    assert read_mod(program.lock / "go.mod").replace == expected


@programs
def test_lock_names_the_program(program: pins.Program) -> None:
    tools = read_mod(program.lock / "go.mod").tools
    if program.package == ".":
        assert tools == []
        assert "package main" in (program.lock / "main.go").read_text()
    else:
        assert tools == [program.package]


@programs
def test_every_pinned_module_has_its_checksum(program: pins.Program) -> None:
    sums = read_sum(program.lock / "go.sum")
    if program.patch:
        sums |= read_sum(program.lock / golang.UPSTREAM / "go.sum")
    wanted = [f"{module}@{version}" for module, version in program.require.items() if module not in program.replace]
    # Upstream's go.mod replaces more modules than these programs use.
    used = read_mod(program.lock / "go.mod").require
    wanted += [other for module, other in program.replace.items() if module in used]
    # A module that only holds back a version contributes its go.mod alone.
    missing = [module for module in wanted if module not in sums and f"{module}/go.mod" not in sums]
    assert missing == []


@programs
def test_files_come_from_required_modules(program: pins.Program) -> None:
    for file in (*program.embed, *program.files):
        if file.module:
            assert file.module in program.require
        else:
            assert (program.lock / file.path).is_file()


def test_every_lock_has_an_entry() -> None:
    assert {folder.name for folder in pins.LOCKS.iterdir() if folder.is_dir()} == set(TABLE.programs)


def test_no_name_is_claimed_twice() -> None:
    names = [name for program in TABLE.programs.values() for name in program.called]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("entry", TABLE.manifests.values(), ids=lambda entry: entry.name)
def test_manifests_come_from_locked_modules(entry: pins.Manifests) -> None:
    version = read_mod(pins.LOCKS / entry.lock / "go.mod").require[entry.module]
    assert f"{entry.module}@{version}" in read_sum(pins.LOCKS / entry.lock / "go.sum")


def test_a_program_is_found_by_a_name_it_is_called_by() -> None:
    assert TABLE.program("kubelet").name == "kubernetes"
    with pytest.raises(ToolchainError, match=r"kubelets is not in toolchain/pins\.toml; known: .*etcd"):
        TABLE.program("kubelets")


def test_unknown_field_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "pins.toml"
    table.write_text('[go.x]\nversion = "1"\nmodule = "m"\npackage = "."\nrequire = {}\nsecond = 3\n[manifests]\n')
    with pytest.raises(ToolchainError, match=r"\[go\.x\].*second"):
        pins.load(table)


def test_go_mod_is_read_in_all_its_forms(tmp_path: Path) -> None:
    file = tmp_path / "go.mod"
    file.write_text(
        "module m // comment\n\ngo 1.26.8\n\nrequire a v1.0.0 // indirect\n"
        "\nrequire (\n\tb v2.0.0\n\tc v3.0.0 // indirect\n)\n"
        "\nreplace b => d v4.0.0\n\nreplace c => ./c\n\ntool (\n\tx/y\n\tz\n)\n"
    )
    mod = read_mod(file)
    assert (mod.module, mod.go, mod.tools) == ("m", "1.26.8", ["x/y", "z"])
    assert mod.require == {"a": "v1.0.0", "b": "v2.0.0", "c": "v3.0.0"}
    assert mod.replace == {"b": "d@v4.0.0", "c": "./c"}
