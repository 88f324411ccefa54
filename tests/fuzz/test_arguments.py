"""A person's odd arguments, in any order: one clear line, and a command does its whole change or none."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from secret_authority.clients.age import Identity
from tests.support.command_line import NOWHERE, content, run
from tests.support.fleets import Fleet, new_fleet

ROOT = Path(__file__).parents[2]

WORDS = st.sampled_from(
    ["dev", "prod", "", "Prod", "../x", "a b", "age1x", Identity.generate().recipient, "/nonexistent", "/dev/null", ".",
     "-1", "--", "-", "ä", "\udcff", "x" * 300, "$HOME", "0", "9999999999999999999", "clusters/dev/bootstrap", "/",
     "a\nb"]
)  # fmt: skip
AT, OF, KEY = ["--repository", "fleet"], ["--cluster", "dev"], ["--root-identity", "root.age"]
# Commands as they would work; odd options and words follow, and the last one counts.
VERBS = st.sampled_from(
    [["check", *AT, *OF], ["check", *AT, *OF, *KEY], ["root", "new", *AT, "--out", "new.age", "--holder", "bob"],
     ["root", "add", *AT, "--holder", "bob", "--recipient", Identity.generate().recipient],
     ["root", "rewrap", "--in", "fleet/clusters/dev/identity.age", "--out", "answer.age", *KEY, "--to", "age1"],
     ["cluster", "new", *AT], ["cluster", "reseal", "dev", *AT, *KEY], ["cluster", "admit", "dev", *AT, *KEY],
     ["cluster", "request", "--out", "request.age"], ["cluster", "reseal-shares", "dev", *AT, *KEY],
     ["cluster", "export-shares", "dev", *AT], ["ledger", *AT, *OF], ["ledger", "--offline", *AT, *OF],
     ["tombstone", *AT, *OF], ["audit"], ["enter", "payment-api", *AT, *OF], ["ledger-diff", "fleet", "fleet"],
     ["cluster", "restore-shares", "dev", *AT], ["rotate", "session-key"], ["rotation", "status"],
     ["rotation", "history", "session-key"], ["rotation", "hold", "session-key"], ["rotation", "policy", "session-key"],
     ["snapshot", "now", *AT, *OF], ["snapshot", "status"], ["snapshot", "list", *AT, *OF],
     ["snapshot", "verify", *AT, *OF, *KEY], ["drill", "list"], ["drill", "report", *AT, *OF],
     ["restore", *AT, *OF, *KEY], ["restore", *AT, *OF, *KEY, "--only", "payment-api"],
     ["policy", "check", "fleet"], ["policy", "rules"], ["policy", "pack-config", "fleet/policy.yaml"],
     ["cluster"], ["root"], ["rotation"], ["snapshot"], ["drill"], ["policy"], []]
)  # fmt: skip
OPTIONS = st.sampled_from(
    ["--cluster", "--repository", "--catalogue", "--bootstrap", "--root-identity", "--holder", "--recipient", "--admit",
     "--out", "--in", "--to", "--kubeconfig", "--context", "--passphrase-fd", "--unlock-with", "--protect-to",
     "--output", "--format", "--file",
     "--secret", "--sealed", "--root-of-trust", "--replace", "--history", "--help", "--nonsense",
     "--why", "--id", "--compromise", "--wait", "--snapshot", "--only", "--plan", "--confirm", "--credentials",
     "--offline"]
)  # fmt: skip


@pytest.fixture(scope="module")
def playground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    yield new_fleet(tmp_path_factory.mktemp("playground"))


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(VERBS, st.lists(st.tuples(OPTIONS, WORDS), max_size=2), st.lists(WORDS, max_size=2))
@example(["root", "add", *AT, "--holder", "bob"], [("--recipient", "\udcff")], [])
def test_no_arguments_end_in_a_traceback(
    playground: Fleet,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    verb: list[str],
    options: list[tuple[str, str]],
    words: list[str],
) -> None:
    """Each command on its own copy of a repository; whoever fails has changed nothing in it."""
    home = playground.repository.parent / "copy"
    shutil.copytree(playground.repository.parent / "fleet", home / "fleet")
    shutil.copy(playground.root_file, home / "root.age")
    (home / "nowhere").write_text(NOWHERE)
    try:
        monkeypatch.chdir(home)
        monkeypatch.setenv("KUBECONFIG", str(home / "nowhere"))
        monkeypatch.setattr(sys, "stdin", io.StringIO(""))
        arguments = [*verb, *(part for pair in options for part in pair), *words]
        before = content(home)
        code = run(arguments)
        said = capsys.readouterr().err
        assert code in (0, 1, 2), (arguments, code, said)
        assert "Traceback" not in said
        assert code == 0 or content(home) == before, arguments
    finally:
        monkeypatch.chdir(ROOT)
        shutil.rmtree(home)
