"""Programs come from PATH, the cache or a build; a second run does nothing; nothing half is left."""

from __future__ import annotations

import dataclasses
import io
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from toolchain.errors import ToolchainError
from toolchain.programs import cache, found, golang, links, pins, provide
from toolchain.programs.progress import Progress, duration

GO_CACHE = subprocess.run(["go", "env", "GOCACHE"], capture_output=True, text=True, check=True).stdout.strip()
PAUSE = pins.load().program("pause")  # builds in a second and needs no module


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("GOCACHE", GO_CACHE)
    return tmp_path / "cache"


def locked_in(folder: Path, name: str, source: str) -> pins.Program:
    """A program with a lock of its own, outside the table."""
    lock = folder / name
    lock.mkdir(parents=True)
    (lock / "go.mod").write_text(f"module {name}\n\ngo 1.21\n")
    (lock / "main.go").write_text(source)

    class Here(pins.Program):
        @property
        def lock(self) -> Path:
            return lock

    return Here(name, "1.0.0", name, ".", {})


def test_build_links_and_records(tmp_path: Path) -> None:
    into = tmp_path / "checkout" / ".tools" / "bin"
    provide.provide([PAUSE], into)
    shown = subprocess.run([into / "pause", "-v"], capture_output=True, text=True, check=True)
    assert shown.stdout == f"pause {PAUSE.version}\n"
    record = cache.record(PAUSE)
    assert record is not None
    assert (record.origin, record.version) == ("build", PAUSE.version)
    assert provide.location(PAUSE, "pause", into).resolve() == cache.folder(PAUSE) / "pause"


def test_second_run_starts_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    provide.provide([PAUSE], tmp_path / "one" / "bin")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    provide.provide([PAUSE], tmp_path / "one" / "bin")
    provide.provide([PAUSE], tmp_path / "fresh clone" / "bin")
    assert (tmp_path / "fresh clone" / "bin" / "pause").exists()


def test_the_key_follows_all_that_goes_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = locked_in(tmp_path, "x", "package main\nfunc main() {}\n")
    keys = {cache.key(program)}
    keys.add(cache.key(dataclasses.replace(program, version="1.0.1")))
    keys.add(cache.key(dataclasses.replace(program, stamp={"main.v": "1"})))
    (program.lock / "main.go").write_text("package main\nfunc main() { println(1) }\n")
    keys.add(cache.key(program))
    monkeypatch.setattr(cache, "go_version", lambda: "go9.9.9")
    keys.add(cache.key(program))
    assert len(keys) == 5
    assert cache.key(dataclasses.replace(program, seconds=7)) == cache.key(program)


def test_failed_build_shows_the_end_of_its_log_and_the_others_go_on(tmp_path: Path, own_cache: Path) -> None:
    broken = locked_in(tmp_path, "broken", "package main\nfunc main() { undefinedThing() }\n")
    into = tmp_path / "bin"
    with pytest.raises(ToolchainError, match=r"broken: go build failed; the whole log is (\S+)\n(.|\n)*undefinedThing"):
        provide.provide([broken, PAUSE], into)
    assert (into / "pause").exists()
    assert not (into / "broken").exists()
    left = [path.name for path in (own_cache / "secret-authority" / "toolchain" / "broken").iterdir()]
    assert sorted(left) == [".lock", f"{cache.key(broken)}.log"]


def test_interrupted_run_leaves_nothing_half_and_the_next_one_goes_on(tmp_path: Path, own_cache: Path) -> None:
    """A run that is killed while it builds; the fake compiler says when it is at work."""
    fake = tmp_path / "fake"
    fake.mkdir()
    (fake / "go").write_text(
        f'#!/bin/sh\nif [ "$1" = env ]; then echo go1; exit; fi\ntouch {fake}/started\nexec sleep 60\n'
    )
    (fake / "go").chmod(0o755)
    script = (
        "import sys; from pathlib import Path; from toolchain.programs import pins, provide\n"
        "provide.provide([pins.load().program('pause')], Path(sys.argv[1]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "bin")],
        cwd=pins.CHECKOUT,
        env={**os.environ, "PATH": f"{fake}:{os.environ['PATH']}"},
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stderr is not None
    while not (fake / "started").exists():  # ends with the process at the latest
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()
    place = own_cache / "secret-authority" / "toolchain" / "pause"
    assert len(list(place.glob("tmp-*"))) == 1
    assert list(place.glob("*/record.json")) == []

    provide.provide([PAUSE], tmp_path / "bin")
    assert list(place.glob("tmp-*")) == []
    assert (tmp_path / "bin" / "pause").exists()


def test_missing_go_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolchainError, match="install Go"):
        golang.run(["version"], tmp_path, tmp_path / "log")


