"""`secret-authority policy`: exit codes, formats, settings, bad input."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from cli.main import main
from policy.pack import CONFIG
from policy.rules.registry import BY_ID, RULES, check
from policy.settings import Exemption, Settings, parse_settings
from tests.support.policy.cases import CASES
from tests.support.policy.stacks import CANARY, context_of_state, state_of
from tests.support.policy.trees import corpus, parse_repository

REPOSITORIES = {repository.name: repository for repository in corpus()}


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    return REPOSITORIES["in-the-clear"].write(tmp_path / "bad")


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    return REPOSITORIES["flux-clean"].write(tmp_path / "clean")


def test_a_clean_tree_gives_0(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "check", str(clean)]) == 0
    assert "0 mandatory, 0 advisory" in capsys.readouterr().out


def test_violations_give_1_and_name_file_line_and_fix(bad: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "check", str(bad)]) == 1
    text = capsys.readouterr().out
    assert "plaintext-secret" in text
    assert "secrets/smtp.yaml:1" in text
    assert "sops" in text
    assert CANARY not in text


@pytest.mark.parametrize("file", ["README.md", ".sops.yaml", "ci.yaml"])
def test_a_tree_without_objects_gives_2(file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / file).write_text("stages: [test]\n")
    assert main(["policy", "check", str(tmp_path)]) == 2
    assert "holds no Kubernetes object that an entry of a cluster leads to" in capsys.readouterr().err


def test_a_tree_in_which_nothing_can_be_read_gives_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "all.yaml").write_text("kind: ]\n")
    assert main(["policy", "check", str(tmp_path)]) == 1
    assert "all.yaml" in capsys.readouterr().out


TEMPLATES = """
-- clusters/prod/all.yaml --
apiVersion: fluxcd.controlplane.io/v1
kind: ResourceSet
metadata: {name: apps, namespace: flux-system}
spec: {inputsFrom: [{kind: ResourceSetInputProvider, name: far}], resources: [{apiVersion: v1, kind: Secret}]}
---
apiVersion: argoproj.io/v1alpha1
kind: ApplicationSet
metadata: {name: apps, namespace: argocd}
spec: {generators: [{scmProvider: {github: {organization: example}}}], template: {spec: {source: {path: apps}}}}
---
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: blog, namespace: argocd}
spec: {source: {repoURL: "https://git.example.org/fleet", path: charts/shop}}
---
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: far, namespace: argocd}
spec: {source: {repoURL: "https://user:word@git.example.org/far", path: deploy}}
---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: shop, namespace: shop}
spec: {chart: {spec: {chart: ./charts/shop, sourceRef: {kind: GitRepository, name: flux-system}}}}
---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: redis, namespace: shop}
spec: {chart: {spec: {chart: redis, sourceRef: {kind: HelmRepository, name: charts}}}}
-- charts/shop/Chart.yaml --
{name: shop, version: 0.1.0, apiVersion: v2}
-- ansible/config.yaml --
{% if server %}
"""


def test_what_is_not_looked_into_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = parse_repository("about: templates\n" + TEMPLATES, "templates").write(tmp_path)
    assert main(["policy", "check", str(root), "--format", "json"]) == 4
    document = json.loads(capsys.readouterr().out)
    assert sorted(document["notJudged"]) == [
        "Application argocd/blog of prod: the chart charts/shop is not rendered: helm is not installed",
        "ApplicationSet argocd/apps of prod: its scmProvider generator asks a host of repositories, which the tree "
        "does not say",
        "HelmRelease shop/shop of prod: the chart charts/shop is not rendered: helm is not installed",
        "ResourceSet flux-system/apps of prod: its inputs come from objects that are not in the tree",
    ]
    assert len(document["coverage"]["notExpanded"]) == 2
    (finding,) = document["findings"]
    assert (finding["rule"], finding["level"]) == ("coverage", "mandatory")
    assert "ApplicationSet argocd/apps" in finding["message"]
    assert document["notInThisTree"] == ["Application argocd/far of prod: deploy of another repository"]
    assert "word@" not in json.dumps(document)
    assert main(["policy", "check", str(root)]) == 4
    assert "not judged: ResourceSet flux-system/apps of prod" in capsys.readouterr().out


def test_what_a_kustomization_leaves_out_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = REPOSITORIES["outside-the-overlays-clean"].write(tmp_path)
    assert main(["policy", "check", str(root), "--format", "json"]) == 0
    left_out = {e["file"]: e["why"] for e in json.loads(capsys.readouterr().out)["coverage"]["leftOut"]}
    assert left_out["overlays/prod/disabled.yaml"] == "the kustomization of overlays/prod does not list it"
    assert left_out["components/unused/es.yaml"] == "no kustomization takes in the component components/unused"
    assert not [file for file in left_out if "patches/" in file or "README" in file]


def test_what_flux_skips_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = REPOSITORIES["reconcile-disabled"].write(tmp_path)
    assert main(["policy", "check", str(root), "--format", "json"]) == 1
    mark = "kustomize.toolkit.fluxcd.io/reconcile is disabled, Kustomization flux-system/apps skips it"
    assert json.loads(capsys.readouterr().out)["notJudged"] == [
        f"ExternalSecret shop/live-again of prod: {mark}",
        f"Secret shop/off of prod: {mark}",
    ]


def test_json_has_the_same_findings(bad: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "check", str(bad), "--format", "json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert {f["rule"] for f in document["findings"]} == {"plaintext-secret", "half-encrypted-secret"}
    assert document["violations"] == len(document["findings"]) == 3
    assert all(finding["file"] and finding["fix"] and finding["rfc"] for finding in document["findings"])


def test_sarif_has_what_code_hosts_need(bad: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "check", str(bad), "--format", "sarif"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["version"] == "2.1.0"
    (run,) = document["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert len(run["results"]) == 3
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"]["uri"].startswith("secrets/")
        assert place["region"]["startLine"] >= 1
        assert result["level"] == "error"
    assert CANARY not in json.dumps(document)


def test_a_state_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = tmp_path / "state.json"
    state.write_text(json.dumps(state_of(CASES[0].bad)))
    assert main(["policy", "check", "--state", str(state)]) == 1
    assert "single-authority" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["policy", "check", "/no/such/folder"], "is not a directory"),
        (["policy", "check", "--state", "/no/such/file"], "cannot be read"),
        (["policy", "check", ".", "--config", "/no/such/file"], "cannot be read"),
        (["policy", "check", ".", "--phase", "7"], "phase must be one of"),
    ],
)
def test_bad_input_gives_2_and_says_why(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert says in capsys.readouterr().err


def test_a_state_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text, says in (("{", "not valid JSON"), ('{"a": 1}', "no Pulumi state"), ("[]", "no Pulumi state")):
        (tmp_path / "x.json").write_text(text)
        assert main(["policy", "check", "--state", str(tmp_path / "x.json")]) == 2
        assert says in capsys.readouterr().err


def test_the_checkpoint_of_a_self_managed_backend(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = tmp_path / "dev.json"
    state.write_text(json.dumps({"version": 3, "checkpoint": {"latest": state_of(CASES[0].bad)["deployment"]}}))
    assert main(["policy", "check", "--state", str(state)]) == 1
    assert "single-authority" in capsys.readouterr().out


def test_settings_by_file(bad: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "policy.yaml"
    config.write_text(
        """
