"""Secrets of a secretGenerator: read as kustomize makes them once Flux has decrypted the files, or refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from secret_authority.repository.bootstrap.encrypted_secrets import ciphertext_digest, read_encrypted
from secret_authority.repository.bootstrap.opened_secrets import open_all
from tests.support.fleets import CLUSTER, Fleet, new_fleet

HOME = f"clusters/{CLUSTER}/bootstrap"
KUSTOMIZATION = f"{HOME}/app/kustomization.yaml"
CLEAR = "CANARY-S3cr3tPlainText"


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    """The folder `app` makes Secrets of files; a rule of .sops.yaml encrypts them whole."""
    made = new_fleet(tmp_path)
    rules = yaml.safe_load((made.repository / ".sops.yaml").read_text())
    (rule, *_) = rules["creation_rules"]
    whole = {"path_regex": f"^{HOME}/app/[^/]*$", "age": rule["age"]}
    (made.repository / ".sops.yaml").write_text(yaml.safe_dump({"creation_rules": [whole, rule]}, sort_keys=False))
    return made


def generator(fleet: Fleet, entry: str, name: str = "app", extra: str = "") -> None:
    text = f"secretGenerator:\n- name: {name}\n  namespace: bootstrap-data\n"
    text += "".join(f"  {line}\n" for line in entry.splitlines()) + extra
    path = fleet.repository / KUSTOMIZATION
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


PLAIN_NAME = "options: {disableNameSuffixHash: true}"


def values(fleet: Fleet, name: str = "app") -> dict[str, bytes]:
    return open_all(fleet.repository, [HOME], [fleet.identity().secret])["bootstrap-data", name]


def test_files_and_env_files_of_a_generator_are_read_to_the_byte(fleet: Fleet) -> None:
    content = bytes(range(256))
    fleet.encrypt(f"{HOME}/app/store.p12", content, kind="binary")
    fleet.encrypt(f"{HOME}/app/app.env", '# note\nA=b c\nQ="q"\nE=\nN=a\\nb\n', kind="dotenv")
    generator(fleet, f"files: [keystore=store.p12]\nenvs: [app.env]\n{PLAIN_NAME}")
    fleet.add_entry("app", "keystore", "A", "Q", "E", "N", binary=["keystore"])
    assert fleet.problems() == []
    assert values(fleet) == {"keystore": content, "A": b"b c", "Q": b'"q"', "E": b"", "N": b"a\\nb"}
    assert fleet.read().file_of("app").file == KUSTOMIZATION


def test_a_pull_secret_of_a_generator(fleet: Fleet) -> None:
    text = '{"auths": {"example.org": {"auth": "Z3LDvMOfZTpw"}}}'
    fleet.encrypt(f"{HOME}/app/config.json", text, kind="json")
    kind = "kubernetes.io/dockerconfigjson"
    generator(fleet, f"files: [.dockerconfigjson=config.json]\ntype: {kind}\n{PLAIN_NAME}")
    fleet.add_entry("app", ".dockerconfigjson")
    assert fleet.problems() == []
    assert json.loads(values(fleet)[".dockerconfigjson"]) == json.loads(text)
    assert fleet.read().file_of("app").type == kind


def test_the_name_must_not_change_with_the_values(fleet: Fleet) -> None:
    fleet.encrypt(f"{HOME}/app/app.env", "A=b\n", kind="dotenv")
    generator(fleet, "envs: [app.env]")
    (problem,) = fleet.keyless_problems()
    assert problem.startswith(f"{KUSTOMIZATION}: secretGenerator[0].options.disableNameSuffixHash: is not true")
    assert "Fix: set it to true" in problem
    extra = "generatorOptions: {disableNameSuffixHash: true}\nnamePrefix: my-\n"
    generator(fleet, "envs: [app.env]", extra=extra)
    fleet.add_entry("my-app", "A")
    assert fleet.problems() == []


def test_what_stays_in_the_clear_is_refused(fleet: Fleet) -> None:
    env = f"{HOME}/app/app.env"
    fleet.encrypt(env, "A=b\n", kind="dotenv")
    generator(fleet, f"envs: [app.env]\nliterals: [B={CLEAR}]\n{PLAIN_NAME}")
    (problem,) = fleet.keyless_problems()
    assert f"{KUSTOMIZATION}: secretGenerator[0].literals: are in the clear" in problem and CLEAR not in problem
    generator(fleet, f"envs: [app.env]\n{PLAIN_NAME}")
    fleet.encrypt(env, f"A=b\nPASSWORD={CLEAR}\n", "--encrypted-regex", "^A$", kind="dotenv")
    (problem,) = fleet.keyless_problems()
    assert f"{env}: PASSWORD: is in the clear in an encrypted file" in problem and CLEAR not in problem
    (fleet.repository / env).write_text(f"A={CLEAR}\n")
    (problem,) = fleet.keyless_problems()
    assert f"{env}: sops: is not encrypted as dotenv" in problem and CLEAR not in problem


def test_a_file_that_flux_decrypts_in_another_format_is_refused(fleet: Fleet) -> None:
    file = f"{HOME}/app/a.json"
    generator(fleet, f"files: [a.json]\n{PLAIN_NAME}")
    fleet.encrypt(file, b"\xff\xfe", kind="binary")
    (problem,) = fleet.keyless_problems()
    assert f"{file}: data: was encrypted as binary, and by its key Flux would decrypt it as JSON" in problem
    path = fleet.encrypt(file, '{"a": "b"}', kind="json")
    path.write_text(json.dumps(json.loads(path.read_text()), separators=(",", ":")))
    (problem,) = fleet.keyless_problems()
    assert f"{file}: sops: is not encrypted as json, as Flux would decrypt it" in problem
    fleet.encrypt(file, '{"a": 12345678901234567890}', kind="json")
    (problem,) = fleet.keyless_problems()
    assert f"{file}: a: is encrypted as float" in problem and "12345" not in problem
    generator(fleet, f"files: [conf=a.json, a.ini]\n{PLAIN_NAME}")
    (fleet.repository / f"{HOME}/app/a.ini").write_text("[a]\nb=c\n")
    assert any(
        "a.ini is ini, which sops writes in more than one way" in problem for problem in fleet.keyless_problems()
    )


def test_recipients_options_and_mac_of_every_file_count(fleet: Fleet) -> None:
    one = fleet.encrypt(f"{HOME}/app/one", b"1", kind="binary")
    two = fleet.encrypt(f"{HOME}/app/two", b"2", kind="binary")
    generator(fleet, f"files: [one, two]\n{PLAIN_NAME}")
    fleet.add_entry("app", "one", "two")
    assert fleet.problems() == []
    good = two.read_text()
    root = fleet.root().recipient
    fleet.encrypt(f"{HOME}/app/two", b"2", "--age", root, kind="binary")
    (problem,) = fleet.keyless_problems()
    assert f"{HOME}/app/two: sops.age: is not readable by cluster dev" in problem
    document = json.loads(good)
    document["sops"]["hckms"] = [{"key_id": "a"}]
    two.write_text(json.dumps(document, indent="\t"))
    assert any(
        f"{HOME}/app/two: sops: can also be opened through hckms" in problem for problem in fleet.keyless_problems()
    )
    two.write_text(good.replace('"data": "ENC', f'"data": "{json.loads(one.read_text())["data"]}", "x": "ENC'))
    assert any(f"{HOME}/app/two" in problem for problem in fleet.problems())
    document = json.loads(good)
    document["data"] = json.loads(one.read_text())["data"]
    two.write_text(json.dumps(document, indent="\t"))
    (problem,) = fleet.problems()
    assert problem.startswith(f"{HOME}/app/two: sops: ")


def test_the_rule_for_the_next_file_is_asked_of_sops_in_the_format_of_the_file(fleet: Fleet) -> None:
    fleet.encrypt(f"{HOME}/app/app.env", "A=b\n", kind="dotenv")
    generator(fleet, f"envs: [app.env]\n{PLAIN_NAME}")
    fleet.add_entry("app", "A")
    assert fleet.keyless_problems() == []
    fleet.edit(".sops.yaml", lambda doc: doc["creation_rules"][0].update(encrypted_regex="^(data|stringData)$"))
    (problem,) = fleet.keyless_problems()
    assert f".sops.yaml: creation_rules[0]: makes files like {HOME}/app/app.env that are refused here" in problem
    assert f"Fix: write a rule above it for {HOME}/app/app.env" in problem
    fleet.edit(".sops.yaml", lambda doc: doc["creation_rules"][0].update(path_regex=r"\.yaml$"))
    fleet.edit(".sops.yaml", lambda doc: doc["creation_rules"][1].update(path_regex=r"\.yaml$"))
    (problem,) = fleet.keyless_problems()
    assert f".sops.yaml: creation_rules: has no rule for {HOME}/app/app.env" in problem


def test_a_value_that_flux_would_decrypt_again_is_refused(fleet: Fleet) -> None:
    fleet.encrypt(f"{HOME}/app/inner", b"[sops]\nnot a file of sops\n", kind="binary")
    generator(fleet, f"files: [inner]\n{PLAIN_NAME}")
    fleet.add_entry("app", "inner")
    (problem,) = fleet.problems()
    assert f"{HOME}/app/inner: inner: looks like a file of sops, which Flux decrypts again" in problem


def test_long_lines_of_an_env_file_are_refused_as_kustomize_drops_them(fleet: Fleet) -> None:
    fleet.encrypt(f"{HOME}/app/app.env", "A=" + "x" * 65_533 + "\nB=c\n", kind="dotenv")
    generator(fleet, f"envs: [app.env]\n{PLAIN_NAME}")
    (problem,) = fleet.keyless_problems()
    assert f"{HOME}/app/app.env: A: is longer than the lines that kustomize reads" in problem


def test_the_digest_of_the_ciphertext_is_that_of_the_values_alone(fleet: Fleet) -> None:
    env = f"{HOME}/app/app.env"
    path = fleet.encrypt(env, "A=b\n", kind="dotenv")
    generator(fleet, f"envs: [app.env]\n{PLAIN_NAME}")

    def digest() -> str:
        (found,) = [each for each in read_encrypted(fleet.repository, [HOME]).found if each.name == "app"]
        return ciphertext_digest(fleet.repository, found)

    before = digest()
    path.write_text(path.read_text().replace("sops_lastmodified=20", "sops_lastmodified=21"))
    assert digest() == before
    fleet.encrypt(env, "A=c\n", kind="dotenv")
    assert digest() != before


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("A", "line 1: is not KEY=value"),
        ("A=ENC[AES256_GCM,data:YQ==,iv:YQ==,tag:YQ==,type:int]", "A: is encrypted as int"),
        ("A B=", "line 1: has a key that a Secret may not have"),
        ("A=\nA=", "A: is there twice"),
        ("A=\r", "has an end of line that is no line feed"),
        ("sops_age=x", "sops.age: is not a list"),
    ],
)
def test_env_files_that_were_edited_by_hand(fleet: Fleet, line: str, wanted: str) -> None:
    path = fleet.encrypt(f"{HOME}/app/app.env", "B=c\n", kind="dotenv")
    generator(fleet, f"envs: [app.env]\n{PLAIN_NAME}")
    path.write_text(f"{line}\n{path.read_text()}")
    assert any(problem.startswith(f"{HOME}/app/app.env: {wanted}") for problem in fleet.keyless_problems()), (
        fleet.keyless_problems()
    )
