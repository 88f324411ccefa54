"""`policy check` over a tree that was written for others: coverage, baseline, exit codes, one verdict."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli import policy_check as policy
from cli.failures import PIPE_CLOSED
from cli.main import main
from policy.inventory.writers import WRITERS
from policy.readers.git.files.git_crypt import is_git_crypt
from policy.readers.git.flux.envsubst import BadSubstitutionError, substitute
from policy.readers.git.tree import read_tree
from policy.rules.registry import AUTHORITY, BY_ID, check, new_context
from policy.settings import Profile, Settings
from secret_authority.core.claims.locations import Overlap, Unknown, VaultSecret, overlap_locations
from tests.support.policy.stacks import CANARY
from tests.support.policy.trees import corpus

REPOSITORIES = {repository.name: repository for repository in corpus()}
ROOT = Path(__file__).parent.parent.parent.parent


def run(root: Path, *arguments: str) -> int:
    return main(["policy", "check", str(root), *arguments])


def document(root: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    run(root, "--format", "json", *arguments)
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_header_says_where_clusters_start_and_what_was_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = REPOSITORIES["field-chart"].write(tmp_path)
    assert run(root) == policy.LOW_COVERAGE
    text = capsys.readouterr().out
    assert text.startswith("1 cluster, 0 of 1 files about secrets read (0 %, at least 90 % is asked for)")
    assert "starts at Application argocd/shop (argocd/app.yaml): nothing else in the tree applies it" in text
    assert "charts/shop/templates/conflict.yaml is a template for Secret of the chart charts/shop" in text
    found = document(root, capsys)["coverage"]
    assert (found["read"], found["total"], found["percent"]) == (0, 1, 0)
    assert found["notRead"][0]["file"] == "charts/shop/templates/conflict.yaml"


def test_a_setting_moves_the_threshold(tmp_path: Path) -> None:
    root = REPOSITORIES["field-chart"].write(tmp_path / "tree")
    config = tmp_path / "policy.yaml"
    config.write_text("minimumCoverage: 0\n")
    assert run(root, "--config", str(config)) == 0
    config.write_text("exclude: [charts]\n")
    assert run(root, "--config", str(config)) == 0
    config.write_text("minimumCoverage: 101\n")
    assert run(root, "--config", str(config)) == policy.BAD_INPUT


def test_explain_says_how_a_file_is_reached_or_why_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = REPOSITORIES["field-remote-entry"].write(tmp_path / "remote")
    assert run(root, "--explain", "apps/shop/c.yaml") == 0
    assert "apps/shop/c.yaml is read: Kustomization flux-system/apps of a" in capsys.readouterr().out
    chart = REPOSITORIES["field-chart"].write(tmp_path / "chart")
    run(chart, "--explain", "charts")
    assert "was not read: it is a template for Secret" in capsys.readouterr().out
    run(chart, "--explain", "README.md")
    assert "is not about secrets, or not in the tree" in capsys.readouterr().out


def test_a_fault_of_the_program_has_a_code_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError(CANARY)

    monkeypatch.setattr("cli.policy_check.read_tree", broken)
    assert run(tmp_path) == policy.CRASH
    error = capsys.readouterr()
    assert "internal error: RuntimeError at test_tree_command.py" in error.err
    assert CANARY not in error.err + error.out


def test_the_codes_are_different() -> None:
    codes = {policy.OK, policy.VIOLATIONS, policy.BAD_INPUT, policy.CRASH, policy.LOW_COVERAGE}
    assert len(codes) == 5


def test_the_profile_follows_from_the_catalogue(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stranger = REPOSITORIES["field-token-generator"].write(tmp_path / "stranger")
    assert document(stranger, capsys)["profile"] == "authority"
    own = REPOSITORIES["catalogued-clean"].write(tmp_path / "own")
    assert document(own, capsys)["profile"] == "rfc"
    assert document(stranger, capsys, "--profile", "rfc")["profile"] == "rfc"
    assert set(BY_ID) > AUTHORITY


def test_a_level_brings_a_rule_into_the_profile(tmp_path: Path) -> None:
    root = REPOSITORIES["field-generated-once"].write(tmp_path)
    tree = read_tree(root, Settings())

    def rules(**settings: Any) -> set[str]:
        given = Settings.model_validate(settings)
        context = new_context(tree.resources, given, tree.problems, coverage=tree.coverage)
        return {finding.rule.id for finding in check(context)}

    assert "generator-bypasses-vault" not in rules()
    assert "generator-bypasses-vault" in rules(levels={"generator-bypasses-vault": "advisory"})
    assert "generator-bypasses-vault" in rules(profile=Profile.RFC)


def test_a_baseline_lets_only_new_findings_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = REPOSITORIES["in-the-clear"].write(tmp_path / "tree")
    baseline = tmp_path / "baseline.json"
    assert run(root, "--profile", "rfc", "--write-baseline", str(baseline)) == 0
    assert CANARY not in baseline.read_text()
    assert run(root, "--profile", "rfc", "--baseline", str(baseline)) == 0
    capsys.readouterr()
    # Lines that move are not new findings; a new Secret is one.
    moved = root / "secrets" / "smtp.yaml"
    moved.write_text("# moved\n\n" + moved.read_text())
    assert run(root, "--profile", "rfc", "--baseline", str(baseline)) == 0
    more = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: new}\nstringData: {token: abcd1234}\n"
    moved.write_text(moved.read_text() + more)
    capsys.readouterr()
    assert run(root, "--profile", "rfc", "--baseline", str(baseline), "--format", "json") == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert "new" in finding["message"]
    baseline.write_text("{}")
    assert run(root, "--baseline", str(baseline)) == policy.BAD_INPUT


def test_sarif_has_stable_fingerprints_and_the_coverage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = REPOSITORIES["in-the-clear"].write(tmp_path)

    def prints() -> list[str]:
        run(root, "--format", "sarif", "--profile", "rfc")
        (one,) = json.loads(capsys.readouterr().out)["runs"]
        assert one["properties"]["coverage"]["percent"] == 100
        assert one["invocations"][0]["executionSuccessful"]
        return sorted(result["partialFingerprints"]["secretAuthority/v1"] for result in one["results"])

    before = prints()
    file = root / "secrets" / "smtp.yaml"
    file.write_text("# a line more\n" + file.read_text())
    assert prints() == before
    assert len(set(before)) == 3


SEVERAL = ["field-same-last-folder", "field-writers", "multi-cluster", "hub-and-spokes"]
# Checks the tree in each folder that is named, and prints exit code and output of each.
CHECKS = """\
import contextlib, io, json, os, sys
from cli.main import main
found = {}
for name in sys.argv[1:]:
    os.chdir(name)
    with contextlib.redirect_stdout(io.StringIO()) as output:
        code = main(["policy", "check", ".", "--format", "json"])
    found[name] = (code, output.getvalue())
    os.chdir("..")
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, tuple[int, str]]]:
    """By tree, in three processes that differ in hash seed, locale, and the order of entries in each folder."""
    found = []
    for number, (seed, locale) in enumerate((("0", "C"), ("1", "C.UTF-8"), ("42", "POSIX"))):
        home = tmp_path_factory.mktemp("trees")
        for name in SEVERAL:
            files = list(REPOSITORIES[name].files.items())
            for file, text in files if number != 1 else reversed(files):
                (home / name / file).parent.mkdir(parents=True, exist_ok=True)
                (home / name / file).write_text(text)
        environment = {**os.environ, "PYTHONHASHSEED": seed, "LC_ALL": locale, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", CHECKS, *SEVERAL]
        done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout))
    return found