levels:
  half-encrypted-secret: advisory
exceptions:
  - rule: plaintext-secret
    subject: "Secret platform/*"
    reason: test values of the sandbox
    expires: 2999-01-01
"""
    )
    assert main(["policy", "check", str(bad), "--config", str(config)]) == 0
    assert "0 mandatory, 1 advisory" in capsys.readouterr().out


def test_wrong_settings_name_the_field(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "policy.yaml"
    config.write_text(
        "exceptions: [{rule: plaintext-secret, subject: x, reason: short, expires: 2999-01-01}]\nextra: 1\n"
    )
    assert main(["policy", "check", str(tmp_path), "--config", str(config)]) == 2
    text = capsys.readouterr().err
    assert "exceptions.0.reason" in text
    assert "extra" in text


def test_an_exception_ends() -> None:
    case = CASES[0]
    excuse = Exemption(rule=case.rule, subject="Secret one/*", reason="moves next quarter", expires=date(2026, 6, 30))

    def ids(today: date, exemption: Exemption = excuse) -> set[str]:
        settings = Settings(exceptions=(exemption,), today=today)
        return {finding.rule.id for finding in check(context_of_state(case.bad, settings))}

    assert case.rule not in ids(date(2026, 6, 30))
    assert "expired-exception" not in ids(date(2026, 6, 30))
    assert {case.rule, "expired-exception"} <= ids(date(2026, 7, 1))
    other = excuse.model_copy(update={"subject": "Secret two/*"})
    assert case.rule in ids(date(2026, 6, 1), other)
    misspelt = excuse.model_copy(update={"rule": "no-such-rule"})
    assert "expired-exception" in ids(date(2026, 6, 1), misspelt)


def test_one_settings_file_serves_both_ways_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "policy.yaml"
    config.write_text(
        """
allowedNamespaces: [platform]
phase: 3
vaultServers: {main: ["https://vault.example:8200"]}
levels: {opaque-release: mandatory}
exceptions: [{rule: plaintext-secret, subject: x, reason: long enough to read, expires: 2999-01-01}]
"""
    )
    assert main(["policy", "pack-config", str(config)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert set(document) == set(BY_ID)
    assert document["opaque-release"]["enforcementLevel"] == "mandatory"
    entry = document["single-authority"]
    assert "enforcementLevel" not in entry
    assert set(entry) <= set(CONFIG)
    assert parse_settings(entry, "pack").phase == 3


def test_every_rule_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "rules"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [rule.id for rule in RULES]


def test_what_leads_out_of_the_tree_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = REPOSITORIES["artifact-generator"].write(tmp_path)
    assert main(["policy", "check", str(root)]) == 1
    assert (
        "not in this tree: Kustomization flux-system/vendor of prod: . of OCIRepository vendor"
        in capsys.readouterr().out
    )
    assert main(["policy", "check", str(root), "--format", "json"]) == 1
    assert len(json.loads(capsys.readouterr().out)["notInThisTree"]) == 1
