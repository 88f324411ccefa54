"""The CI examples: well formed, and every command in them is one that exists."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from authority.ledger_diff import as_markdown
from cli.guarded_pulumi_commands import refuse
from cli.main import main

EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "ci"
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
