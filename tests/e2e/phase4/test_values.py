"""Values and types on a real node: what a person or Git gives is what a pod reads, byte for byte.

In the same catalogue, with the same `up`: a certificate that is issued inside, and a sender that has it issued again.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.kit.pod_security import RESTRICTED_CONTAINER, RESTRICTED_POD_WITH_VOLUMES
from secret_authority.clients.sops import sops_program
from secret_authority.engine.tls.ca import Pair, issue, new_ca
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
# Reports an event as a provider does, the same one twice, then one that it did not sign.
HOOK = """
import base64, hashlib, hmac, json, pathlib, time, urllib.error, urllib.request
def send(event, key):
    body, stamp = json.dumps({"secret": "web-tls", "why": "found in a public repository"}).encode(), int(time.time())
    signature = base64.b64encode(hmac.new(key, f"{event}.{stamp}.".encode() + body, hashlib.sha256).digest()).decode()
    headers = {"webhook-id": event, "webhook-timestamp": str(stamp), "webhook-signature": f"v1,{signature}"}
    url = "http://secret-authority-events.secret-authority.svc/v1/events/scanner"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
key = pathlib.Path("/s/hook/key").read_bytes()
print(json.dumps([send("evt-1", key), send("evt-1", key), send("evt-2", b"another key of enough bytes")]))
"""
TLS_KEYS = ["tls.crt", "tls.key", "ca.crt"]


@pytest.fixture(scope="module")
def checkout(altered: RecordedStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkout of the team's repository. Afterwards Git is as it was."""
    with altered.copied_fleet(tmp_path_factory.mktemp("values")) as folder:
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


def pod(name: str, image: str, program: str, secrets: list[str]) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "automountServiceAccountToken": False,
            "restartPolicy": "Never",
            "securityContext": RESTRICTED_POD_WITH_VOLUMES,
            "containers": [
                {
                    "name": "values",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python3", "-c", program],
                    "securityContext": RESTRICTED_CONTAINER,
                    "volumeMounts": [{"name": name, "mountPath": f"/s/{name}", "readOnly": True} for name in secrets],
                }
            ],
            "volumes": [{"name": name, "secret": {"secretName": name, "defaultMode": 0o440}} for name in secrets],
        },
    }


def said_by(stack: RecordedStack, name: str, program: str, secrets: list[str]) -> Any:
    """What a pod with these Secrets prints, as JSON."""
    home, ended = "/api/v1/namespaces/shop/pods", ("Succeeded", "Failed")
    stack.objects.request("POST", home, pod(name, stack.engine_image, program, secrets))
    try:
        until(lambda: stack.objects.get(f"{home}/{name}")["status"]["phase"] in ended, "the pod has ended", 120)  # type: ignore[index]
        said = stack.objects.text(f"{home}/{name}/log").decode()
        assert (stack.objects.get(f"{home}/{name}") or {})["status"]["phase"] == "Succeeded", said
    finally:
        stack.objects.request("DELETE", f"{home}/{name}")
    return json.loads(said)


@dataclass(frozen=True)
class Values:
    """The stack with these values in Git and in Vault."""

    stack: RecordedStack
    wanted: Mapping[str, Mapping[str, bytes]]
    ca: Pair


