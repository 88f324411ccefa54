"""Where the catalogue is: outside of what Flux applies, and still found in the place of earlier versions."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cli.main import main
from secret_authority.core.errors import InvalidInputError
from secret_authority.repository.catalogue.config_values import read_config_values
from secret_authority.repository.intent.intent import read_intent
from secret_authority.repository.intent.tombstones import tombstone_file
from secret_authority.repository.layout import Layout
from tests.support.fleets import Fleet, new_fleet

NEW, EARLIER = "secret-authority/dev", "clusters/dev"
SYNC = """\
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {{name: flux-system, namespace: flux-system}}
spec: {{url: https://example.org/fleet}}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {{name: flux-system, namespace: flux-system}}
spec: {{path: {path}, sourceRef: {{kind: GitRepository, name: {source}}}}}
"""


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return new_fleet(tmp_path)


def move_back(fleet: Fleet) -> None:
    for name in ("catalogue.yaml", "config"):
        shutil.move(fleet.repository / NEW / name, fleet.repository / EARLIER / name)


def bootstrap_flux(fleet: Fleet, path: str = "./clusters/dev", source: str = "flux-system") -> None:
    """What `flux bootstrap --path=clusters/dev` commits."""
    folder = fleet.repository / "clusters/dev/flux-system"
    folder.mkdir(exist_ok=True)
    (folder / "gotk-sync.yaml").write_text(SYNC.format(path=path, source=source))
    (folder / "kustomization.yaml").write_text(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [gotk-sync.yaml]\n"
    )


def check(fleet: Fleet) -> int:
    return main(["check", "--repository", str(fleet.repository), "--cluster", "dev"])


def test_the_usual_place_is_one_that_flux_does_not_apply(fleet: Fleet) -> None:
    bootstrap_flux(fleet)
    assert (fleet.repository / NEW / "catalogue.yaml").is_file()
    assert check(fleet) == 0


def test_the_place_of_earlier_versions_is_read_with_all_that_is_beside_it(fleet: Fleet) -> None:
    move_back(fleet)
    layout = Layout.of("dev", root=fleet.repository)
    intent = read_intent(fleet.repository, layout)
    assert layout.catalogue == f"{EARLIER}/catalogue.yaml"
    assert tombstone_file(intent) == fleet.repository / EARLIER / "tombstones.yaml"
    assert read_config_values(fleet.repository, layout.config, intent.catalogue)
    assert check(fleet) == 0


def test_two_catalogues_are_refused(fleet: Fleet) -> None:
    shutil.copy(fleet.repository / NEW / "catalogue.yaml", fleet.repository / EARLIER / "catalogue.yaml")
    with pytest.raises(
        InvalidInputError, match=f"{NEW}/catalogue.yaml: is a second catalogue of dev, beside {EARLIER}"
    ):
        Layout.of("dev", root=fleet.repository)


@pytest.mark.parametrize("path", ["./clusters/dev", "clusters", "./"])
def test_a_catalogue_that_flux_would_apply_is_refused(
    fleet: Fleet, capsys: pytest.CaptureFixture[str], path: str
) -> None:
    move_back(fleet)
    bootstrap_flux(fleet, path)
    assert check(fleet) == 2
    said = capsys.readouterr().err
    assert f"{EARLIER}/catalogue.yaml: is in" in said and "clusters/dev/flux-system/gotk-sync.yaml" in said
    assert "Fix: move catalogue.yaml, tombstones.yaml and config/ to secret-authority/dev/." in said


@pytest.mark.parametrize(("listed", "refused"), [("[flux-system]", 0), ("[flux-system, catalogue.yaml]", 2)])
def test_a_kustomization_file_says_what_flux_applies(fleet: Fleet, listed: str, refused: int) -> None:
    move_back(fleet)
    bootstrap_flux(fleet)
    text = f"apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: {listed}\n"
    (fleet.repository / EARLIER / "kustomization.yaml").write_text(text)
    assert check(fleet) == refused


def test_a_kustomization_over_another_repository_says_nothing_about_this_one(fleet: Fleet) -> None:
    move_back(fleet)
    (fleet.repository / "apps.yaml").write_text(SYNC.format(path="clusters/dev", source="another"))
    assert check(fleet) == 0


def test_a_catalogue_in_the_bootstrap_folder_is_refused(fleet: Fleet) -> None:
    shutil.move(fleet.repository / NEW / "catalogue.yaml", fleet.bootstrap / "catalogue.yaml")
    layout = Layout.of("dev", "clusters/dev/bootstrap/catalogue.yaml")
    with pytest.raises(InvalidInputError, match="is in clusters/dev/bootstrap, which Flux applies"):
        read_intent(fleet.repository, layout)


OUTSIDE = ["../catalogue.yaml", "/etc/hostname", "a/../../b.yaml", "secret-authority/../../b", "..", ""]


@pytest.mark.parametrize("path", OUTSIDE)
@pytest.mark.parametrize("option", ["--catalogue", "--bootstrap"])
@pytest.mark.parametrize("verb", ["check", "tombstone", "ledger"])
def test_a_path_outside_of_the_repository_is_refused(
    fleet: Fleet, capsys: pytest.CaptureFixture[str], verb: str, option: str, path: str
) -> None:
    if path == "" and option == "--catalogue":
        return  # nothing is said
    place = ["--repository", str(fleet.repository), "--cluster", "dev"]
    assert main([verb, *place, f"{option}={path}", *(["mailer"] if verb == "tombstone" else [])]) == 2
    assert "is not a path inside of the repository. Fix: give it relative to its root" in capsys.readouterr().err
    assert {found.name for found in fleet.repository.parent.iterdir()} == {"fleet", "root.age"}


@pytest.mark.parametrize("path", OUTSIDE)
def test_a_layout_has_no_path_outside_of_the_repository(path: str) -> None:
    with pytest.raises(InvalidInputError, match="is not a path inside of the repository"):
        Layout("dev", "secret-authority/dev/catalogue.yaml", ("clusters/dev/bootstrap", path))
    with pytest.raises(InvalidInputError, match="is not a path inside of the repository"):
        Layout("dev", path, ())


def test_the_usual_ways_to_write_a_path_are_inside() -> None:
    made = Layout.of("dev", "./secret-authority/dev/catalogue.yaml", ["clusters/dev/bootstrap/", "more"])
    assert made.bootstrap == ("clusters/dev/bootstrap/", "more")
