"""Values and types on a real node: what a person or Git gives is what a pod reads, byte for byte."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.kit.pod_security import RESTRICTED_CONTAINER, RESTRICTED_POD_WITH_VOLUMES
from secret_authority.clients.sops import sops_program
from secret_authority.engine.tls.ca import issue, new_ca
from tests.support.odd_values import is_text, odd_value
from tests.support.recorded_stack import RecordedStack
from tests.support.waiting import until
from toolchain.local_stack import CHECKOUT

pytestmark = pytest.mark.cluster

NUMBER = 110  # of values by each way
KEY_FILE = b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----\n"
ONES = (KEY_FILE, b"line1\r\nline2\rx\r\n", b"nul\x00nul", b"\xff\xfe\x00pw\xe9", "grüße".encode(), b"\n")
ENV = {"PLAIN": "a b=c", "QUOTED": '"q"', "ODD": " $HOME #x \\\\n ", "TEXT": "grüße 😀"}
PULL = b'{"auths": {"registry.example.org": {"auth": "dXNlcjpwYXNz"}}}'
# Hashes every file, and serves TLS with the mounted pair to a client that trusts it.
PROGRAM = """
import hashlib, json, pathlib, socket, ssl, threading
files = [p for p in sorted(pathlib.Path("/s").rglob("*")) if p.is_file() and ".." not in str(p)]
found = {str(p.relative_to("/s")): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
server.load_cert_chain("/s/serve-tls/tls.crt", "/s/serve-tls/tls.key")
listener = socket.create_server(("127.0.0.1", 0))
def serve():
    with server.wrap_socket(listener.accept()[0], server_side=True) as one:
        one.sendall(b"served")
threading.Thread(target=serve, daemon=True).start()
client = ssl.create_default_context(cadata=pathlib.Path("/s/serve-tls/ca.crt").read_text())
with client.wrap_socket(socket.create_connection(listener.getsockname()), server_hostname="localhost") as one:
    found["tls"] = one.recv(6).decode()
print(json.dumps(found))
"""


@pytest.fixture
def checkout(altered: RecordedStack, tmp_path: Path) -> Iterator[Path]:
    """A checkout of the team's repository. Afterwards Git is as it was."""
    with altered.copied_fleet(tmp_path) as folder:
        yield folder


def entry(name: str, secret_class: str, keys: list[str], **more: Any) -> dict[str, Any]:
    made = {
        "name": name,
        "class": secret_class,
        "owner": "tests",
        "vault": {"datasource": "values", "consumer": name},
        "consumers": [{"namespace": "shop", "secret": name, "keys": {key: key for key in keys}}],
        "rotation": {"type": "static"},
        **more,
    }
    if secret_class == "bootstrap":
        made["bootstrap"] = {"namespace": "bootstrap-data", "secret": name, "keys": keys}
    return made


def encrypt(stack: RecordedStack, checkout: Path, name: str, values: Mapping[str, bytes], kind: str) -> None:
    manifest = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": "bootstrap-data"},
        "type": kind,
        "data": {key: base64.b64encode(value).decode() for key, value in values.items()},
    }
    file = f"{stack.home}/bootstrap/{name}.yaml"
    done = subprocess.run(
        [sops_program(), "encrypt", "--filename-override", file, "--input-type", "yaml", "/dev/stdin"],
        cwd=checkout,
        input=yaml.safe_dump(manifest).encode(),
        capture_output=True,
        check=True,
    )
    (checkout / file).write_bytes(done.stdout)


def generate(
    stack: RecordedStack, checkout: Path, name: str, env: Mapping[str, str], files: Mapping[str, bytes]
) -> None:
    """A secretGenerator over an env file and binary files, encrypted whole by a rule of their own."""
    folder = f"{stack.home}/bootstrap/{name}"
    rules = yaml.safe_load((checkout / ".sops.yaml").read_text())
    age = next(rule["age"] for rule in rules["creation_rules"] if stack.home in rule["path_regex"])
    rules["creation_rules"].insert(0, {"path_regex": f"^{folder}/[^/]*$", "age": age})
    (checkout / ".sops.yaml").write_text(yaml.safe_dump(rules, sort_keys=False))
    (checkout / folder).mkdir()
    lines = "".join(f"{key}={value}\n" for key, value in env.items())
    for file, content, kind in [
        ("values.env", lines.encode(), "dotenv"),
        *((key, value, "binary") for key, value in files.items()),
    ]:
        types = ["--input-type", kind, "--output-type", kind]
        done = subprocess.run(
            [sops_program(), "encrypt", "--filename-override", f"{folder}/{file}", *types, "/dev/stdin"],
            cwd=checkout,
            input=content,
            capture_output=True,
            check=True,
        )
        (checkout / folder / file).write_bytes(done.stdout)
    made = {"name": name, "namespace": "bootstrap-data", "envs": ["values.env"], "files": list(files)}
    kustomization = {"secretGenerator": [{**made, "options": {"disableNameSuffixHash": True}}]}
    (checkout / folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))


