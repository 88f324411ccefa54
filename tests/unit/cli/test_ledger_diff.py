"""The ledger difference of a pull request."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from cli.main import main
from secret_authority.core.claims.conflicts import Claim, Claimant, System
from secret_authority.core.claims.locations import Keys, KubernetesSecret
from secret_authority.core.ledger.diff import Kind, as_markdown, ledger_diff
from tests.support.policy.trees import corpus

PLACE = KubernetesSecret("dev", "shop", "db")


def claim(system: System, subject: str, keys: Keys | None = None, secret: str | None = None) -> Claim:
    return Claim(Claimant(system, subject), PLACE, keys or Keys.all(), secret=secret)


GIT = claim(System.GIT, "db.yaml", Keys.of("password"))
ESO = claim(System.EXTERNAL_SECRETS, "ExternalSecret shop/db")


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ([GIT], [ESO], Kind.MOVES),
        ([GIT, ESO], [ESO], Kind.MOVES),
        ([ESO], [GIT, ESO], Kind.CONTESTED),
        ([], [ESO], Kind.NEW),
        ([GIT], [], Kind.GONE),
        ([GIT], [claim(System.GIT, "moved.yaml", Keys.of("password"))], Kind.WRITER),
        ([GIT], [claim(System.GIT, "db.yaml", Keys.of("password", "user"))], Kind.KEYS),
    ],
)
def test_kinds_of_change(before: list[Claim], after: list[Claim], kind: Kind) -> None:
    (change,) = ledger_diff(before, after)
    assert change.kind is kind
    assert "Secret shop/db" in change.secret


def test_no_change_says_so() -> None:
    assert ledger_diff([GIT, ESO], [ESO, GIT]) == []
    assert "No secret changes its authority." in as_markdown([])


def test_moves_come_first_and_cells_cannot_break_the_table() -> None:
    other = Claim(Claimant(System.GIT, "a|b.yaml"), KubernetesSecret("dev", "a", "a"), Keys.all(), secret="a-name")
    changes = ledger_diff([GIT], [ESO, other])
    assert [change.kind for change in changes] == [Kind.MOVES, Kind.NEW]
    text = as_markdown(changes)
    assert text.startswith("<!-- secret-authority ledger -->\n")
    assert "1 of 2 changes move authority." in text
    assert "a\\|b.yaml" in text
    assert "(a-name)" in text
    assert all(line.count("|") - line.count("\\|") == 5 for line in text.splitlines() if line.startswith("|"))


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def test_two_revisions_of_a_repository(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repositories = {repository.name: repository for repository in corpus()}
    root = repositories["catalogued-clean"].write(tmp_path / "fleet")
    git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "one")
    catalogue = root / "clusters" / "prod" / "catalogue.yaml"
    catalogue.write_text(catalogue.read_text().replace("consumer: pull", "consumer: mirror").replace("720h", "48h"))
    git(root, "mv", "bootstrap/registry.sops.yaml", "bootstrap/moved.sops.yaml")
    git(root, "commit", "-qam", "two")
    assert main(["ledger-diff", "main~1", "main", "--repository", str(root), "--format", "json"]) == 0
    changes = json.loads(capsys.readouterr().out)
    assert {change["kind"] for change in changes} == {"new", "gone", "catalogue entry changes", Kind.WRITER.value}
    (entry,) = [change for change in changes if change["kind"] == Kind.ENTRY.value]
    assert entry["secret"] == "registry"
    assert "vault platform-data/registry/pull" in entry["before"]
    assert "vault platform-data/registry/mirror" in entry["after"]
    assert "ttl 48h" in entry["after"]
    assert main(["ledger-diff", "main", "main", "--repository", str(root)]) == 0
    assert "No secret changes its authority." in capsys.readouterr().out


def test_an_unknown_revision_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ledger-diff", "nowhere", "nowhere", "--repository", str(tmp_path)]) == 2
    assert "not a revision" in capsys.readouterr().err
