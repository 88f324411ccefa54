"""What people get wrong in Git or with keys: one clear message, before the first change, on a cluster at phase 2.

Each case breaks a copy of the fleet. The cluster keeps its Git; only what `pulumi up` reads is broken.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from secret_authority.clients.age import Identity, seal, write_identity
from secret_authority.clients.sops import sops_program
from tests.support.cluster_objects import difference
from tests.support.recorded_stack import RecordedStack

pytestmark = pytest.mark.cluster

STRANGER = Identity.generate()


@dataclass
class Copy:
    """A copy of the fleet to break."""

    stack: RecordedStack
    folder: Path

    @property
    def bootstrap(self) -> Path:
        return self.folder / self.stack.home / "bootstrap"

    @property
    def catalogue(self) -> Path:
        return self.folder / self.stack.intent_home / "catalogue.yaml"

    @property
    def trust(self) -> Path:
        return self.folder / "root-of-trust.yaml"

    def recipients(self) -> list[str]:
        root, cluster = self.stack.identities()
        return [root.recipient, cluster.recipient]

    def encrypt_again(self, name: str, recipients: list[str]) -> None:
        """Encrypt a file to other recipients, with sops and the root identity."""
        file = self.bootstrap / f"{name}.yaml"
        key = {"SOPS_AGE_KEY_FILE": str(self.stack.root_identity), "HOME": "/nonexistent", "PATH": "/usr/bin:/bin"}
        command = [sops_program(), "rotate", "--in-place"]
        present = yaml.safe_load(file.read_text())["sops"]["age"]
        for recipient in {entry["recipient"] for entry in present} - set(recipients):
            command += ["--rm-age", recipient]
        for recipient in set(recipients) - {entry["recipient"] for entry in present}:
            command += ["--add-age", recipient]
        subprocess.run([*command, str(file)], env=key, check=True, capture_output=True)

    def edit(self, file: Path, old: str, new: str) -> None:
        """Replace the one or first place where `old` stands, without sops."""
        text = file.read_text()
        assert old in text, f"{file.name} has no {old!r}"
        file.write_text(text.replace(old, new, 1))

    def edit_catalogue(self, change: Callable[[list[dict[str, object]]], None]) -> None:
        content = yaml.safe_load(self.catalogue.read_text())
        change(content["secrets"])
        self.catalogue.write_text(yaml.safe_dump(content, sort_keys=False))


@dataclass(frozen=True)
class Case:
    """How to break the copy, and what must be said: `says` holds file, field and fix."""

    name: str
    break_it: Callable[[Copy], object]
    says: tuple[str, ...]
    # Whether the root holder is there. Without an identity only names and headers can be checked.
    root: bool = False
    settings: dict[str, object] = field(default_factory=dict)
    # Whether it runs with every change. The rules themselves are tested without a node.
    always: bool = False


def retire(copy: Copy) -> None:
    copy.encrypt_again("orders-db", [*copy.recipients(), STRANGER.recipient])
    text = copy.trust.read_text().rstrip()
    entry = f"retired:\n  - {{recipient: {STRANGER.recipient}, retired: 2026-01-01, reason: left the team}}\n"
    copy.trust.write_text(f"{text}\n{entry}")


def rename(copy: Copy) -> None:
    """A rename in the clear, with a catalogue that fits: only the MAC tells."""
    copy.edit(copy.bootstrap / "dns-token.yaml", "name: dns-token", "name: dns-other")
    copy.edit(copy.catalogue, "secret: dns-token, keys", "secret: dns-other, keys")


def damage(copy: Copy) -> None:
    file = copy.bootstrap / "cache-auth.yaml"
    found = re.search(r"password: ENC\[AES256_GCM,data:(.)", file.read_text())
    assert found
    other = "A" if found[1] != "A" else "B"
    copy.edit(file, found[0], f"{found[0][:-1]}{other}")


def swap(copy: Copy) -> None:
    """Username and password of one file change places: each is sound, but bound to its key."""
    file = copy.bootstrap / "billing-db.yaml"
    text = file.read_text()
    values = re.findall(r"ENC\[AES256_GCM,data:[^\]]+,type:str\]", text.split("sops:")[0])
    file.write_text(text.replace(values[0], "@").replace(values[1], values[0]).replace("@", values[1]))


def add_in_the_clear(copy: Copy) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "plain", "namespace": "bootstrap-data"}}
    (copy.bootstrap / "plain.yaml").write_text(yaml.safe_dump({**secret, "data": {"password": "Y2FuYXJ5"}}))


def consume_a_target(copy: Copy) -> None:
    """A consumer with the place of another entry's bootstrap Secret."""

    def change(secrets: list[dict[str, object]]) -> None:
        (entry,) = [secret for secret in secrets if secret["name"] == "billing-db"]
        entry["consumers"] = [
            {"namespace": "bootstrap-data", "secret": "orders-db", "keys": {"username": "username"}},
        ]

    copy.edit_catalogue(change)


