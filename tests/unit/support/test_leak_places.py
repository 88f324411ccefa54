"""The places of the search for secret values: what of files and processes comes to light."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.canary import Canaries
from tests.support.leak_places import Texts, files, git_objects, watched

VALUE = b"Zq3-unmistakable_value+7"


def found(texts: Texts) -> set[str]:
    return {hit.where for hit in Canaries({"value": VALUE}).search("here", texts)}


def test_a_value_across_two_reads_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.leak_places.CHUNK", 2048)
    (tmp_path / "log").write_bytes(b"x" * 2040 + VALUE + b"x" * 100)
    assert found(files(tmp_path)) == {str(tmp_path / "log")}


def test_only_the_named_folders_are_passed_over(tmp_path: Path) -> None:
    for folder in ("a/skipped", "b/skipped"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "log").write_bytes(VALUE)
    assert found(files(tmp_path, "a/skipped")) == {str(tmp_path / "b/skipped/log")}


def test_a_file_that_was_not_changed_since_is_passed_over(tmp_path: Path) -> None:
    """Whatever its other times say: an unpacked image sets those, and a program may."""
    for name in ("old", "written", "appended"):
        (tmp_path / name).write_bytes(b"x")
    since = max(file.stat().st_ctime for file in tmp_path.iterdir()) + 0.001
    time.sleep(0.05)  # more than the steps in which a file system counts
    (tmp_path / "written").write_bytes(VALUE)
    with (tmp_path / "appended").open("ab") as file:
        file.write(VALUE)
    (tmp_path / "new").write_bytes(VALUE)
    for file in tmp_path.iterdir():
        if file.name != "old":
            os.utime(file, (0, 0))
    assert {where for where, _ in files(tmp_path, since=since)} == {
        str(tmp_path / name) for name in ("written", "appended", "new")
    }


def test_what_is_packed_is_unpacked(tmp_path: Path) -> None:
    packed = gzip.compress(b"x" * 5000 + VALUE + bytes(range(256)) * 40)
    (tmp_path / "whole.gz").write_bytes(packed)
    (tmp_path / "cut").write_bytes(packed[:-20])
    (tmp_path / "empty.gz").write_bytes(b"")
    assert found(files(tmp_path)) == {str(tmp_path / "whole.gz"), str(tmp_path / "cut")}


def test_arguments_environments_and_files_of_a_running_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the command's own child, and of a file that is gone when it ends."""
    child = "import pathlib, sys; f = pathlib.Path(sys.argv[1]); f.write_text('shown'); sys.stdin.read(); f.unlink()"
    start = "import subprocess, sys; subprocess.run(sys.argv[1:], env={'INSIDE': 'of the child'}, check=True)"
    command = [sys.executable, "-c", start, sys.executable, "-c", child, str(tmp_path / "file")]
    waits, ends = os.pipe()
    looks = []

    def looked(folder: Path) -> Texts:
        """At the second look at the file its writer has been looked at as well: then it may end."""
        texts = set(files(folder))
        if (str(tmp_path / "file"), b"shown") in texts:
            looks.append(folder)
            if len(looks) == 2:
                os.close(ends)
        return texts

    monkeypatch.setattr("tests.support.leak_places.files", looked)
    process = subprocess.Popen(command, text=True, env={"OUTSIDE": "of the parent"}, stdin=waits)
    os.close(waits)
    seen = watched(process, tmp_path, timeout=60)
    assert process.returncode == 0 and not list(tmp_path.iterdir())
    assert (str(tmp_path / "file"), b"shown") in seen
    texts = b"\0".join(text for _, text in seen)
    assert b"INSIDE=of the child" in texts and b"OUTSIDE=of the parent" in texts and str(tmp_path).encode() in texts


def test_a_watched_command_may_write_more_than_a_pipe_holds() -> None:
    command = [sys.executable, "-c", "print('x' * 1_000_000)"]
    process = subprocess.Popen(command, text=True, stdout=subprocess.PIPE)
    watched(process, timeout=60)
    assert process.communicate()[0] == "x" * 1_000_000 + "\n"


def test_a_watched_command_that_does_not_end_is_ended_with_its_children() -> None:
    child = "import signal; print('started', flush=True); signal.pause()"
    start = "import subprocess, sys; subprocess.run(sys.argv[1:], check=False)"
    command = [sys.executable, "-c", start, sys.executable, "-c", child]
    process = subprocess.Popen(command, text=True, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == "started\n"
    with pytest.raises(subprocess.TimeoutExpired):
        watched(process, timeout=0.2)
    assert process.returncode == -signal.SIGKILL
    # The pipe's end: its other holder, the child, is gone too.
    assert process.communicate(timeout=60)[0] == ""


def test_objects_of_git_that_no_branch_has(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path)], check=True)
    write = ["git", "-C", str(tmp_path), "hash-object", "-w", "--stdin"]
    assert not found(git_objects(tmp_path))
    subprocess.run(write, input=VALUE, stdout=subprocess.PIPE, check=True)
    assert found(git_objects(tmp_path))