@pytest.mark.parametrize("name", SEVERAL)
def test_one_verdict_for_any_hash_seed_order_and_locale(name: str, verdicts: list[dict[str, tuple[int, str]]]) -> None:
    first, *others = (found[name] for found in verdicts)
    assert "findings" in json.loads(first[1])
    assert others == [first, first]


def test_a_rendered_object_keeps_its_line(tmp_path: Path) -> None:
    """Also where one name is a part of another, and where kustomize itself renders."""
    objects = "".join(
        f"---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: shop}}\n"
        f"stringData: {{password: {CANARY}}}\n"
        for name in ("db", "db-admin")
    )
    (tmp_path / "a.yaml").write_text(objects)
    for extra in ("", "replacements: [{source: {kind: Secret, name: db}, targets: []}]\n"):
        (tmp_path / "kustomization.yaml").write_text(f"resources: [a.yaml]\nnamePrefix: x-\n{extra}")
        lines = {r.name: r.where.line for r in read_tree(tmp_path).resources}
        assert lines == {"x-db": 2, "x-db-admin": 7}


def test_a_repository_is_cloned_from_its_url(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = REPOSITORIES["field-certificate"].write(tmp_path / "source")
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *identity, *command], cwd=source, check=True)
    assert main(["policy", "check", source.as_uri()]) == 1
    assert "single-authority" in capsys.readouterr().out
    assert main(["policy", "check", f"file://user:{CANARY}@/no/such"]) == 2
    assert CANARY not in capsys.readouterr().err


