"""Pulumi's engine says which state is empty: after an interrupted first run it is not, after `state delete` it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.pulumi_project import Project, new_project
from toolchain.programs import pins

pytestmark = pytest.mark.engine

# The program's own question, before a layer with one object in it. `cluster` says what is in the cluster at the run's
# start, and gets what is made; `fails` interrupts a run after the layer is begun.
PROGRAM = """
import sys
from pathlib import Path
from types import SimpleNamespace
sys.path.insert(0, {checkout!r})
from components.preflight.forgotten_state import refuse_forgotten_state
from secret_authority.access.cluster_state import ClusterState
from secret_authority.core.errors import InvalidInputError

class Layer(pulumi.ComponentResource):
    pass

class Made(pulumi.ComponentResource):
    pass

cluster = Path({cluster!r})
state = ClusterState(reachable=True, built=cluster.exists(), vault_built=cluster.exists())
settings = SimpleNamespace(layout=SimpleNamespace(cluster="prod"))
hooks = refuse_forgotten_state(settings, state)
root = Layer("t:a:Root", "root")
layer = Layer("t:a:Layer", "layer", {{}}, pulumi.ResourceOptions(depends_on=[root], hooks=hooks))

def create(_args):
    with cluster.open("a") as objects:
        objects.write("made\\n")
    if Path({fails!r}).exists():
        raise InvalidInputError([])

hook = pulumi.ResourceHook("create", create)
binding = pulumi.ResourceHookBinding(before_create=[hook])
Made("t:a:Made", "made", {{}}, pulumi.ResourceOptions(parent=layer, hooks=binding))
"""
UP = ("up", "--yes", "--skip-preview")
SAID = ("cluster prod: is built", "Found: Namespace vault", "pulumi stack import --file FILE")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = new_project(tmp_path)
    places = {"checkout": str(pins.CHECKOUT), "cluster": str(tmp_path / "cluster"), "fails": str(tmp_path / "fails")}
    made.program(PROGRAM.format(**places))
    return made


def refused(project: Project, *arguments: str) -> None:
    """With the cluster as it was."""
    before = (project.folder / "cluster").read_text()
    said = " ".join(project.pulumi(*arguments, code=1).split())
    assert [text for text in SAID if text not in said] == []
    assert (project.folder / "cluster").read_text() == before


def of_layer(project: Project) -> list[str]:
    resources = json.loads(project.pulumi("stack", "export"))["deployment"].get("resources") or []
    return [one["urn"].split("::")[-1] for one in resources if one["type"].split("$")[-1] in ("t:a:Layer", "t:a:Made")]


def test_an_interrupted_first_run_is_repeated(project: Project) -> None:
    (project.folder / "fails").touch()
    project.pulumi(*UP, code=1)
    assert (project.folder / "cluster").read_text() == "made\n" and of_layer(project) == ["layer"]
    (project.folder / "fails").unlink()
    project.pulumi("preview")
    project.pulumi(*UP)
    assert of_layer(project) == ["layer", "made"]


def test_a_forgotten_state_changes_nothing_until_it_is_back(project: Project) -> None:
    project.pulumi(*UP)
    state = project.folder / "state.json"
    project.pulumi("stack", "export", "--file", str(state))
    project.pulumi("state", "delete", "--all", "--force", "--yes")
    refused(project, "preview")
    refused(project, *UP)
    # The refused run has left nothing that the next one takes for a state.
    refused(project, *UP)
    assert of_layer(project) == []
    project.pulumi("stack", "import", "--file", str(state))
    project.pulumi(*UP, "--expect-no-changes")
