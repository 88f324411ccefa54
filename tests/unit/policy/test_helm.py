"""Charts of a tree, rendered with helm: with the machine's own where it has one, else with a stand-in.

The stand-in has the interface of `helm template` as far as these charts use it: it wants a chart whose dependencies
are all in charts/, merges the values files that it is given, and prints each template after the name of its source.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cli import policy_check as policy
from cli.main import main
from policy.readers.git.files.chart_values import merged, nested
from policy.readers.git.helm import template
from tests.support.policy.trees import parse_repository

STAND_IN = """#!{python}
import json, pathlib, re, sys
import yaml

arguments = sys.argv[1:]
assert arguments[0] == "template" and arguments[3] == "--namespace", arguments
name, chart, namespace = arguments[1], pathlib.Path(arguments[2]), arguments[4]


def merged(low, high):
    return {{**low, **{{k: merged(low.get(k) or {{}}, v) if isinstance(v, dict) else v for k, v in high.items()}}}}


given = {{}}
for flag, file in zip(arguments[5::2], arguments[6::2]):
    assert flag == "--values", arguments
    given = merged(given, yaml.safe_load(pathlib.Path(file).read_text()) or {{}})


def render(chart, below, given):
    about = yaml.safe_load((chart / "Chart.yaml").read_text())
    own = chart / "values.yaml"
    values = merged(yaml.safe_load(own.read_text()) if own.is_file() else {{}}, given)
    path = below + about["name"]
    for dependency in about.get("dependencies", []):
        inside = chart / "charts" / dependency["name"]
        if not inside.is_dir():
            sys.exit("found in Chart.yaml, but missing in charts/ directory")
        yield from render(inside, path + "/charts/", values.get(dependency["name"]) or {{}})
    for file in sorted((chart / "templates").glob("*.yaml")):
        text = file.read_text()

        def one(match):
            if match[1] == ".Release.Namespace":
                return namespace
            if match[1] == ".Release.Name":
                return name
            found = values
            for step in re.sub("^required \\"[^\\"]*\\" ", "", match[1]).removeprefix(".Values.").split("."):
                found = (found or {{}}).get(step)
            if found is None and match[1].startswith("required"):
                sys.exit("a value is required")
            if match[1].startswith("include"):
                sys.exit("no template")
            return str(found)

        yield path + "/templates/" + file.name, re.sub("{{{{ (.*?) }}}}", one, text)


for source, text in list(render(chart, "", given)):
    print("---\\n# Source: " + source + "\\n" + text)
"""
APPLICATION = {
    "apiVersion": "argoproj.io/v1alpha1",
    "kind": "Application",
    "metadata": {"name": "shop", "namespace": "argocd"},
    "spec": {
        "source": {"repoURL": "https://git.example/fleet.git", "path": "charts/shop"},
        "destination": {"server": "https://kubernetes.default.svc", "namespace": "shop"},
    },
}
EXTERNAL = """-- {file} --
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {{name: {name}, namespace: {{{{ .Release.Namespace }}}}}}
spec:
  secretStoreRef: {{kind: ClusterSecretStore, name: vault}}
  data: [{{secretKey: password, remoteRef: {{key: pg, property: password}}}}]
"""
SEALED = """-- sealed/db.yaml --
apiVersion: bitnami.com/v1alpha1
kind: SealedSecret
metadata: {name: db, namespace: shop}
spec: {encryptedData: {password: AgBy}, template: {metadata: {name: db}}}
-- argocd/sealed.yaml --
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: sealed, namespace: argocd}
spec: {source: {repoURL: 'https://git.example/fleet.git', path: sealed}, destination: {namespace: shop}}
"""
CHART = "-- charts/shop/Chart.yaml --\n{name: shop, version: 0.1.0, apiVersion: v2}\n"


@pytest.fixture(autouse=True)
def some_helm(no_helm: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = tmp_path / "bin" / "helm"
    stand_in.parent.mkdir()
    stand_in.write_text(STAND_IN.format(python=sys.executable))
    stand_in.chmod(0o755)
    monkeypatch.setattr(template, "program", lambda: shutil.which("helm") or str(stand_in))


def check(tmp_path: Path, capsys: pytest.CaptureFixture[str], files: str, **source: Any) -> tuple[int, dict[str, Any]]:
    """The exit code and the JSON of a tree with an Application of the chart charts/shop."""
    application = json.loads(json.dumps(APPLICATION))
    application["spec"]["source"].update(source)
    text = f"about: charts\n-- argocd/app.yaml --\n{json.dumps(application)}\n{files}"
    root = parse_repository(text, "charts").write(tmp_path / "tree")
    capsys.readouterr()
    code = main(["policy", "check", str(root), "--format", "json"])
    return code, json.loads(capsys.readouterr().out)


def rules(found: Mapping[str, Any]) -> list[str]:
    return [finding["rule"] for finding in found["findings"]]


def explained(tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str) -> str:
    assert main(["policy", "check", str(tmp_path / "tree"), "--explain", file]) == 0
    return capsys.readouterr().out


def external(name: str, file: str = "charts/shop/templates/es.yaml") -> str:
    return EXTERNAL.format(name=name, file=file)


def test_a_conflict_with_what_a_chart_makes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = check(tmp_path, capsys, CHART + external("db") + SEALED)
    assert code == policy.VIOLATIONS
    assert rules(found) == ["single-authority"]
    assert "two authorities over Secret shop/db" in found["findings"][0]["message"]
    assert "is read: Application argocd/shop" in explained(tmp_path, capsys, "charts/shop/templates/es.yaml")
    assert (found["coverage"]["read"], found["coverage"]["total"]) == (2, 2)


def test_values_of_files_below_values_below_parameters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = "".join(external(f"{{{{ .Values.{v} }}}}", f"charts/shop/templates/{v}.yaml") for v in ("a", "b", "c", "d"))
    names = names.replace("password: password", "")
    files = "-- charts/shop/values.yaml --\n{a: own, b: own, c: own, d: own}\n-- charts/shop/prod.yaml --\n"
    files += "{b: file, c: file, d: file}\n"
    helm_options = {
        "valueFiles": ["prod.yaml"],
        "values": "{c: text, d: text}",
        "parameters": [{"name": "d", "value": "parameter"}],
    }
    sealed = "".join(
        SEALED.split("-- argocd")[0].replace("db", name).replace("sealed/", "sealed/x")
        for name in ("own", "file", "text", "parameter")
    )
    sealed += "-- argocd" + SEALED.split("-- argocd")[1]
    code, found = check(tmp_path, capsys, CHART + names + files + sealed, helm=helm_options)
    assert code == policy.VIOLATIONS
    places = sorted(finding["message"].partition(",")[0].rpartition("/")[2] for finding in found["findings"])
    assert places == ["file", "own", "parameter", "text"]


def test_a_dependency_that_needs_a_network_is_left_out_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dependencies = "dependencies: [{name: redis, version: 1.0.0, repository: https://charts.example}]"
    chart = CHART.replace("{name", "{" + dependencies + ", name")
    code, found = check(tmp_path, capsys, chart + external("db") + SEALED)
    assert code == policy.VIOLATIONS
    assert rules(found) == ["single-authority", "coverage"]
    assert found["coverage"]["remote"] == ["chart redis (taken in by charts/shop)"]


def test_a_dependency_of_the_tree_is_rendered_with_its_own_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dependencies = "dependencies: [{name: common, version: 0.1.0, repository: 'file://../common'}]"
    chart = CHART.replace("{name", "{" + dependencies + ", name")
    common = "-- charts/common/Chart.yaml --\n{name: common, version: 0.1.0, apiVersion: v2}\n"
    common += external("db", "charts/common/templates/es.yaml")
    code, found = check(tmp_path, capsys, chart + common + SEALED)
    assert code == policy.VIOLATIONS
    assert rules(found) == ["single-authority"]
    assert "is read: Application argocd/shop" in explained(tmp_path, capsys, "charts/common/templates/es.yaml")
    assert found["coverage"]["percent"] == 100


def test_a_chart_that_fails_is_read_as_far_as_it_is_about_secrets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = "-- charts/shop/templates/app.yaml --\napiVersion: v1\nkind: ConfigMap\n"
    broken += 'metadata: {name: {{ include "redis.name" . }}}\n'
    code, found = check(tmp_path, capsys, CHART + broken + external("db") + SEALED)
    assert code == policy.VIOLATIONS
    assert rules(found) == ["single-authority", "coverage"]
    assert found["coverage"]["remote"] == [
        "templates of charts/shop that are not about secrets (taken in by charts/shop)"
    ]


def test_a_template_about_secrets_that_fails_is_in_the_coverage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = external('{{ required "a name" .Values.name }}', "charts/shop/templates/other.yaml")
    code, found = check(tmp_path, capsys, CHART + broken + external("db") + SEALED)
    assert code == policy.VIOLATIONS
    assert rules(found) == ["single-authority", "coverage"]
    assert [unread["file"] for unread in found["coverage"]["notRead"]] == ["charts/shop/templates/other.yaml"]
    assert "a name" not in json.dumps(found["notJudged"])


def test_a_release_of_flux_has_the_name_and_namespace_of_its_target(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release = """-- clusters/prod/release.yaml --
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: shop, namespace: flux-system}
spec:
  targetNamespace: web
  chart: {spec: {chart: ./charts/shop, sourceRef: {kind: GitRepository, name: flux-system}}}
