"""The CI examples: well formed, and every command in them is one that exists."""

from __future__ import annotations

import hashlib
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.commands.pulumi import refuse
from cli.main import main
from secret_authority.core.ledger.diff import as_markdown
from toolchain.programs import pins

EXAMPLES = Path(__file__).parents[3] / "examples" / "ci"
GITHUB, GITLAB = EXAMPLES / "github-actions.yaml", EXAMPLES / "gitlab-ci.yaml"
_COMMAND = re.compile(r"(?:^|[\s/])secret-authority ((?:policy|ledger-diff|pulumi)(?:[^|&><\n]|\\\n)*)")


def scripts(document: Any) -> list[str]:
    """Every piece of shell in a pipeline."""
    if isinstance(document, dict):
        own = [document[key] for key in ("run", "script", "before_script") if key in document]
        flat = ["\n".join(text) if isinstance(text, list) else text for text in own]
        inner = [text for key, value in document.items() if key not in ("run", "script") for text in scripts(value)]
        return [*(text for text in flat if isinstance(text, str)), *inner]
    return [text for value in document for text in scripts(value)] if isinstance(document, list) else []


@pytest.mark.parametrize("file", [GITHUB, GITLAB], ids=["github", "gitlab"])
def test_shell_parses_and_commands_exist(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found: set[str] = set()
    for script in scripts(yaml.safe_load(file.read_text())):
        done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
        assert done.returncode == 0, (script, done.stderr)
        for command in _COMMAND.findall(script.replace("\\\n", " ")):
            words = [word for word in shlex.split(command, posix=True) if "$" not in word or word.startswith("--")]
            found.add(" ".join(words[:2]) if words[0] == "policy" else words[0])
            if words[0] == "pulumi":
                assert refuse(words[1:], {}) is None
            with pytest.raises(SystemExit) as ended:
                main([*[w for w in words if "$" not in w][: 2 if words[0] == "policy" else 1], "--help"])
            assert ended.value.code == 0
            options = {word.partition("=")[0] for word in words[1:] if word.startswith("--") and len(word) > 2}
            known = capsys.readouterr().out
            if words[0] != "pulumi":
                assert all(option in known for option in options), (options, known)
    assert found == {"policy check", "ledger-diff", "pulumi"}


def test_no_example_skips_the_preview() -> None:
    for file in (GITHUB, GITLAB):
        assert not re.search(r"--skip-preview|up .*-f\b|SKIP_PREVIEW", file.read_text())


def test_the_comment_is_found_by_its_first_line() -> None:
    first = as_markdown([]).splitlines()[0]
    assert first in GITHUB.read_text()
    assert first in GITLAB.read_text()
    assert GITHUB.read_text().count("persist-credentials: false") == GITHUB.read_text().count("actions/checkout@")


def test_a_pull_request_from_a_fork_gets_no_comment_and_still_its_verdict() -> None:
    """The token of such a run may only read (GitHub, "Events that trigger workflows", pull_request)."""
    *before, verdict = yaml.safe_load(GITHUB.read_text())["jobs"]["tree"]["steps"]
    writing = [step for step in before if "GH_TOKEN" in step.get("env", {})]
    own = "github.event.pull_request.head.repo.full_name == github.repository"
    assert [step["if"] for step in writing] == [own]
    assert not any("gh api" in step.get("run", "") for step in before if step not in writing)
    assert verdict["name"] == "Verdict"
    assert "!cancelled()" in verdict["if"]
    assert "steps.rules.outputs.code" in verdict["run"]


@pytest.mark.parametrize("published", ["", "0" * 64], ids=["the-programs-own", "another"])
def test_kubectl_is_installed_only_with_its_published_checksum(tmp_path: Path, published: str) -> None:
    pipeline = yaml.safe_load(GITLAB.read_text())
    address = pipeline["variables"]["KUBECTL"]
    assert f"/v{pins.load().program('kubectl').version}/" in address
    lines = [line for line in pipeline[".tool"]["before_script"] if "kubectl" in line.lower()]
    release, place, programs = tmp_path / "release", tmp_path / "fetched", tmp_path / "bin"
    for folder in (release, place, programs):
        folder.mkdir()
    (release / "kubectl").write_text("#!/bin/sh\n")
    sum_ = published or hashlib.sha256((release / "kubectl").read_bytes()).hexdigest()
    (release / "kubectl.sha256").write_text(sum_)
    shell = "\n".join(lines).replace("/tmp/", f"{place}/").replace("--output-dir /tmp", f"--output-dir {place}")
    shell = f"set -eo pipefail\nKUBECTL={release.as_uri()}/kubectl\n" + shell.replace("/usr/local/bin", str(programs))
    done = subprocess.run(["bash", "-c", shell], text=True, capture_output=True, check=False)
    assert (done.returncode == 0, (programs / "kubectl").exists()) == (not published, not published), done.stderr


def test_actions_are_pinned_by_commit() -> None:
    used = re.findall(r"uses: (\S+)", GITHUB.read_text())
    assert len(used) >= 6
    assert [action for action in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action)] == []


@pytest.mark.parametrize("file", [GITHUB, GITLAB], ids=["github", "gitlab"])
@pytest.mark.parametrize("base_has_settings", [True, False])
def test_settings_come_from_the_base_branch(tmp_path: Path, file: Path, base_has_settings: bool) -> None:
    """The pull request's own policy.yaml takes every rule back; what judges it does not read it."""
    origin, fleet, tool = tmp_path / "origin", tmp_path / "fleet", tmp_path / "bin"
    tool.mkdir()
    said = tmp_path / "said"
    (tool / "secret-authority").write_text(
        f'#!/bin/bash\nwhile [ $# -gt 0 ]; do [ "$1" = --config ] && cat "$2" >> {said}; shift; done\n'
    )
    (tool / "secret-authority").chmod(0o755)

    def git(folder: Path, *words: str) -> str:
        who = ["-c", "user.name=T", "-c", "user.email=t@example.org"]
        done = subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    origin.mkdir()
    git(origin, "init", "-q", "-b", "main")
    (origin / "policy.yaml" if base_has_settings else origin / "other").write_text("of the base\n")
    git(origin, "add", "-A")
    git(origin, "commit", "-qm", "one")
    git(tmp_path, "clone", "-q", str(origin), str(fleet))
    (fleet / "policy.yaml").write_text("of the request\n")
    git(fleet, "add", "-A")
    git(fleet, "commit", "-qm", "two")
    (script,) = [s for s in scripts(yaml.safe_load(file.read_text())) if "policy check" in s]
    environment = {
        "PATH": f"{tool}:/usr/bin:/bin",
        "BASE": git(origin, "rev-parse", "main"),
        "RUNNER_TEMP": str(tmp_path),
        "GITHUB_OUTPUT": str(tmp_path / "output"),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
    }
    cwd = tmp_path if file == GITHUB else fleet
    subprocess.run(["bash", "-e", "-c", script], cwd=cwd, env=environment, check=True, capture_output=True)
    found = said.read_text() if said.exists() else ""
    assert set(found.split("\n")) - {""} == ({"of the base"} if base_has_settings else set())