def checkout(root: Path, files: dict[str, str]) -> Path:
    """A repository of Git that holds what its .gitignore does not name; the rest is beside it."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
        subprocess.run(["git", *identity, *command], cwd=root, check=True)
    return root


CLEAR = f"apiVersion: v1\nkind: Secret\nmetadata: {{name: db, namespace: shop}}\nstringData: {{password: {CANARY}}}\n"
APP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app, namespace: shop}\ndata: {a: b}\n"


def test_what_git_ignores_is_not_of_the_tree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A decrypted copy on somebody's machine is not in Git, so nothing of it is in the clear there."""
    files = {".gitignore": "*.dec.yaml\nscratch/\n", "app.yaml": APP, "db.dec.yaml": CLEAR, "scratch/x/db.yaml": CLEAR}
    root = checkout(tmp_path, files)
    found = document(root, capsys)
    assert found["findings"] == []
    assert found["coverage"]["ignoredByGit"] == ["db.dec.yaml", "scratch/x/db.yaml"]
    assert run(root) == 0
    assert "ignored by Git, so not in the repository (2):\n    db.dec.yaml" in capsys.readouterr().out
    run(root, "--explain", "db.dec.yaml")
    assert capsys.readouterr().out == "db.dec.yaml is ignored by Git (.gitignore), so it is not in the repository\n"


def test_a_file_that_git_holds_counts_although_it_is_ignored(tmp_path: Path) -> None:
    root = checkout(tmp_path, {"db.dec.yaml": CLEAR})
    (root / ".gitignore").write_text("*.dec.yaml\n")
    assert run(root) == policy.VIOLATIONS


@pytest.mark.parametrize("present", [True, False])
def test_a_kustomization_over_files_that_git_ignores_is_told_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], present: bool
) -> None:
    """On the machine of who wrote it they are there; the cluster never gets them."""
    kustomization = (
        "resources: [app.yaml, local/db.yaml, other.yaml]\npatches: [{path: local/patch.yaml}]\n"
        "secretGenerator: [{name: tls, files: [local/tls.key]}]\n"
    )
    files = {".gitignore": "local/\n", "shop/kustomization.yaml": kustomization, "shop/app.yaml": APP}
    if present:
        patch = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app, namespace: shop}\ndata: {c: d}\n"
        files |= {"shop/local/db.yaml": CLEAR, "shop/local/patch.yaml": patch, "shop/local/tls.key": CANARY}
    [finding] = document(checkout(tmp_path, files), capsys)["findings"]
    assert (finding["rule"], finding["file"]) == ("unread-manifest", "shop/kustomization.yaml")
    assert (
        "takes in 4 files that are not in the tree: local/db.yaml, local/patch.yaml, local/tls.key, other.yaml. "
        "Git ignores 3 of them (.gitignore): local/db.yaml, local/patch.yaml, local/tls.key. Fix:"
    ) in finding["message"]


def test_a_reader_who_has_seen_enough_is_no_fault(tmp_path: Path) -> None:
    """`policy check . | head`: the verdict was reached, only nobody read all of it."""
    for number in range(100):
        (tmp_path / f"{number}.yaml").write_text(CLEAR.replace("name: db", f"name: db{number}"))
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "cli.main", "policy", "check", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (PIPE_CLOSED, b"")


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("${a}", "x.y"),
        ("$${a}", "${a}"),
        ("$a", "$a"),
        ("${a^^}", "X.Y"),
        ("${a/./-}", "x-y"),
        ("${none:=d}", "d"),
        ("${none:-${a}}", "x.y"),
        ("${a:=d}", "x.y"),
        ("${a:1}", ".y"),
        ("${a:0:1}", "x"),
        ("${#a}", "3"),
        ("${a%.y}", "x"),
        ("${a#x.}", "y"),
        ("${none}", ""),
        ("a}b", "a}b"),
    ],
)
def test_substitution_is_that_of_flux(text: str, becomes: str) -> None:
    assert substitute(text, lambda name, _: {"a": "x.y"}.get(name, "")) == becomes


@pytest.mark.parametrize("text", ["${a", "${}", "${a-b}", "${a!b}"])
def test_what_flux_cannot_parse_is_no_substitution(text: str) -> None:
    with pytest.raises(BadSubstitutionError):
        substitute(text, lambda *_: "x")


def test_an_unknown_value_is_never_text() -> None:
    found = substitute("${a}-tls", lambda *_: Unknown("variable a", shape="*", same="one"))
    assert isinstance(found, Unknown)
    assert (found.may_be("shop-tls"), found.may_be("db")) == (True, False)
    here, again = VaultSecret("s", "m", found), VaultSecret("s", "m", found)
    assert overlap_locations(here, again) is Overlap.YES
    assert overlap_locations(here, VaultSecret("s", "m", "db")) is Overlap.NO
    assert overlap_locations(here, VaultSecret("s", "m", "shop-tls")) is Overlap.PERHAPS


def test_a_path_that_no_file_can_have_is_no_ciphertext(tmp_path: Path) -> None:
    assert not is_git_crypt(tmp_path / "a\0b")