def enter(stack: RecordedStack, checkout: Path, name: str, file: Path | None, given: bytes = b"") -> None:
    command = [sys.executable, "-m", "cli.main", "enter", "--repository", str(checkout), "--cluster", stack.name]
    by_file = ["--file", str(file)] if file else []
    done = subprocess.run(
        [*command, "--kubeconfig", str(stack.kubeconfig), *by_file, name],
        cwd=CHECKOUT,
        input=given,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def pod(image: str, secrets: list[str]) -> dict[str, Any]:
    return {
        "metadata": {"name": "values", "namespace": "shop"},
        "spec": {
            "automountServiceAccountToken": False,
            "restartPolicy": "Never",
            "securityContext": RESTRICTED_POD_WITH_VOLUMES,
            "containers": [
                {
                    "name": "values",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python3", "-c", PROGRAM],
                    "securityContext": RESTRICTED_CONTAINER,
                    "volumeMounts": [{"name": name, "mountPath": f"/s/{name}", "readOnly": True} for name in secrets],
                }
            ],
            "volumes": [{"name": name, "secret": {"secretName": name, "defaultMode": 0o440}} for name in secrets],
        },
    }


def test_values_of_both_ways_and_types_are_in_the_pod_as_they_went_in(
    altered: RecordedStack, checkout: Path, tmp_path: Path
) -> None:
    stack = altered
    ca = new_ca("tests")
    pair = issue(ca, ["localhost"])
    tls = {"tls.crt": pair.certificate.encode(), "tls.key": pair.key.encode(), "ca.crt": ca.certificate.encode()}
    from_git = {f"k{number}": odd_value(number) for number in range(NUMBER)}
    entered = {f"k{number}": odd_value(NUMBER + number) for number in range(NUMBER)}
    files = {"store": bytes(range(256)), "key": KEY_FILE}
    ones = {f"one-{number}": value for number, value in enumerate(ONES)}
    binary = lambda values: [key for key, value in values.items() if not is_text(value)]  # noqa: E731
    entries = [
        entry("from-git", "bootstrap", list(from_git), binary=binary(from_git)),
        entry("serve-tls", "bootstrap", list(tls)),
        entry("pull", "bootstrap", [".dockerconfigjson"]),
        entry("generated", "bootstrap", [*ENV, *files], binary=binary(files)),
        entry("entered", "external", list(entered), binary=binary(entered)),
        *(entry(name, "external", ["k"], binary=[] if is_text(value) else ["k"]) for name, value in ones.items()),
    ]
    catalogue = checkout / stack.intent_home / "catalogue.yaml"
    document = yaml.safe_load(catalogue.read_text())
    document["secrets"] += entries
    catalogue.write_text(yaml.safe_dump(document, sort_keys=False))
    encrypt(stack, checkout, "from-git", from_git, "Opaque")
    encrypt(stack, checkout, "serve-tls", tls, "kubernetes.io/tls")
    encrypt(stack, checkout, "pull", {".dockerconfigjson": PULL}, "kubernetes.io/dockerconfigjson")
    generate(stack, checkout, "generated", ENV, files)
    stack.publish(checkout)
    stack.set_up(4, repositoryPath=str(checkout), vault=stack.present_vault())

    mapping = tmp_path / "mapping.yaml"
    lines = [f"{key}: !!binary {base64.b64encode(value).decode()}\n" for key, value in entered.items()]
    mapping.write_text("".join(lines))
    enter(stack, checkout, "entered", mapping)
    for number, (name, value) in enumerate(ones.items()):
        file = tmp_path / name
        file.write_bytes(value)
        # Each by a file and by a pipe in turn.
        enter(stack, checkout, name, file if number % 2 else None, value)

    wanted = {"from-git": from_git, "entered": entered, "serve-tls": tls, "pull": {".dockerconfigjson": PULL}}
    wanted["generated"] = {key: value.encode() for key, value in ENV.items()} | files
    wanted |= {name: {"k": value} for name, value in ones.items()}
    secrets = sorted(wanted)
    until(
        lambda: all(stack.objects.secret("shop", name) for name in secrets),
        lambda: f"all consumer Secrets: {[name for name in secrets if not stack.objects.secret('shop', name)]}",
        180,
    )
    types = {name: (stack.objects.secret("shop", name) or {})["type"] for name in ("serve-tls", "pull", "from-git")}
    assert types == {
        "serve-tls": "kubernetes.io/tls",
        "pull": "kubernetes.io/dockerconfigjson",
        "from-git": "Opaque",
    }
    home = "/api/v1/namespaces/shop/pods"
    stack.objects.request("POST", home, pod(stack.engine_image, secrets))
    try:
        ended = ("Succeeded", "Failed")
        until(lambda: stack.objects.get(f"{home}/values")["status"]["phase"] in ended, "the pod has ended", 120)  # type: ignore[index]
        said = stack.objects.text(f"{home}/values/log").decode()
        assert (stack.objects.get(f"{home}/values") or {})["status"]["phase"] == "Succeeded", said
    finally:
        stack.objects.request("DELETE", f"{home}/values")
    found = json.loads(said)
    assert found.pop("tls") == "served"
    assert found == {
        f"{name}/{key}": hashlib.sha256(value).hexdigest()
        for name, values in wanted.items()
        for key, value in values.items()
    }
