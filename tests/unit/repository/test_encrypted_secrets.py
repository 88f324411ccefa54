"""One reading of encrypted files: what `check` accepts is what Flux applies, to the byte; the rest is refused."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from secret_authority.repository.bootstrap.encrypted_secrets import read_encrypted
from secret_authority.repository.bootstrap.opened_secrets import open_all
from secret_authority.repository.intent.digest import intent_digest
from tests.support.fleets import CLUSTER, Fleet, new_fleet

HOME = f"clusters/{CLUSTER}/bootstrap"
NEW = f"{HOME}/new.yaml"
CLEAR = "CANARY-S3cr3tPlainText"


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return new_fleet(tmp_path)


def manifest(name: str = "new", body: str = "stringData: {password: text}", head: str = "") -> str:
    return (
        f"apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: bootstrap-data{head}}}\n{body.strip()}\n"
    )


def values(fleet: Fleet, name: str = "new") -> dict[str, bytes]:
    return open_all(fleet.repository, [HOME], [fleet.identity().secret])["bootstrap-data", name]


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (f"data: {{password: {CLEAR}}}", "data.password: is not base64"),
        ("data: {password: 'AAAA='}", "data.password: is not base64"),
        ("data: {password: 'AA'}", "data.password: is not base64"),
        ("data: {password: 'A A='}", "data.password: is not base64"),
        ("data: {password: 'QUJD_w=='}", "data.password: is not base64"),
    ],
)
def test_data_that_the_api_server_refuses_is_found_with_the_identity(fleet: Fleet, body: str, wanted: str) -> None:
    fleet.add_entry("new", "password")
    fleet.encrypt(NEW, manifest(body=body))
    (problem,) = fleet.problems()
    assert problem.startswith(f"{NEW}: {wanted}") and "Fix:" in problem and "CANARY" not in problem


@pytest.mark.parametrize("group", ["data", "stringData"])
@pytest.mark.parametrize(("value", "kind"), [("7741908233", "int"), ("true", "bool"), ("1.5", "float")])
def test_values_that_are_no_texts_are_found_without_and_with_an_identity(
    fleet: Fleet, group: str, value: str, kind: str
) -> None:
    fleet.add_entry("new", "password")
    fleet.encrypt(NEW, manifest(body=f"{group}: {{password: {value}}}"))
    (problem,) = fleet.keyless_problems()
    assert (
        f"{NEW}: {group}.password: is not a text: it was encrypted as {kind}. Fix: put the value in quotes" in problem
    )
    assert fleet.problems() == [problem] and value not in problem


def test_null_lists_and_mappings_are_no_values(fleet: Fleet) -> None:
    fleet.add_entry("new", "a", "b", "c")
    fleet.encrypt(NEW, manifest(body="stringData: {a: null, b: [x], c: {d: x}}"))
    found = fleet.keyless_problems()
    assert [re.findall(r"data\.(\w)", problem)[0] for problem in found] == ["a", "b", "c"], found


@pytest.mark.parametrize("body", ["stringData: {}", "type: Opaque", "data: {}\nstringData:"])
def test_a_secret_without_values_is_refused(fleet: Fleet, body: str) -> None:
    fleet.encrypt(NEW, manifest(body=body))
    (problem,) = fleet.keyless_problems()
    assert problem.startswith(f"{NEW}: data: has no value, so no entry of the catalogue can name it. Fix: ")


@pytest.mark.parametrize("number", [0x7F, 0x80, 0x85, 0x9F, 0xFFFE, 0xFFFF])
def test_characters_that_flux_changes_in_a_text_are_refused_and_travel_in_base64(fleet: Fleet, number: int) -> None:
    """Flux writes the decrypted manifest as YAML: U+0085 arrives as a space, the others stop the Kustomization."""
    text = f"CANARY{chr(number)}x"
    fleet.add_entry("new", "password")
    fleet.encrypt(NEW, manifest(body=f'stringData: {{password: "CANARY\\u{number:04x}x"}}'))
    (problem,) = fleet.problems()
    assert problem.startswith(f"{NEW}: stringData.password: has the character U+{number:04X}, which Flux refuses or")
    assert "write the value under data, in base64" in problem and "CANARY" not in problem
    fleet.encrypt(NEW, manifest(body=f"data: {{password: {base64.b64encode(text.encode()).decode()}}}"))
    assert fleet.problems() == [] and values(fleet) == {"password": text.encode()}


@pytest.mark.parametrize(
    ("metadata", "wanted"),
    [
        ("labels: {app: 'a b'}", "metadata.labels.app: is not a value that a label may have"),
        (f"labels: {{app: {'a' * 64}}}", "metadata.labels.app: is not a value that a label may have"),
        ("labels: {'a/b/c': d}", "metadata.labels.a/b/c: is not a key that Kubernetes takes"),
        ("labels: {'A.example/b': d}", "metadata.labels.A.example/b: is not a key that Kubernetes takes"),
        ("annotations: {'a b': c}", "metadata.annotations.a b: is not a key that Kubernetes takes"),
        ('annotations: {a: "b\\u0085c"}', "metadata.annotations.a: has a character that Flux refuses or changes"),
    ],
)
def test_labels_and_annotations_that_stop_the_kustomization(fleet: Fleet, metadata: str, wanted: str) -> None:
    fleet.add_entry("new", "password")
    fleet.encrypt(NEW, manifest(head=f", {metadata}"))
    (problem,) = fleet.keyless_problems()
    assert problem.startswith(f"{NEW}: {wanted}")


def test_base64_with_line_ends_is_taken_as_the_api_server_takes_it(fleet: Fleet) -> None:
    fleet.add_entry("new", "blob", binary=["blob"])
    content = bytes(range(256)) * 3
    text = base64.encodebytes(content).decode()
    body = "data:\n  blob: |\n" + "".join(f"    {line}\n" for line in text.splitlines())
    fleet.encrypt(NEW, manifest(body=body))
    assert fleet.problems() == [] and values(fleet) == {"blob": content}


def test_documents_that_were_encrypted_together_have_a_value_each(fleet: Fleet) -> None:
    for name in ("one", "two", "three"):
        fleet.add_entry(name, "password")
    texts = [
        manifest(name, f"stringData: {{password: {value}}}")
        for name, value in (("one", "first"), ("two", "second"), ("three", "third"))
    ]
    fleet.encrypt(NEW, "# a comment\n---\n" + "---\n".join(texts))
    assert fleet.problems() == []
    assert [values(fleet, name) for name in ("one", "two", "three")] == [
        {"password": b"first"},
        {"password": b"second"},
        {"password": b"third"},
    ]


def test_a_change_to_one_document_breaks_the_mac_of_all(fleet: Fleet) -> None:
    for name in ("one", "two"):
        fleet.add_entry(name, "password")
    path = fleet.encrypt(NEW, manifest("one") + "---\n" + manifest("two"))
    path.write_text(path.read_text().replace("name: two", "name: two\n    labels: {a: b}"))
    (problem,) = fleet.problems()
    assert f"{NEW}: sops: the MAC does not fit" in problem


def test_documents_that_were_encrypted_one_by_one_have_a_value_each(fleet: Fleet) -> None:
    parts = []
    for name in ("one", "two"):
        fleet.add_entry(name, "password")
        path = fleet.encrypt(NEW, manifest(name, f"stringData: {{password: of-{name}}}"))
        parts.append(path.read_text())
    path.write_text("---\n".join(parts))
    assert fleet.problems() == []
    assert values(fleet, "one") == {"password": b"of-one"} and values(fleet, "two") == {"password": b"of-two"}
    path.write_text(path.read_text().replace("name: two", "name: two\n    labels: {a: b}"))
    assert "the MAC does not fit" in fleet.problems()[0]


def test_a_clear_document_beside_an_encrypted_one_is_refused(fleet: Fleet) -> None:
    fleet.add_entry("one", "password")
    path = fleet.encrypt(NEW, manifest("one"))
    path.write_text(path.read_text() + "---\n" + manifest("two", f"stringData: {{password: {CLEAR}}}"))
    (problem,) = fleet.keyless_problems()
    assert "is a Secret in the clear" in problem and CLEAR not in problem


def as_list(text: str) -> str:
    return yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": [yaml.safe_load(text)]})


@pytest.mark.parametrize("encrypted", [True, False])
def test_a_list_is_refused(fleet: Fleet, encrypted: bool) -> None:
    text = as_list(manifest(body=f"stringData: {{password: {CLEAR}}}"))
    if encrypted:
        fleet.encrypt(NEW, text)
    else:
        (fleet.repository / NEW).write_text(text)
    (problem,) = fleet.keyless_problems()
    assert f"{NEW}: kind: is a List, in which Flux does not decrypt" in problem and "document of its own" in problem


def test_a_config_map_is_refused_clear_or_encrypted(fleet: Fleet) -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: bootstrap-data}\ndata: {a: b}\n"
    (fleet.repository / NEW).write_text(text)
    (problem,) = fleet.keyless_problems()
    assert f"{NEW}: kind: is ConfigMap v1, and not a Secret of v1" in problem and "another folder" in problem
    fleet.encrypt(NEW, text)
    assert fleet.keyless_problems() == [problem]


def test_what_flux_leaves_out_is_refused(fleet: Fleet) -> None:
    orders = fleet.bootstrap / "orders-db.yaml"
    encrypted = orders.read_bytes()
    for other in ("orders-db.json", "orders-db.YAML", "cloudbuild.yaml"):
        orders.rename(fleet.bootstrap / other)
        problems = fleet.keyless_problems()
        assert any(p.startswith(f"{HOME}/{other}: ") and "Flux" in p for p in problems), (other, problems)
        (fleet.bootstrap / other).rename(orders)
    outside = fleet.repository / "orders.yaml"
    orders.rename(outside)
    orders.symlink_to(outside)
    assert any("is a symbolic link" in p for p in fleet.keyless_problems())
    orders.unlink()
    orders.write_bytes(encrypted)
    assert fleet.keyless_problems() == []
    (fleet.repository / ".sourceignore").write_text("# comment\norders-d?.yaml\n")
    (problem,) = fleet.keyless_problems()
    assert f"{HOME}/orders-db.yaml: is left out by Flux (.sourceignore" in problem


def test_the_folder_itself_behind_a_link_is_refused(fleet: Fleet) -> None:
    fleet.bootstrap.rename(fleet.repository / "elsewhere")
    fleet.bootstrap.symlink_to(fleet.repository / "elsewhere")
    assert any("is reached through a symbolic link" in problem for problem in fleet.keyless_problems())


def test_a_folder_inside_of_a_submodule_is_refused(fleet: Fleet) -> None:
    """Flux fetches no submodules, wherever in it the folder is."""
    (fleet.bootstrap.parent / ".git").write_text("gitdir: ../../.git/modules/dev\n")
    (problem,) = fleet.keyless_problems()
    assert problem.startswith(f"clusters/{CLUSTER}/.git: makes its folder a repository of its own")
    (fleet.bootstrap.parent / ".git").unlink()
    assert fleet.keyless_problems() == []


def test_a_repository_may_be_given_by_a_relative_path(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    (fleet.repository / ".sourceignore").write_text("orders-d?.yaml\n")
    monkeypatch.chdir(fleet.repository.parent)
    found = read_encrypted(Path(fleet.repository.name), (HOME,))
    assert ["is left out by Flux" in str(problem) for problem in found.problems] == [True]


def test_a_file_that_git_ignores_is_refused(fleet: Fleet) -> None:
    subprocess.run(["git", "init", "-q", str(fleet.repository)], check=True)
    assert fleet.keyless_problems() == []
    (fleet.repository / ".gitignore").write_text("*.secret.yaml\n")
    (fleet.bootstrap / "orders-db.yaml").rename(fleet.bootstrap / "orders-db.secret.yaml")
    (problem,) = fleet.keyless_problems()
    assert problem.startswith(f"{HOME}/orders-db.secret.yaml: is ignored by Git (.gitignore), so it is never pushed.")
    # What was added in spite of it is pushed.
    subprocess.run(["git", "-C", str(fleet.repository), "add", "-f", "."], check=True)
    assert fleet.keyless_problems() == []


def test_hidden_folders_are_read_as_flux_reads_them(fleet: Fleet) -> None:
    hidden = fleet.bootstrap / ".extra"
    hidden.mkdir()
    (hidden / "clear.yaml").write_text(manifest(body=f"stringData: {{password: {CLEAR}}}"))
    (problem,) = fleet.keyless_problems()
    assert f"{HOME}/.extra/clear.yaml: data: is a Secret in the clear" in problem
    shutil.rmtree(hidden)
    fleet.add_entry("new", "password")
    fleet.encrypt(f"{HOME}/.extra/new.yaml", manifest())
    assert fleet.problems() == []


def kustomized(fleet: Fleet, text: str, folder: str = "part") -> None:
    home = fleet.bootstrap / folder
    home.mkdir(parents=True, exist_ok=True)
    (home / "kustomization.yaml").write_text(text)


def test_names_and_namespaces_of_a_kustomization_count(fleet: Fleet) -> None:
    fleet.add_entry("a-new-z", "password")
    bare = "apiVersion: v1\nkind: Secret\nmetadata: {name: new}\nstringData: {password: text}\n"
    fleet.encrypt(f"{HOME}/part/new.yaml", bare)
    kustomized(fleet, "resources: [new.yaml]\nnamespace: bootstrap-data\nnamePrefix: a-\nnameSuffix: -z\n")
    assert fleet.problems() == [] and values(fleet, "a-new-z") == {"password": b"text"}


def test_nested_kustomizations_give_the_outer_namespace_and_both_prefixes(fleet: Fleet) -> None:
    fleet.add_entry("out-in-new", "password")
    fleet.encrypt(f"{HOME}/part/inner/new.yaml", manifest())
    kustomized(fleet, "resources: [inner]\nnamespace: bootstrap-data\nnamePrefix: out-\n")
    kustomized(fleet, "resources: [new.yaml]\nnamespace: elsewhere\nnamePrefix: in-\n", "part/inner")
    assert fleet.problems() == [] and values(fleet, "out-in-new") == {"password": b"text"}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("resources: []\n", "new.yaml: is not applied by Flux: no kustomization.yaml lists it"),
        ("resources: [new.yaml]\nsecretGenerator: [{name: a, literals: [b=c]}]\n", "literals: are in the clear"),
        ("resources: [new.yaml]\npatches: [{patch: x}]\n", "patches: is not read here"),
        ("resources: [new.yaml, ../../x.yaml]\n", "resources[1]: ../../x.yaml is not a file of this folder"),
        ("resources: [new.yaml, 'https://example.org/x']\n", "is not a file of this folder"),
        ("resources: [new.yaml, new.yaml]\n", "is listed twice"),
        ("resources: [new.yaml]\nresources: [new.yaml]\n", "a key is there twice"),
        ("resources: [new.yaml]\nnamePrefix: 1\n", "has a value that is not a text"),
    ],
)
def test_a_kustomization_that_is_not_read_is_refused(fleet: Fleet, text: str, wanted: str) -> None:
    fleet.add_entry("new", "password")
    fleet.encrypt(f"{HOME}/part/new.yaml", manifest())
    kustomized(fleet, text)
    assert any(wanted in problem for problem in fleet.keyless_problems()), fleet.keyless_problems()


@pytest.mark.parametrize(
    "annotation",
    [
        "kustomize.toolkit.fluxcd.io/reconcile: disabled",
        "kustomize.toolkit.fluxcd.io/decrypt: Disabled",
        "kustomize.toolkit.fluxcd.io/ssa: Ignore",
        "config.kubernetes.io/local-config: 'true'",
    ],
)
def test_annotations_by_which_flux_does_something_else_are_refused(fleet: Fleet, annotation: str) -> None:
    fleet.add_entry("new", "password")
    fleet.encrypt(NEW, manifest(head=f", annotations: {{{annotation}}}"))
    (problem,) = fleet.keyless_problems()
    assert "makes Flux apply something else" in problem


def test_what_kubectl_applied_last_holds_the_values_in_the_clear(fleet: Fleet) -> None:
    fleet.add_entry("new", "password")
    annotation = "kubectl.kubernetes.io/last-applied-configuration"
    note = f', annotations: {{{annotation}: \'{{"stringData":{{"password":"{CLEAR}"}}}}\'}}'
    fleet.encrypt(NEW, manifest(head=note))
    (problem,) = fleet.keyless_problems()
    assert f"{NEW}: metadata.annotations.{annotation}: holds the values in the clear" in problem
    assert "give the secret a new value" in problem and CLEAR not in problem


def test_a_manifest_whose_names_are_ciphertext_is_named_without_them(fleet: Fleet) -> None:
    (fleet.repository / ".sops.yaml").unlink()
    fleet.encrypt(NEW, manifest(), "--age", fleet.root().recipient, "--encrypted-regex", ".")
    (problem,) = fleet.keyless_problems()
    assert problem.startswith(f"{NEW}: kind: is encrypted, so") and "ENC[" not in problem


def test_a_pointer_of_git_lfs_is_called_so(fleet: Fleet) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12345\n"
    (fleet.repository / NEW).write_text(pointer)
    (problem,) = fleet.keyless_problems()
    assert problem.startswith(f"{NEW}: is a pointer of Git LFS, whose file Flux does not fetch. Fix: ")


def test_marks_of_a_handover_are_not_written_by_hand(fleet: Fleet) -> None:
    fleet.add_entry("new", "password")
    fleet.encrypt(NEW, manifest(head=", labels: {secret-authority.dev/state: consumed}"))
    assert "is set by secret-authority alone" in fleet.keyless_problems()[0]


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (lambda t: t.replace("kind: Secret", "kind: Secret\nspec: {}"), "spec: is not a field of a Secret"),
        (lambda t: t.replace("name: new", "name: 1e3"), "metadata.name: names no Secret"),
        (lambda t: t.replace("name: new", "name: 0o17"), "metadata.name: names no Secret"),
        (lambda t: t.replace("name: new", "name: yes"), "metadata.name: names no Secret"),
        (lambda t: t.replace("name: new", "name: a..b"), "metadata.name: is not a name that Kubernetes takes"),
        (lambda t: t.replace("namespace: bootstrap-data", "namespace: a.b"), "is not a name that Kubernetes takes"),
        (lambda t: t.replace("namespace: bootstrap-data", "namespace: bootstrap-data\n    uid: x"),
         "metadata.uid: belongs to an object of a cluster"),
        (lambda t: t.replace("password:", "..password:"), "is not a key that a Secret may have"),
        (lambda t: t.replace("password:", "yes:"), "is not a key that a Secret may have"),
        (lambda t: t.replace("kind: Secret", "kind: Secret\ntype: kubernetes.io/service-account-token"),
         "type: is not a type"),
        (lambda t: t.replace("kind: Secret", "kind: Secret\ntype: kubernetes.io/tls"), "needs tls.crt, tls.key"),
        (lambda t: t.replace("kind: Secret", "kind: Secret\nkind: Secret"), "a key is there twice"),
        (lambda t: t.replace("kind: Secret", "kind: &a Secret"), "has an anchor or an alias"),
        (lambda t: t.replace("kind: Secret", "kind: !!str Secret"), "has a tag"),
        (lambda t: "\ufeff" + t, "starts with a byte order mark"),
        (lambda t: t.replace("\n", "\r", 1), "has an end of line that is no line feed"),
        (lambda t: "%YAML 1.1\n---\n" + t, "has a directive"),
        (lambda t: "--- {}\n---\n" + t, "has text behind ---"),
        (lambda t: t + "...\n", "ends a document with ..."),
        (lambda t: t.replace("kind: Secret", "kind: Secret\nimmutable: 'yes'"), "immutable: is not true or false"),
        (lambda t: "[" * 900 + "]" * 900 + "\n---\n" + t, f"{NEW}: "),
        (lambda t: t + "---\n- a\n", "holds a document that is no Kubernetes object"),
    ],
)  # fmt: skip
def test_what_is_not_read_in_one_way_by_everybody_is_refused(
    fleet: Fleet, change: Callable[[str], str], wanted: str
) -> None:
    fleet.add_entry("new", "password")
    path = fleet.encrypt(NEW, manifest())
    path.write_text(change(path.read_text()))
    assert any(wanted in problem for problem in fleet.keyless_problems()), fleet.keyless_problems()


def test_a_file_in_utf_16_or_with_windows_lines(fleet: Fleet) -> None:
    fleet.add_entry("new", "password")
    path = fleet.encrypt(NEW, manifest())
    text = path.read_text()
    path.write_bytes(text.replace("\n", "\r\n").encode())
    assert fleet.problems() == [] and values(fleet) == {"password": b"text"}
    path.write_bytes(text.encode("utf-16"))
    assert "is not UTF-8 text" in fleet.keyless_problems()[0]


def header(fleet: Fleet, change: Callable[[Any], object]) -> list[str]:
    fleet.edit(f"{HOME}/orders-db.yaml", lambda doc: change(doc["sops"]))
    return fleet.keyless_problems()


@pytest.mark.parametrize("kind", ["hckms", "kms", "pgp", "gcp_kms", "azure_kv", "hc_vault", "of_tomorrow"])
def test_every_other_kind_of_key_is_named(fleet: Fleet, kind: str) -> None:
    found = header(fleet, lambda sops: sops.update({kind: [{"key_id": "x", "enc": "y"}]}))
    assert len(found) == 1 and f"can also be opened through {kind}" in found[0]


def test_empty_lists_of_other_keys_are_well(fleet: Fleet) -> None:
    found = header(fleet, lambda sops: sops.update(kms=[], gcp_kms=[], azure_kv=[], hc_vault=[], pgp=[], hckms=None))
    assert found == []


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (lambda s: s.update(shamir_threshold=2), "shamir_threshold: is not supported"),
        (lambda s: s.update(age="age1x"), "sops.age: is not a list"),
        (lambda s: s.update(age=["x"]), "age[0].recipient: is not an age recipient"),
        (lambda s: s.update(mac=s["mac"] + "\n"), "sops.mac: is not well formed"),
        (lambda s: s.pop("lastmodified"), "sops.lastmodified: is missing"),
    ],
)
def test_a_header_that_is_damaged(fleet: Fleet, change: Callable[[Any], object], wanted: str) -> None:
    assert any(wanted in problem for problem in header(fleet, change))


def test_a_time_without_quotes_is_refused_as_sops_refuses_it(fleet: Fleet) -> None:
    """Some YAML formatters take the quotes away. Earlier versions of sops read the file all the same; Flux does not."""
    path = fleet.bootstrap / "orders-db.yaml"
    text = path.read_text()
    path.write_text(re.sub(r'lastmodified: "(.*)"', r"lastmodified: \1", text))
    assert path.read_text() != text
    (problem,) = fleet.problems()
    assert "lastmodified is a time without quotes" in problem and "put it in quotes" in problem


def test_comments_and_quoted_texts_come_out_as_they_went_in(fleet: Fleet) -> None:
    fleet.add_entry("new", "a", "b", "c", "d", "e")
    body = (
        "stringData:\n  # a comment\n  a: 'yes' # another\n  b: '012'\n  c: \"2026-01-01\"\n"
        "  d: |-\n    ---\n    text # no comment\n  e: ''\n"
    )
    fleet.encrypt(NEW, manifest(body=body))
    assert fleet.problems() == []
    assert values(fleet) == {"a": b"yes", "b": b"012", "c": b"2026-01-01", "d": b"---\ntext # no comment", "e": b""}


def test_more_than_a_secret_can_hold_is_refused_without_a_key(fleet: Fleet) -> None:
    fleet.add_entry("new", "a", "b")
    fleet.encrypt(NEW, manifest(body=f"stringData: {{a: {'x' * 700_000}, b: {'y' * 400_000}}}"))
    (problem,) = fleet.keyless_problems()
    assert "has values of more than 1048576 bytes together" in problem


@pytest.mark.parametrize(
    ("size", "character", "wanted"),
    [(900_000, "x", ""), (1_045_000, "x", "bytes as JSON in Vault"), (300_000, "<", "bytes as JSON in Vault")],
)
def test_what_vault_can_never_store_is_refused_with_the_identity(
    fleet: Fleet, size: int, character: str, wanted: str
) -> None:
    fleet.add_entry("new", "a")
    fleet.encrypt(NEW, manifest(body=f"stringData: {{a: '{character * size}'}}"))
    assert [wanted in problem for problem in fleet.problems()] == ([True] if wanted else [])


def test_bytes_that_are_no_text_have_to_be_named_binary(fleet: Fleet) -> None:
    fleet.add_entry("new", "blob")
    body = f"data: {{blob: {base64.b64encode(bytes(range(256))).decode()}}}"
    fleet.encrypt(NEW, manifest(body=body))
    (problem,) = fleet.problems()
    assert f"{NEW}: data.blob: is not UTF-8 text. Fix: name blob in `binary`" in problem
    fleet.edit(f"secret-authority/{CLUSTER}/catalogue.yaml", lambda doc: doc["secrets"][-1].update(binary=["blob"]))
    assert fleet.problems() == [] and values(fleet) == {"blob": bytes(range(256))}


def test_a_pull_secret_that_is_not_json_is_refused(fleet: Fleet) -> None:
    fleet.add_entry("new", ".dockerconfigjson")
    body = "type: kubernetes.io/dockerconfigjson\nstringData: {.dockerconfigjson: '%s'}"
    fleet.encrypt(NEW, manifest(body=body % "{auths"))
    assert "is not JSON, as type kubernetes.io/dockerconfigjson needs it" in fleet.problems()[0]
    fleet.encrypt(NEW, manifest(body=body % '{"auths": {}}'))
    assert fleet.problems() == []


def test_the_configuration_of_sops_in_the_folder_is_nothing_that_flux_fetches(fleet: Fleet) -> None:
    def digest() -> str:
        return intent_digest(fleet.repository, f"secret-authority/{CLUSTER}/catalogue.yaml", [HOME])

    before = digest()
    (fleet.bootstrap / ".sops.yaml").write_text("creation_rules: []\n")
    assert fleet.problems() == [] and digest() == before
    (fleet.bootstrap / ".sops.yml").write_text("creation_rules: []\n")
    assert any("bootstrap/.sops.yml: kind: names no kind" in problem for problem in fleet.keyless_problems())


def test_a_kustomization_without_an_ending_is_part_of_the_intent(fleet: Fleet) -> None:
    fleet.add_entry("a-new", "password")
    fleet.encrypt(f"{HOME}/part/new.yaml", manifest())
    (fleet.bootstrap / "part/Kustomization").write_text("resources: [new.yaml]\nnamePrefix: a-\n")
    assert fleet.problems() == [] and values(fleet, "a-new") == {"password": b"text"}
    catalogue = f"secret-authority/{CLUSTER}/catalogue.yaml"
    before = intent_digest(fleet.repository, catalogue, [HOME])
    (fleet.bootstrap / "part/Kustomization").write_text("resources: [new.yaml]\nnamePrefix: b-\n")
    assert intent_digest(fleet.repository, catalogue, [HOME]) != before
