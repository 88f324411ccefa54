"""An encrypted file of a bootstrap folder is judged by one reader: what `check` says of it, the pack says as well."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

from policy.readers.git.tree import read_tree
from policy.rules.registry import check, new_context
from policy.settings import Profile, Settings
from secret_authority.core.errors import InvalidInputError, Problem
from secret_authority.repository.bootstrap.encrypted_secrets import read_encrypted
from secret_authority.repository.intent.checks import check_header
from secret_authority.repository.intent.intent import read_intent
from secret_authority.repository.layout import Layout
from secret_authority.repository.trust.root_of_trust import read_trust
from tests.support.fleets import CLUSTER, Fleet, new_fleet
from tests.support.flux_cases import CHANGES, NAMESPACE, Folder, Maker

HOME = f"clusters/{CLUSTER}/bootstrap"
CATALOGUE = f"secret-authority/{CLUSTER}/catalogue.yaml"
_HEADER = ("mac_only_encrypted: true\n", "kms:\n        - arn: a\n          enc: b\n", "hckms: [{key_id: a}]\n")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """One repository for all, without the rules for files to come, which cost three runs of sops a look."""
    made = new_fleet(tmp_path_factory.mktemp("fleet"))
    (made.repository / ".sops.yaml").unlink()
    return made


def write(fleet: Fleet, files: dict[str, bytes], home: str = HOME) -> None:
    """The bootstrap folder holds these files, and the catalogue has an entry for each Secret that is read there."""
    shutil.rmtree(fleet.repository / home, ignore_errors=True)
    for path, content in files.items():
        file = fleet.repository / home / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    found = {secret.place: secret for secret in read_encrypted(fleet.repository, [home]).found}
    namespaces = sorted({NAMESPACE, "bootstrap-edge"})
    catalogue = {
        "apiVersion": "secret-authority.dev/v1",
        "kind": "SecretCatalogue",
        "bootstrapNamespaces": namespaces,
        "secrets": [],
    }
    (fleet.repository / CATALOGUE).write_text(yaml.safe_dump(catalogue))
    for (namespace, name), secret in found.items():
        if namespace in namespaces:
            fleet.add_entry(name, *sorted(secret.keys), namespace=namespace)


def refusals(fleet: Fleet, home: str = HOME) -> list[Problem]:
    """What `check` says of files and catalogue without any key."""
    try:
        read_intent(fleet.repository, Layout.of(CLUSTER, bootstrap=[home]))
    except InvalidInputError as error:
        return list(error.problems)
    return []


def findings(root: Path, settings: Settings | None = None) -> list[tuple[str, str, str]]:
    """Rule, message and file of what the pack finds."""
    settings = settings or Settings()
    tree = read_tree(root, settings)
    context = new_context(tree.resources, settings, tree.problems, coverage=tree.coverage)
    return [(found.rule.id, found.message, found.where.file) for found in check(context)]


def compare(fleet: Fleet, made: str, home: str = HOME, settings: Settings | None = None) -> tuple[int, list[str]]:
    """How much `check` refuses, and where the pack differs."""
    refused, found = refusals(fleet, home), findings(fleet.repository, settings)
    said = {(message, file) for _, message, file in found}
    differ = [f"{made}: the pack does not say {each}" for each in refused if (str(each), each.file) not in said]
    if not refused:
        differ += [f"{made}: is accepted, and the pack says {each}" for each in found]
    return len(refused), differ


def maker(fleet: Fleet) -> Maker:
    return Maker(sorted(read_trust(fleet.repository).wanted(CLUSTER)))


def _together(folders: Iterable[Folder]) -> dict[str, bytes]:
    """Each in a folder of its own."""
    return {f"{folder.number}/{path}": content for folder in folders for path, content in folder.files.items()}


def _refused(fleet: Fleet) -> set[int]:
    """The numbers of the folders in which the reader refuses something."""
    reading = read_encrypted(fleet.repository, [HOME])
    headers = [problem for secret in reading.found for problem in check_header(secret.header, secret.file)]
    return {int(problem.file.removeprefix(f"{HOME}/").partition("/")[0]) for problem in [*reading.problems, *headers]}


def test_the_pack_says_what_check_says_of_generated_folders(fleet: Fleet) -> None:
    make = maker(fleet)
    # Every second kind: each costs a run of sops or two.
    folders = {number: make.folder(number) for number in range(0, len(CHANGES), 2)}
    write(fleet, _together(folders.values()))
    refused = _refused(fleet)
    problems, differ = compare(fleet, "all of them")
    assert problems >= len(refused) and not differ, "\n".join(differ)
    # Those that are accepted, without the others: the pack says nothing.
    accepted = {number: folder for number, folder in folders.items() if number not in refused}
    write(fleet, _together(accepted.values()))
    assert compare(fleet, "the accepted ones") == (0, [])
    assert len(accepted) >= 25 and len(refused) >= 25, (len(accepted), len(refused))


@pytest.mark.parametrize("line", _HEADER)
def test_options_of_sops_are_judged_as_check_judges_them(fleet: Fleet, line: str) -> None:
    text = maker(fleet).folder(0).files["secrets.yaml"].decode()
    write(fleet, {"secrets.yaml": text.replace("sops:\n", f"sops:\n    {line}").encode()})
    problems, differ = compare(fleet, line)
    assert problems and not differ


def test_recipients_are_judged_as_check_judges_them(fleet: Fleet) -> None:
    few = Maker(sorted(read_trust(fleet.repository).wanted(CLUSTER))[:1])
    write(fleet, few.folder(0).files)
    problems, differ = compare(fleet, "one recipient")
    assert problems and not differ


def test_entries_and_files_are_compared_as_check_compares_them(fleet: Fleet) -> None:
    write(fleet, maker(fleet).folder(0).files)

    def change(catalogue: dict[str, list[dict[str, dict[str, object]]]]) -> None:
        (entry, *_) = catalogue["secrets"]
        entry["bootstrap"]["keys"] = ["other"]

    fleet.edit(CATALOGUE, change)
    assert any("is not in the catalogue" in str(each) for each in refusals(fleet))
    assert not compare(fleet, "other keys")[1]
    fleet.edit(CATALOGUE, lambda catalogue: catalogue.update(secrets=[]))
    assert not compare(fleet, "no entries")[1]
    fleet.add_entry("missing", "password")
    assert any("no encrypted file holds" in str(each) for each in refusals(fleet))
    assert not compare(fleet, "no file")[1]


def test_a_folder_that_the_settings_name_is_read(fleet: Fleet) -> None:
    elsewhere = "platform/secrets"
    write(fleet, {})
    settings = Settings.model_validate({"bootstrapPaths": {CLUSTER: [elsewhere]}})
    write(fleet, {**maker(fleet).folder(0).files, "a.json": b"{}"}, elsewhere)
    problems, differ = compare(fleet, "another folder", elsewhere, settings)
    shutil.rmtree(fleet.repository / elsewhere)
    assert problems and not differ


def test_only_folders_of_our_clusters_are_judged_so_strictly(fleet: Fleet, tmp_path: Path) -> None:
    """A stranger's tree may have other keys, selectors and files: it has no root of trust of this project."""
    text = maker(fleet).folder(0).files["secrets.yaml"].decode()
    stranger = tmp_path / HOME
    stranger.mkdir(parents=True)
    (stranger / "secrets.yaml").write_text(text.replace("sops:\n", f"sops:\n    {_HEADER[1]}"))
    (stranger / "a.json").write_text('{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}')
    assert findings(tmp_path) == []
    assert findings(tmp_path, Settings(profile=Profile.AUTHORITY)) == []
    # Our own tree in the profile of strangers.
    write(fleet, {"secrets.yaml": (stranger / "secrets.yaml").read_bytes()})
    assert refusals(fleet) and findings(fleet.repository, Settings(profile=Profile.AUTHORITY)) == []


def test_what_is_in_the_clear_is_found_in_both_profiles(fleet: Fleet) -> None:
    clear = "apiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: bootstrap-data}\nstringData: {token: x-7-z}\n"
    write(fleet, {"clear.yaml": clear.encode()})
    assert not compare(fleet, "in the clear")[1]
    (found,) = findings(fleet.repository, Settings(profile=Profile.AUTHORITY))
    assert found[0] == "plaintext-secret"
    assert "x-7-z" not in str(findings(fleet.repository))
