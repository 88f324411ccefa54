"""Whatever a person does, a command answers in one clear line, and does its whole change or none."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli import main as module
from secret_authority.repository.files.replace import replace_all
from secret_authority.repository.files.round_trip import edited, entry, list_below
from secret_authority.repository.trust.root_of_trust import read_trust
from tests.support.command_line import content, run
from tests.support.fleets import Fleet, new_fleet

ROOT = Path(__file__).parents[3]


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return new_fleet(tmp_path / "home")


def command(*arguments: str, **more: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "cli.main", *arguments],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **more,
    )


# Bug group 14: names that end up in files.


@pytest.mark.parametrize("name", ["Prod", "a b", "", "../evil", "../../outside", "x" * 80, "a/b", ".", "-", "prod\n"])
def test_what_cannot_name_a_cluster_changes_nothing(
    fleet: Fleet, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content(fleet.repository.parent)
    assert run(["cluster", "new", "--repository", str(fleet.repository), "--", name]) == 2
    assert "cannot name a cluster" in capsys.readouterr().err
    assert content(fleet.repository.parent) == before


@pytest.mark.parametrize("holder", ["alice: ops", "#bob", "- x", "'q", '"q"', "123", "yes", "null", "{a}", "*x", "ä ö"])
def test_a_holder_may_have_any_name(fleet: Fleet, tmp_path: Path, holder: str) -> None:
    out = tmp_path / "new.age"
    assert run(["root", "new", f"--out={out}", f"--holder={holder}", f"--repository={fleet.repository}"]) == 0
    assert holder in read_trust(fleet.repository).holders().values()


@pytest.mark.parametrize("holder", ["", " ", "two\nlines", "x" * 101, "example"])
def test_a_name_that_says_nobody_leaves_no_identity(fleet: Fleet, tmp_path: Path, holder: str) -> None:
    before, out = content(fleet.repository), tmp_path / "new.age"
    assert run(["root", "new", f"--out={out}", f"--holder={holder}", f"--repository={fleet.repository}"]) == 2
    assert not out.exists() and content(fleet.repository) == before


def test_a_repository_that_is_not_there_leaves_no_identity(tmp_path: Path) -> None:
    out = tmp_path / "new.age"
    assert run(["root", "new", f"--out={out}", "--holder=a", f"--repository={tmp_path / 'none'}"]) == 2
    assert not out.exists()


FORMS: dict[str, Callable[[str], str]] = {
    "flow": lambda text: yaml.safe_dump(yaml.safe_load(text), default_flow_style=True),
    "quoted": lambda text: text.replace("creation_rules:", '"creation_rules":'),
    "unindented": lambda text: yaml.safe_dump(yaml.safe_load(text), indent=2),
    "commented": lambda text: text.replace("creation_rules:", "creation_rules: # ours"),
    "crlf": lambda text: text.replace("\n", "\r\n"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_cluster_is_added_to_whatever_form_people_wrote(fleet: Fleet, form: str) -> None:
    rules, trust = fleet.repository / ".sops.yaml", fleet.repository / "root-of-trust.yaml"
    for file in (rules, trust):
        file.write_bytes(FORMS[form](file.read_text()).encode())
    before = yaml.safe_load(rules.read_text())["creation_rules"]
    assert run(["cluster", "new", "prod", "--repository", str(fleet.repository)]) == 0
    after = yaml.safe_load(rules.read_text())["creation_rules"]
    assert [rule["path_regex"] for rule in after] == ["^clusters/prod/bootstrap/", *(r["path_regex"] for r in before)]
    assert after[1:] == before
    assert set(after[0]["age"].split(",")) == read_trust(fleet.repository).wanted("prod")
    fleet.read()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("creation_rules:\n  -\n  - {path_regex: x}\n", "creation_rules[0]: is not a mapping"),
        ("creation_rules:\n  - a rule\n", "creation_rules[0]: is not a mapping"),
        ("creation_rules: {a: b}\n", "creation_rules: is not a list"),
        ("- a\n- b\n", "is not one YAML mapping"),
        ("creation_rules: [\n", "is not valid YAML"),
        ("\ufeffcreation_rules: []\n", "starts with a byte order mark"),
    ],
)
def test_rules_that_cannot_be_changed_are_refused_first(
    fleet: Fleet, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    (fleet.repository / ".sops.yaml").write_text(text)
    before = content(fleet.repository)
    assert run(["cluster", "new", "prod", "--repository", str(fleet.repository)]) == 2
    assert f".sops.yaml: {said}" in capsys.readouterr().err.replace("line 2, column 1: ", "").replace("::", ":")
    assert content(fleet.repository) == before


def test_a_bad_path_regex_and_a_mistyped_recipient_are_said(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["check", "--repository", str(fleet.repository), "--cluster", "dev"]
    fleet.edit(".sops.yaml", lambda doc: doc["creation_rules"].insert(0, {"path_regex": "(", "age": "x"}))
    assert run(where) == 2
    assert "creation_rules[0].path_regex: is not a regular expression" in capsys.readouterr().err
    fleet.edit(".sops.yaml", lambda doc: doc["creation_rules"].pop(0))
    wrong = fleet.root().recipient[:-1] + ("q" if fleet.root().recipient[-1] != "q" else "p")
    fleet.edit("root-of-trust.yaml", lambda doc: doc["root"][0].update(recipient=wrong))
    assert run(where) == 2
    assert "root-of-trust.yaml: root.0.recipient: is not an age recipient (age1...)" in capsys.readouterr().err


def test_key_groups_of_one_group_are_the_same_as_a_flat_list(fleet: Fleet) -> None:
    def group(document: Any) -> None:
        (rule,) = document["creation_rules"]
        rule["key_groups"] = [{"age": rule.pop("age").split(",")}]

    fleet.edit(".sops.yaml", group)
    assert fleet.read()


def test_an_identity_that_leads_out_of_the_repository_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (fleet.repository / "clusters" / "prod").symlink_to(outside)
    before = content(fleet.repository)
    assert run(["cluster", "new", "prod", "--repository", str(fleet.repository)]) == 2
    assert list(outside.iterdir()) == [] and content(fleet.repository) == before
    fleet.edit("root-of-trust.yaml", lambda doc: doc["clusters"][0].update(identity="../../identity.age"))
    assert run(["check", "--repository", str(fleet.repository), "--cluster", "dev"]) == 2


def test_files_are_put_back_when_one_cannot_be_written(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("before")
    second.mkdir()
    with pytest.raises(Exception, match="cannot be written"):
        replace_all({first: "after", second: "after"})
    assert first.read_text() == "before" and sorted(p.name for p in tmp_path.iterdir()) == ["first", "second"]


def test_a_change_leaves_everything_else_as_it_was() -> None:
    text = "# head\na: 'q' # why\nlist:\n- 1 # one\n-   {x: y}\nlast: |\n  text\n"
    after = edited(text, "x.yaml", lambda doc: list_below(doc, "list", "x.yaml").append(entry({"n": "yes"})))
    assert after == "# head\na: 'q' # why\nlist:\n- 1 # one\n- {x: y}\n- n: 'yes'\nlast: |\n  text\n"


# How a run ends.


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["chekc"], "Did you mean check?"),
        (["cluster", "nwe", "x"], "Did you mean new?"),
        (["check", "--clsuter", "dev"], "--clsuter is unknown. Did you mean --cluster?"),
        (["check", "--cluster", "dev", "--output", "yml"], "invalid choice: 'yml'"),
    ],
)
def test_a_mistyped_word_is_recognised(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    assert said in capsys.readouterr().err


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("secret-authority 0.")


def test_a_closed_pipe_ends_the_command_without_a_word(fleet: Fleet) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    arguments = ["check", "--repository", str(fleet.repository), "--cluster", "dev"]
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments], cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_an_interrupted_command_says_so_in_one_line(fleet: Fleet) -> None:
    reading, writing = os.pipe()  # the passphrase never comes, so the command waits
    arguments = ["root", "new", f"--out={fleet.repository.parent / 'new.age'}", "--holder=a"]
    # Where the tests run in the background, the shell has them ignore Ctrl-C; the command must not.
    heeding = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    with command(*arguments, f"--passphrase-fd={reading}", pass_fds=(reading,), **heeding) as process:
        try:
            _until_it_reads(process.pid, reading)
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=60)
        finally:
            process.kill()
    os.close(reading)
    os.close(writing)
    assert (process.returncode, *said) == (130, "", "interrupted\n")


def _until_it_reads(pid: int, descriptor: int) -> None:
    """Until the process waits in read(descriptor): its system call, as Linux shows it."""
    wanted = f"0 {descriptor:#x} "
    while not Path(f"/proc/{pid}/syscall").read_text().startswith(wanted):
        os.sched_yield()


def test_a_missing_program_is_named(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    where = ["--repository", str(fleet.repository), "--cluster", "dev"]
    assert run(["ledger", "--offline", *where]) == 2
    assert "git: is not installed. Fix: install git." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "more", "said"),
    [
        ("a: [", [], "is not valid YAML"),
        ("just text", [], "is not a kubeconfig"),
        ("{}", [], "has no current context; it has none"),
        ("{current-context: a, contexts: [{name: a}]}", ["--context", "b"], "has no context b; it has a"),
        (None, [], "does not exist. Fix: give --kubeconfig"),
    ],
)
@pytest.mark.parametrize("verb", ["ledger", "tombstone", "audit"])
def test_a_kubeconfig_that_cannot_be_used_is_said(
    fleet: Fleet,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    verb: str,
    text: str | None,
    more: list[str],
    said: str,
) -> None:
    file = tmp_path / "kubeconfig"
    if text is not None:
        file.write_text(text)
    where = [] if verb == "audit" else ["--repository", str(fleet.repository), "--cluster", "dev"]
    assert run([verb, *where, "--kubeconfig", str(file), *more]) == 2
    assert said in capsys.readouterr().err


def test_a_fault_of_the_program_shows_no_value(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> int:
        raise RuntimeError("hunter2")

    monkeypatch.setattr(module, "run_command", fail)
    assert module.main(["check"]) == 70
    said = capsys.readouterr().err
    assert "RuntimeError at test_failures.py" in said and "hunter2" not in said and said.count("\n") == 1


NOWHERE = """\
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
current-context: c
"""


@pytest.mark.parametrize(
    "verb",
    ["audit", "rotation status", "rotation history session-key", "rotation hold session-key", "rotate session-key",
     "snapshot status", "enter payment-api", "ledger"],
)  # fmt: skip
def test_a_cluster_that_does_not_answer_is_said(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("a value"))
    file = tmp_path / "kubeconfig"
    file.write_text(NOWHERE)
    where = (
        ["--repository", str(fleet.repository), "--cluster", "dev"] if verb in ("enter payment-api", "ledger") else []
    )
    assert run([*verb.split(), *where, "--kubeconfig", str(file)]) in (1, 2)
    said = capsys.readouterr().err
    assert said and "fault of secret-authority" not in said and "Traceback" not in said