-- clusters/prod/sealed.yaml --
apiVersion: bitnami.com/v1alpha1
kind: SealedSecret
metadata: {name: web-shop-db, namespace: web}
spec: {encryptedData: {password: AgBy}, template: {metadata: {name: web-shop-db}}}
"""
    text = f"about: charts\n{release}{CHART}{external('{{ .Release.Name }}-db')}"
    root = parse_repository(text, "charts").write(tmp_path / "tree")
    assert main(["policy", "check", str(root)]) == policy.VIOLATIONS
    assert "two authorities over Secret web/web-shop-db" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ({"helm": {"valueFiles": ["no.yaml"]}}, "its values file charts/shop/no.yaml does not exist"),
        ({"helm": {"valueFiles": ["../../../x.yaml"]}}, "a values file is not in the tree"),
        ({"helm": {"valueFiles": ["https://h.example/x.yaml"]}}, "a values file is not in the tree"),
        ({"helm": {"valueFiles": ["$far/x.yaml"]}}, "a values file is of another repository"),
        ({"helm": {"parameters": [{"name": "a[0]", "value": "b"}]}}, "a parameter of it is not read"),
        ({"helm": {"fileParameters": [{"name": "a", "path": "b"}]}}, "its fileParameters are not read"),
    ],
)
def test_what_is_not_rendered_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], source: dict[str, Any], reason: str
) -> None:
    code, found = check(tmp_path, capsys, CHART + external("db"), **source)
    assert code == policy.LOW_COVERAGE
    assert found["notJudged"] == [
        f"Application argocd/shop of this cluster: the chart charts/shop is not rendered: {reason}"
    ]


def test_values_merge_as_helm_merges_them() -> None:
    assert merged({"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"c": 3}, "d": [2]}) == {"a": {"b": 1, "c": 3}, "d": [2]}
    assert nested("a.b-c", "x") == {"a": {"b-c": "x"}}
    with pytest.raises(ValueError, match="a,b"):
        nested("a,b", "x")