@pytest.fixture(scope="module")
def values(altered: RecordedStack, checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Values:
    stack, tmp_path = altered, tmp_path_factory.mktemp("given")
    ca = new_ca("tests")
    pair = issue(ca, ["localhost"])
    tls = {"tls.crt": pair.certificate.encode(), "tls.key": pair.key.encode(), "ca.crt": ca.certificate.encode()}
    from_git = {f"k{number}": odd_value(number) for number in range(NUMBER)}
    entered = {f"k{number}": odd_value(NUMBER + number) for number in range(NUMBER)}
    files = {"store": bytes(range(256)), "key": KEY_FILE}
    ones = {f"one-{number}": value for number, value in enumerate(ONES)}
    hook = {"key": secrets.token_urlsafe(32).encode()}
    binary = lambda values: [key for key, value in values.items() if not is_text(value)]  # noqa: E731
    web = entry("web-tls", "internal", TLS_KEYS, rotator={"kind": "tls", "names": ["web.shop.svc"], "admin": "web-ca"})
    web["rotation"] = {"type": "time-based", "ttl": "720h", "rotate_before": "240h"}
    web["consumers"][0]["type"] = "kubernetes.io/tls"
    entries = [
        entry("from-git", "bootstrap", list(from_git), binary=binary(from_git)),
        entry("serve-tls", "bootstrap", list(tls)),
        entry("pull", "bootstrap", [".dockerconfigjson"]),
        entry("generated", "bootstrap", [*ENV, *files], binary=binary(files)),
        entry("entered", "external", list(entered), binary=binary(entered)),
        *(entry(name, "external", ["k"], binary=[] if is_text(value) else ["k"]) for name, value in ones.items()),
        entry("hook", "bootstrap", ["key"]),
        entry("web-ca", "bootstrap", ["tls.crt", "tls.key"], consumers=[]),
        web,
    ]
    catalogue = checkout / stack.intent_home / "catalogue.yaml"
    document = yaml.safe_load(catalogue.read_text())
    document["secrets"] += entries
    document["events"] = {"senders": [{"name": "scanner", "key": "hook", "secrets": ["web-tls"], "from": "shop"}]}
    catalogue.write_text(yaml.safe_dump(document, sort_keys=False))
    encrypt(stack, checkout, "from-git", from_git, "Opaque")
    encrypt(stack, checkout, "serve-tls", tls, "kubernetes.io/tls")
    encrypt(stack, checkout, "pull", {".dockerconfigjson": PULL}, "kubernetes.io/dockerconfigjson")
    encrypt(stack, checkout, "hook", hook, "Opaque")
    encrypt(stack, checkout, "web-ca", {"tls.crt": tls["ca.crt"], "tls.key": ca.key.encode()}, "Opaque")
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
    wanted["hook"] = hook
    wanted |= {name: {"k": value} for name, value in ones.items()}
    until(
        lambda: all(stack.objects.secret("shop", name) for name in wanted),
        lambda: f"all consumer Secrets: {[name for name in wanted if not stack.objects.secret('shop', name)]}",
        180,
    )
    return Values(stack, wanted, ca)


def test_values_of_both_ways_and_types_are_in_the_pod_as_they_went_in(values: Values) -> None:
    stack = values.stack
    types = {name: (stack.objects.secret("shop", name) or {})["type"] for name in ("serve-tls", "pull", "from-git")}
    assert types == {
        "serve-tls": "kubernetes.io/tls",
        "pull": "kubernetes.io/dockerconfigjson",
        "from-git": "Opaque",
    }
    found = said_by(stack, "values", PROGRAM, sorted(values.wanted))
    assert found.pop("tls") == "served"
    assert found == {
        f"{name}/{key}": hashlib.sha256(value).hexdigest()
        for name, entries in values.wanted.items()
        for key, value in entries.items()
    }


def web_tls(stack: RecordedStack) -> Pair:
    found = stack.objects.secret("shop", "web-tls")
    assert found is not None and found["type"] == "kubernetes.io/tls"
    return Pair(*(base64.b64decode(found["data"][key]).decode() for key in ("tls.crt", "tls.key")))


def rotated(stack: RecordedStack, generation: int) -> bool:
    """Whether the certificate is at this generation, and nothing is in flight."""
    found = stack.objects.get("/api/v1/namespaces/secret-authority/configmaps/rotation-status") or {}
    shown = json.loads(found["data"]["secrets"]).get("web-tls", {})
    return bool(shown.get("state") == "idle" and shown.get("generation") == generation and shown["result"] == "done")


def test_a_certificate_is_issued_inside_and_again_when_a_sender_asks(values: Values) -> None:
    """The engine of rotation issues it, since a generated first value is none; a signed message has it issued again."""
    stack = values.stack
    until(lambda: rotated(stack, 1), "the first certificate is issued", 120)
    first = web_tls(stack)
    assert first.issued_by(values.ca.parsed) and first.covers(["web.shop.svc"])
    assert said_by(stack, "hook", HOOK, ["hook"]) == [202, 200, 401]
    until(lambda: rotated(stack, 2), "the second certificate is issued", 120)
    second = web_tls(stack)
    assert second.issued_by(values.ca.parsed) and second.covers(["web.shop.svc"])
    assert second.parsed.serial_number != first.parsed.serial_number and second.key != first.key
    history = subprocess.run(
        [sys.executable, "-m", "cli.main", "rotation", "history", "web-tls", f"--kubeconfig={stack.kubeconfig}"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert history.stdout.count("rotation (event): scanner: found in a public repository") == 1