def test_the_page_of_writers_is_the_table() -> None:
    page = (ROOT / "docs" / "policy" / "writers.md").read_text()
    for writer in WRITERS:
        kind = "any kind" if writer.kind == "*" else f"`{writer.kind}`"
        assert f"| {writer.project} | {kind} |" in page, writer


def test_the_examples_of_ci_fail_on_every_code() -> None:
    examples = ROOT / "examples" / "ci"
    steps = yaml.safe_load((examples / "github-actions.yaml").read_text())["jobs"]["tree"]["steps"]
    rules = next(step for step in steps if step.get("id") == "rules")["run"]
    verdict = next(step for step in steps if step.get("name") == "Verdict")
    guard = rules.strip().splitlines()[-1]
    for code, goes_on in ((0, True), (1, True), (2, False), (3, False), (4, True)):
        done = subprocess.run(["bash", "-c", f"code={code}; {guard}"], check=False)
        assert (done.returncode == 0) is goes_on
    # What goes on fails at the verdict.
    assert verdict["run"] == "exit ${{ steps.rules.outputs.code }}"
    script = yaml.safe_load((examples / "gitlab-ci.yaml").read_text())["rules"]["script"]
    assert script[-1].startswith("secret-authority policy check")
    assert "||" not in script[-1]


def test_the_pre_commit_hook_names_a_command_that_exists(capsys: pytest.CaptureFixture[str]) -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    program, *arguments = hook["entry"].split()
    assert program == "secret-authority"
    assert arguments == ["policy", "check", "."]
    with pytest.raises(SystemExit) as ended:
        main([*arguments[:2], "--help"])
    assert ended.value.code == 0
    assert "--baseline" in capsys.readouterr().out


def test_a_secret_of_aliases_upon_aliases_is_a_problem_and_has_an_end(tmp_path: Path) -> None:
    lines = "".join(f"  a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))
    text = f"apiVersion: v1\nkind: Secret\nmetadata: {{name: a}}\nstringData:\n  a0: &a0 [x]\n{lines}"
    (tmp_path / "a.yaml").write_text(text)
    before = time.process_time()
    assert run(tmp_path, "--profile", "rfc") == policy.VIOLATIONS
    assert time.process_time() - before < 60


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_manifest_may_be_utf_16(encoding: str, tmp_path: Path) -> None:
    text = "\ufeffapiVersion: v1\r\nkind: ConfigMap\r\nmetadata: {name: app, namespace: shop}\r\n"
    (tmp_path / "app.yaml").write_bytes(text.encode(encoding))
    tree = read_tree(tmp_path)
    assert [resource.label for resource in tree.resources] == ["ConfigMap shop/app"]
    assert not tree.problems


def test_a_file_that_git_crypt_encrypted_is_no_manifest_of_a_guessed_cluster(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/account.json").write_bytes(b"\0GITCRYPT\0\xf9\xad\x2a\xb2\xed\x2b")
    (tmp_path / "app.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app, namespace: shop}\n")
    guessed = read_tree(tmp_path)
    assert not guessed.problems
    assert any(line.startswith("config/account.json is not UTF-8 text") for line in guessed.unjudged)
    applied = read_tree(tmp_path, Settings(entries={"prod": ("config",)}))
    assert [problem.file for problem in applied.problems] == ["config/account.json"]


def test_what_git_crypt_encrypted_is_ciphertext_for_a_generator_and_a_patch(tmp_path: Path) -> None:
    """The file is there; who has the key builds with it, and nobody else can read a value or the patch."""
    locked = b"\0GITCRYPT\0\xf9\xad\x2a\xb2\xed\x2b=\n\xf0="
    generators = (
        "- {name: crypt, files: [config/auth, .dockerconfigjson=config/login]}\n- {name: env, envs: [config/token]}\n"
        "- {name: storage, literals: [REGISTRY_STORAGE=s3]}\n- {name: open, literals: [API_KEY=CANARY-9d1c-value]}\n"
    )
    (tmp_path / "kustomization.yaml").write_text(
        "namespace: shop\nresources: [app.yaml]\npatches: [{path: config/patch.yaml}]\n"
        f"secretGenerator:\n{generators}"
    )
    (tmp_path / "app.yaml").write_text(APP)
    (tmp_path / "config").mkdir()
    for name in ("auth", "login", "token", "patch.yaml"):
        (tmp_path / "config" / name).write_bytes(locked)
    tree = read_tree(tmp_path)
    assert not tree.problems
    assert any("config/patch.yaml is encrypted with git-crypt" in each for each in tree.coverage.unexpanded)
    [finding] = [
        f for f in check(new_context(tree.resources, coverage=tree.coverage)) if f.rule.id == "plaintext-secret"
    ]
    assert "Secret shop/open" in finding.message
    assert "(API_KEY)" in finding.message