def drop_entry(copy: Copy) -> None:
    copy.edit_catalogue(lambda secrets: secrets.remove(next(s for s in secrets if s["name"] == "edge-tls")))


def foreign_seal(copy: Copy) -> None:
    """The sealed identity of another cluster in the place of this one's."""
    root, _ = copy.stack.identities()
    (copy.folder / copy.stack.home / "identity.age").write_bytes(seal(STRANGER, [root.recipient]))


CASES = [
    Case(
        "retired recipient can still read",
        retire,
        (
            "{home}/bootstrap/orders-db.yaml: sops.age: is still readable by the retired recipient "
            + STRANGER.recipient,
            "then `sops rotate --in-place {home}/bootstrap/orders-db.yaml`, then give the secret a new value",
        ),
    ),
    Case(
        "recipient missing",
        lambda copy: copy.encrypt_again("orders-db", copy.recipients()[:1]),
        (
            "{home}/bootstrap/orders-db.yaml: sops.age: is not readable by cluster {cluster} (age1",
            "Fix: run `sops updatekeys {home}/bootstrap/orders-db.yaml`",
        ),
    ),
    Case(
        "root recipient missing",
        lambda copy: copy.encrypt_again("orders-db", copy.recipients()[1:]),
        ("{home}/bootstrap/orders-db.yaml: sops.age: is not readable by root holder example (age1",),
    ),
    Case(
        "unknown recipient",
        lambda copy: copy.encrypt_again("orders-db", [*copy.recipients(), STRANGER.recipient]),
        (
            "{home}/bootstrap/orders-db.yaml: sops.age: is readable by " + STRANGER.recipient,
            "which root-of-trust.yaml does not name. Fix: run `sops updatekeys",
        ),
    ),
    Case(
        "rule for new files names others",
        lambda copy: copy.edit(copy.folder / ".sops.yaml", copy.recipients()[0], STRANGER.recipient),
        (
            ".sops.yaml: creation_rules[0].age: does not name the recipients of root-of-trust.yaml",
            "Fix: set it to age1",
        ),
    ),
    Case(
        "damaged ciphertext",
        damage,
        ("{home}/bootstrap/cache-auth.yaml: sops: cannot be decrypted", "its ciphertext is damaged", "Fix: restore"),
        root=True,
        always=True,
    ),
    Case(
        "values that changed places",
        swap,
        ("{home}/bootstrap/billing-db.yaml: sops: cannot be decrypted", "its ciphertext is damaged", "Fix: restore"),
        root=True,
    ),
    Case(
        "renamed in the clear",
        rename,
        (
            "{home}/bootstrap/dns-token.yaml: sops: the MAC does not fit: the file was changed without sops",
            "Fix: restore the file from Git, or edit it with sops",
        ),
        root=True,
    ),
    Case(
        "MAC removed",
        lambda copy: copy.edit(copy.bootstrap / "dns-token.yaml", "    mac: ENC", "    other: ENC"),
        ("{home}/bootstrap/dns-token.yaml: sops.mac: is missing", "Fix: encrypt the file again with sops"),
    ),
    Case(
        "Secret in the clear",
        add_in_the_clear,
        (
            "{home}/bootstrap/plain.yaml: data: is a Secret in the clear",
            "Fix: run `sops encrypt --in-place {home}/bootstrap/plain.yaml`, then give the secret a new value",
        ),
    ),
    Case(
        "file without an entry",
        drop_entry,
        (
            "{home}/bootstrap/edge-tls.yaml: metadata: Secret bootstrap-edge/edge-tls is not in the catalogue",
            "Fix: add an entry of class bootstrap to {intent_home}/catalogue.yaml",
        ),
    ),
    Case(
        "entry without a file",
        lambda copy: (copy.bootstrap / "edge-tls.yaml").unlink(),
        (
            "{intent_home}/catalogue.yaml: secrets[edge-tls].bootstrap: no encrypted file holds",
            "Secret bootstrap-edge/edge-tls",
            "Fix: add the encrypted Secret to the bootstrap folder, or remove the entry",
        ),
    ),
    Case(
        "key that the file lacks",
        lambda copy: copy.edit(
            copy.catalogue, "secret: dns-token, keys: [token]", "secret: dns-token, keys: [token, id]"
        ),
        ("{intent_home}/catalogue.yaml: secrets[dns-token].bootstrap.keys: {home}/bootstrap/dns-token.yaml has no id",),
    ),
    Case(
        "two files, one target",
        lambda copy: shutil.copy(copy.bootstrap / "dns-token.yaml", copy.bootstrap / "dns-token-again.yaml"),
        ("bootstrap-edge/dns-token", "{home}/bootstrap/dns-token-again.yaml", "Fix:"),
    ),
    Case(
        "consumer in the place of a bootstrap Secret",
        consume_a_target,
        ("{intent_home}/catalogue.yaml", "bootstrap-data/orders-db", "Fix:"),
    ),
    Case(
        "encrypted file that is no YAML",
        lambda copy: (copy.bootstrap / "dns-token.yaml").write_text("data: [password\n  token: x"),
        ("{home}/bootstrap/dns-token.yaml: line 2, column", "is not valid YAML. Fix: correct the syntax there"),
    ),
    Case(
        "catalogue that is no YAML",
        lambda copy: copy.catalogue.write_text("secrets: ["),
        ("{intent_home}/catalogue.yaml: line", "is not valid YAML. Fix: correct the syntax there"),
    ),
    Case(
        "unknown field in the catalogue",
        lambda copy: copy.edit(copy.catalogue, "owner: team-orders", "ownr: team-orders"),
        ("{intent_home}/catalogue.yaml: secrets", "ownr", "Fix:"),
    ),
    Case(
        "root of trust without root recipients",
        lambda copy: copy.trust.write_text("apiVersion: secret-authority.dev/v1\nkind: RootOfTrust\nroot: []\n"),
        ("root-of-trust.yaml: root:", "Fix: see docs/root-of-trust.md"),
    ),
    Case(
        "identity of another cluster",
        foreign_seal,
        (
            "{home}/identity.age: holds the identity of " + STRANGER.recipient + ", but root-of-trust.yaml names age1",
            "Fix: correct the recipient of the cluster there, or restore the identity file from Git",
        ),
        root=True,
    ),
    Case(
        "cluster that the root of trust lacks",
        lambda copy: None,
        ("root-of-trust.yaml: clusters: has no cluster elsewhere. Fix: run `secret-authority cluster new elsewhere`",),
        settings={"cluster": "elsewhere"},
    ),
    Case(
        "no checkout",
        lambda copy: shutil.rmtree(copy.folder),
        ("secret-authority:repositoryPath:", "is not a directory. Fix: set it to a checkout of the Git repository"),
    ),
]


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.name, marks=() if case.always else pytest.mark.nightly) for case in CASES]
)
def test_bad_repository(built: RecordedStack, tmp_path: Path, case: Case) -> None:
    copy = Copy(built, tmp_path / "fleet")
    shutil.copytree(built.fleet, copy.folder)
    before = built.objects.snapshot()
    case.break_it(copy)
    run = built.reach(2, root=case.root, repositoryPath=copy.folder, **case.settings)
    names = {"home": built.home, "intent_home": built.intent_home, "cluster": built.name}
    run.refused(*(text.format(**names) for text in case.says))
    assert "Traceback" not in run.output
    assert difference(before, built.objects.snapshot()) == []


