"""No secret value, unseal share, identity or token of Vault is anywhere but in the Secrets of those who need it.

The search goes over a whole node after everything that the session did to it: handover, consumption, restarts,
new values, break-glass roots. It adds some history of its own, with every text known: a value entered by hand,
a `pulumi up` with the root holder, a root token by break-glass. A planted text proves of each place that it is
looked at. That Vault's data on disk is ciphertext is proved by an entry whose path is found there and whose
value is not.

Tokens of Vault are looked for by their shape as well, because nobody knows those of the past: the first root
token was revoked in memory. Not one may be found, not even one that has ended: most tokens here end within
minutes, and a place that shows the token of a past run shows the next one's while it works.
"""

from __future__ import annotations

import base64
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import pytest

from components.settings.stack import HOME
from secret_authority.access.vault_session import TOKEN_FILE
from tests.support import leak_values
from tests.support.canary import Canaries, Hit
from tests.support.leak_places import Texts, files, mounts, places, volume_folders, watched
from tests.support.leak_plants import TOKEN_MARK, Plant
from tests.support.recorded_stack import CHECKOUT, UP, RecordedStack
from tests.support.vault_tokens import TokenSearch, works
from tests.support.vault_way import broken_glass, vault_way
from tests.support.waiting import until

pytestmark = [
    pytest.mark.cluster,
    # A tunnel's thread may still write while its test has ended.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]

ENTERED = "payment-api"
ROTATED = ("orders-db", "session-key")
DATABASE_CLAIM = "data-orders-db"
JOBS = ("bootstrap-evidence", "runtime-authority-evidence")


@dataclass
class Scan:
    """What was looked for and found. `allowed` are pairs of a value's name and a Secret."""

    names: dict[str, bytes] = field(repr=False)
    allowed: set[tuple[str, str]]
    plant: Plant
    # Tokens that worked when they were made.
    ended: list[str] = field(repr=False)
    hits: list[Hit] = field(default_factory=list)
    places: set[str] = field(default_factory=set)
    tokens: TokenSearch = field(default_factory=TokenSearch)

    def found(self, place: str) -> set[tuple[str, str]]:
        return {(hit.name, hit.where) for hit in self.hits if hit.place == place and hit.name != "planted"}

    def planted(self, place: str) -> set[str]:
        return {hit.where for hit in self.hits if hit.place == place and hit.name == "planted"}


@pytest.fixture(scope="module")
def plant(searched: RecordedStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    with Plant.everywhere(searched, tmp_path_factory.mktemp("git")) as made:
        yield made


@pytest.fixture(scope="module")
def scan(searched: RecordedStack, plant: Plant, tmp_path_factory: pytest.TempPathFactory) -> Scan:
    """Makes history, then looks for every value in every place."""
    temporary = tmp_path_factory.mktemp("temporary")
    (temporary / "planted").write_text(plant.text)
    value, hidden = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    entering = enter(searched, value, plant, temporary)
    rotating = rotate(searched, plant, temporary)
    running, run_tokens = up(searched, plant, temporary)
    root_identity = searched.identities()[0].secret
    with broken_glass(searched.kubeconfig, tmp_path_factory.mktemp("way"), root_identity) as root:
        assert root.token is not None
        assert works(root, root.token)
        # Paths are in the clear on Vault's disk and in its audit logs.
        root.write(f"cubbyhole/{plant.name}/{plant.token}", {"value": hidden})
        in_vault, digest_key = leak_values.in_vault(root), leak_values.digest_key(root)
        ended = [root.token, *run_tokens]
    names = leak_values.named(
        in_vault,
        {f"{place} {key}": v for place, data in searched.wanted_values().items() for key, v in data.items()},
        leak_values.offline(searched),
        leak_values.own_keys(searched),
        digest_key,
        {f"token {number}": token.encode() for number, token in enumerate(ended)},
        {"entered": value.encode(), "hidden in Vault": hidden.encode()},
    )
    spelled = leak_values.spelled_in_catalogue(searched)
    names = {name: text for name, text in names.items() if text not in spelled}
    made = Scan(names, leak_values.allowed(searched, in_vault, names), plant, ended)
    on_disk = leak_values.database_login(searched, names)
    database = [*map(str, volume_folders(searched, DATABASE_CLAIM)), *mounts(searched, DATABASE_CLAIM)]
    canaries = Canaries({**names, "planted": plant.name.encode()})
    everywhere: dict[str, Texts] = places(searched) | {
        "Vault's audit log": chain(*map(files, volume_folders(searched, "audit-vault-"))),
        "Vault's data": chain(*map(files, volume_folders(searched, "data-vault-"))),
        "entering": entering,
        "rotating": rotating,
        "run": running,
        "temporary files": files(temporary),
    }
    begun = time.monotonic()
    for place, texts in everywhere.items():
        made.places.add(place)
        for hit in canaries.search(place, made.tokens.passing(place, texts)):
            # A database knows who may log in. It never had a password.
            if not (hit.name in on_disk and any(part in hit.where for part in database)):
                made.hits.append(hit)
    searched.measured.append(("search of every place at phase 4", time.monotonic() - begun))
    return made


def enter(stack: RecordedStack, value: str, plant: Plant, temporary: Path) -> Texts:
    """Enter a value by hand and await it at its consumer. What its process had and left, while it ran."""
    command = [sys.executable, "-m", "cli.main", "enter", "--repository", str(stack.fleet), "--cluster", stack.name]
    process = subprocess.Popen(
        [*command, "--kubeconfig", str(stack.kubeconfig), "--replace", ENTERED],
        cwd=CHECKOUT,
        env={**os.environ, "TMPDIR": str(temporary), "PLANTED": plant.text},
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdin is not None
    # The first look sends it and ends the input.
    process.stdin.write(value)
    seen = watched(process, temporary)
    stack.transcript.append(process.communicate()[0])
    assert process.returncode == 0, stack.transcript[-1]
    assert [path.name for path in temporary.iterdir()] == ["planted"]
    (consumer,) = next(secret.consumers for secret in leak_values.catalogued(stack) if secret.name == ENTERED)
    encoded = base64.b64encode(value.encode()).decode()

    def arrived() -> bool:
        return encoded in str(stack.objects.secret(consumer.namespace, consumer.secret))

    until(arrived, "the value has arrived")
    return seen


def rotate(stack: RecordedStack, plant: Plant, temporary: Path) -> Texts:
    """Rotate a database's login and a generated value: what was pending is current then, what was current is old.

    What the processes of the command had and left, while they ran.
    """
    seen: set[tuple[str, bytes]] = set()
    for name in ROTATED:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "cli.main",
                "rotate",
                name,
                "--why",
                "a search",
                "--kubeconfig",
                str(stack.kubeconfig),
            ],
            cwd=CHECKOUT,
            env={**os.environ, "TMPDIR": str(temporary), "PLANTED": plant.text},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        seen |= watched(process, temporary)
        stack.transcript.append(process.communicate()[0])
        assert process.returncode == 0 and f"{name}: done" in stack.transcript[-1], stack.transcript[-1]
    return seen


def up(stack: RecordedStack, plant: Plant, temporary: Path) -> tuple[Texts, list[str]]:
    """A `pulumi up` with the root holder that does something. What its processes had and left; its tokens for Vault."""
    session = HOME / f".local/{stack.name}/vault-session"
    again = [word for job in JOBS for word in ("--replace", f"**Job::{job}")]
    begun = time.monotonic()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TMPDIR", str(temporary))
        process = stack.start(*UP, *again, "--message", plant.text, phase=4, root=True, vault=stack.present_vault())
    seen = watched(process, temporary, session)
    stack.finish(process, begun).passed()
    for plugin in (b"pulumi-resource-kubernetes", b"pulumi-resource-vault"):
        assert any(plugin in text for _, text in seen)
    # The token's file is its one place, for as long as the run lasts.
    tokens = {(where, text) for where, text in seen if where.startswith(str(session / TOKEN_FILE))}
    assert tokens
    until(lambda: not list(session.glob(f"{TOKEN_FILE}*")), "the session has ended", 20)
    return seen - tokens, sorted({text.decode() for _, text in tokens if text})


def test_the_search_looks_everywhere(scan: Scan) -> None:
    planted = {place: scan.planted(place) for place in scan.places}
    assert {place for place, where in planted.items() if not where} == set()
    assert {place for place, _ in scan.tokens.found[scan.plant.token]} == scan.places
    pod = f"Pod default/{scan.plant.name}"
    assert {f"{pod} first", f"{pod} say", f"{pod} say before"} <= planted["pod logs"], "also before a restart"
    assert any("vault" in where for where in planted["pod logs"]), "Vault's second audit device"
    assert {"ConfigMap", "Pod", "Event"} <= {where.split()[0] for where in planted["API objects"]}
    assert "audit.log" in {Path(where).name for where in planted["node's files"]}, "the API server's audit log"
    assert {"raft.db", "vault.db"} & {Path(where).name for where in planted["Vault's data"]}


def test_there_is_something_to_look_for(searched: RecordedStack, scan: Scan) -> None:
    """Values of all classes and of past versions, five shares, two identities, two private keys, tokens, keys."""
    in_git = {value for data in searched.wanted_values().values() for value in data.values()}
    assert in_git - leak_values.spelled_in_catalogue(searched) <= set(scan.names.values())
    beside = set(scan.names) - {name for name in scan.names if " version " in name}
    wanted = {"root identity", "cluster identity", "passphrase", "vault-ca key 1", "vault-tls key 1"}
    wanted |= {f"platform-authority/data/{name}" for name in ("digest-key", "consumption-digest-key", "trail-key")}
    wanted |= {f"unseal share {number}" for number in range(1, 6)} | {"token 0", "token 1", "hidden in Vault"}
    assert beside >= wanted
    assert "entered" not in beside, "Vault has the entered value"
    versions = {name.rpartition(" version ")[::2] for name in scan.names if " version " in name}
    for place in ("postgres/orders password", "sessions/shop key"):
        assert {number for named, number in versions if named == place} >= {"1", "2"}, "the old value and the new one"
    paths = {name.split()[0] for name in scan.names if " version " in name}
    assert paths == {secret.vault.path for secret in leak_values.catalogued(searched)}


def test_values_are_in_their_secrets_only(scan: Scan) -> None:
    assert scan.found("API objects") == scan.allowed
    for place in scan.places - {"API objects", "pods' volumes"}:
        assert scan.found(place) == set(), place


def test_a_pod_has_what_it_mounts(scan: Scan) -> None:
    """A mounted Secret stands in memory, in the pod's volume; nothing else of a pod holds a value."""
    assert scan.found("pods' volumes") <= scan.allowed
    shop = {(name, where) for name, where in scan.allowed if where.startswith("Secret shop/")}
    assert shop and shop <= scan.found("pods' volumes"), "the demo workload mounts all of them"


def test_no_token_of_vault_is_anywhere(scan: Scan) -> None:
    """Plants of an earlier search on the same node are none."""
    others = {place for token, at in scan.tokens.found.items() if not token.startswith(TOKEN_MARK) for place in at}
    assert others == set()


def test_no_token_that_was_known_works(searched: RecordedStack, scan: Scan, tmp_path: Path) -> None:
    with vault_way(searched.kubeconfig, tmp_path) as vault:
        assert not any(works(vault, token) for token in [*scan.ended, *scan.tokens.found])
