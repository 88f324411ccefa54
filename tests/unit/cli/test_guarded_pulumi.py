"""`secret-authority pulumi`: the pack is always there, the preview too."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.commands.pulumi import refuse, with_pack
from cli.main import main


@pytest.mark.parametrize(
    "arguments",
    [
        ["up", "--skip-preview"],
        ["up", "--yes", "-f"],
        ["update", "-yf"],
        ["up", "--skip-preview=true"],
        ["-C", "x", "up", "-f"],
        ["watch"],
        ["-C", "x", "watch", "--path", "components"],
    ],
)
def test_ways_around_the_preview_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pulumi", "--", *arguments]) == 2
    assert "is refused" in capsys.readouterr().err


def test_the_variable_is_refused_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PULUMI_OPTION_SKIP_PREVIEW", "true")
    assert main(["pulumi", "up", "--yes"]) == 2
    assert "PULUMI_OPTION_SKIP_PREVIEW" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["up", "--yes"], ["up", "--skip-preview=false"], ["logs", "-f"], ["stack", "export", "--file", "x"]]
)
def test_other_arguments_may_run(arguments: list[str]) -> None:
    assert refuse(arguments, {}) is None
    assert refuse(arguments, {"PULUMI_OPTION_SKIP_PREVIEW": "false"}) is None


def test_the_pack_is_added_once_and_only_where_it_fits() -> None:
    pack = Path("policy")
    assert with_pack(["up", "--yes"], pack) == ["up", "--policy-pack", "policy", "--yes"]
    assert with_pack(["-C", "x", "preview"], pack) == ["-C", "x", "preview", "--policy-pack", "policy"]
    assert with_pack(["up", "--policy-pack=mine"], pack) == ["up", "--policy-pack", "policy", "--policy-pack=mine"]
    assert with_pack(["up", "--policy-pack=policy"], pack) == ["up", "--policy-pack=policy"]
    assert with_pack(["up", "--policy-pack", "policy"], pack) == ["up", "--policy-pack", "policy"]
    configured = ["up", "--policy-pack-config", "settings.json"]
    assert with_pack(configured, pack) == ["up", "--policy-pack", "policy", "--policy-pack-config", "settings.json"]
    assert with_pack(["stack", "ls"], pack) == ["stack", "ls"]