def stranger(folder: Path) -> Path:
    write_identity(STRANGER, folder / "key.age")
    return folder / "key.age"


def readable_by_all(folder: Path) -> Path:
    stranger(folder).chmod(0o644)
    return folder / "key.age"


def no_identity(folder: Path) -> Path:
    key = folder / "key.age"
    key.touch(0o600)
    key.write_text("AGE-SECRET-KEY-1NOTAKEY\n")
    return key


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            stranger,
            f"identity.age: cannot be opened by the given root identity ({STRANGER.recipient}). "
            "Fix: give the identity of one of the root recipients in root-of-trust.yaml",
        ),
        pytest.param(
            readable_by_all,
            "key.age: can be read by others than its owner. Fix: chmod 600",
            marks=pytest.mark.nightly,
        ),
        pytest.param(
            no_identity,
            "key.age: is no age identity file. Fix: give the file that `secret-authority root new` wrote",
            marks=pytest.mark.nightly,
        ),
        pytest.param(
            lambda folder: folder / "key.age",
            "key.age: cannot be read: No such file or directory. Fix: check the path",
            marks=pytest.mark.nightly,
        ),
    ],
    ids=["of someone else", "readable by all", "no identity", "missing"],
)
def test_bad_root_identity(built: RecordedStack, tmp_path: Path, make: Callable[[Path], Path], says: str) -> None:
    before = built.objects.snapshot()
    run = built.reach(2, root=make(tmp_path)).refused(says)
    assert STRANGER.secret not in run.output
    assert "NOTAKEY" not in run.output
    assert difference(before, built.objects.snapshot()) == []


def test_the_unbroken_fleet_passes(built: RecordedStack, tmp_path: Path) -> None:
    """The cases above fail for what they break, not for being a copy."""
    shutil.copytree(built.fleet, tmp_path / "fleet")
    built.reach(2, "--expect-no-changes", root=True, repositoryPath=tmp_path / "fleet").passed()