@pytest.mark.parametrize(
    ("printed", "fits"),
    [
        ("tool v1.2.3 (abc)", True),
        ("tool 1.2.30", False),
        ("tool 11.2.3", False),
        ("1.2.3.4", False),
        ("1.2.3-rc1", True),
    ],
)
def test_a_program_on_path_is_used_at_the_wanted_version_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: str, fits: bool
) -> None:
    folder = tmp_path / "usr"
    folder.mkdir()
    (folder / "tool").write_text(f"#!/bin/sh\necho '{printed}'\n")
    (folder / "tool").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    program = pins.Program("tool", "1.2.3", "m", ".", {}, probe=(("tool", "version"),))
    assert (found.on_path(program) is not None) is fits


def test_a_program_that_comes_with_another_is_judged_by_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, printed in (("cli", "1.2.3"), ("host", "no version")):
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{printed}'\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    program = pins.Program("host", "1.2.3", "m", ".", {}, probe=(("cli", "version"),))
    assert found.on_path(program) == {"host": tmp_path / "host"}
    (tmp_path / "cli").unlink()
    assert found.on_path(program) is None


def test_our_own_links_do_not_count_as_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / ".tools"
    (own / "bin").mkdir(parents=True)
    (own / "bin" / "tool").write_text("#!/bin/sh\necho 1.2.3\n")
    (own / "bin" / "tool").chmod(0o755)
    monkeypatch.setenv("PATH", f"{own / 'bin'}:/usr/bin:/bin")
    program = pins.Program("tool", "1.2.3", "m", ".", {}, probe=(("tool", "version"),))
    assert found.on_path(program, own) is None
    assert found.on_path(program, tmp_path / "elsewhere") == {"tool": own / "bin" / "tool"}


def test_a_file_in_the_way_is_replaced_by_the_link(tmp_path: Path) -> None:
    (tmp_path / "program").write_text("new")
    (tmp_path / "at").write_text("old")
    links.link(tmp_path / "program", tmp_path / "at")
    assert (tmp_path / "at").read_text() == "new"
    links.real_file(tmp_path / "program", tmp_path / "at")
    assert not (tmp_path / "at").is_symlink()
    assert (tmp_path / "at").samefile(tmp_path / "program")
    shutil.copy2(tmp_path / "program", tmp_path / "copy")
    before = (tmp_path / "copy").stat().st_ino
    links.real_file(tmp_path / "program", tmp_path / "copy")
    assert (tmp_path / "copy").stat().st_ino == before


def test_progress_says_what_runs_and_what_is_left() -> None:
    out = io.StringIO()
    with Progress({"a": 100.0, "b": 50.0}, 2, out) as progress:
        progress.begin("a", "getting")
        progress.done("a", "built")
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("a: getting, 1 min 40 s of one processor; 2 left, about 1 min 40 s")
    assert lines[1] == "a: built after 0 s; 1 left, about 50 s"
    assert duration(61) == "1 min 01 s"


@pytest.mark.parametrize("share", [1.0, 0.5, 0.2])
def test_the_rest_is_estimated_at_the_pace_of_a_busy_machine(share: float) -> None:
    """Whatever share of the processors the builds get, the estimate is right within a third after some minutes."""
    estimates = {f"program {number}": 300.0 for number in range(8)}
    now, used = 0.0, dict.fromkeys(estimates, 0.0)
    progress = Progress(estimates, 2, io.StringIO(), lambda: used, lambda: now)
    running, waiting = list(estimates)[:2], list(estimates)[2:]
    for name in running:
        progress.begin(name, "getting")
    said: list[tuple[float, float]] = []
    while running:
        now += 10
        for name in list(running):
            used[name] += 10 * share
            if used[name] >= 300:
                running.remove(name)
                progress.done(name, "built")
                if waiting:
                    running.append(waiting.pop(0))
                    progress.begin(running[-1], "getting")
        said.append((now, progress.seconds_left()))
    assert now == pytest.approx(1200 / share, rel=0.05)
    for at, left in said:
        if 300 <= at <= now * 0.8:
            assert left == pytest.approx(now - at, rel=1 / 3), f"after {at:.0f} of {now:.0f} s"


def test_what_a_build_has_used_is_known_while_it_runs_and_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = tmp_path / "go"
    go.write_text(f"#!/bin/sh\ntouch {tmp_path}/runs\nsh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done'\n")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    log = tmp_path / "log"
    assert golang.used(log) == 0.0
    golang.run(["build"], tmp_path, log)
    first = golang.used(log)
    assert first > 0.1, "the children of the go command count"
    golang.run(["build"], tmp_path, log)
    assert golang.used(log) > first
