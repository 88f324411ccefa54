"""docs/rotator-package.md as it is written: installed into a folder of its own, checked, and conforming."""

from __future__ import annotations

import http.server
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.fleets import Fleet, new_fleet

pytestmark = pytest.mark.engine
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "rotator-package.md"
ADMIN = "token-of-the-administrator"


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return str(found)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which pip has installed the package."""
    source, into = tmp_path_factory.mktemp("vendor-rotator"), tmp_path_factory.mktemp("site")
    (source / "pyproject.toml").write_text(block("toml"))
    (source / "vendor_rotator.py").write_text(block("python"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", into, source], check=True, capture_output=True, text=True)
    return into


def run(installed: Path | None, *command: str) -> subprocess.CompletedProcess[str]:
    paths = [str(ROOT), *([str(installed)] if installed else [])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    made = new_fleet(tmp_path_factory.mktemp("fleet"))

    def use(document: Any) -> None:
        entry = next(entry for entry in document["secrets"] if entry["name"] == "session-key")
        url = "https://vendor.example/v1"
        entry["rotator"] = {"kind": "vendor", "account": "shop", "url": url, "admin": "payment-api"}

    made.edit("secret-authority/dev/catalogue.yaml", use)
    return made


def check(installed: Path | None, fleet: Fleet) -> subprocess.CompletedProcess[str]:
    program = "import sys; from cli.main import main; sys.exit(main(sys.argv[1:]))"
    return run(installed, "-c", program, "check", "--repository", str(fleet.repository), "--cluster", "dev")


def test_check_knows_it_where_the_package_is_installed_and_only_there(installed: Path, fleet: Fleet) -> None:
    found = check(installed, fleet)
    assert found.returncode == 0, found.stdout + found.stderr
    missing = check(None, fleet)
    assert missing.returncode == 2 and "no rotator vendor" in missing.stderr + missing.stdout


def test_check_asks_it_for_mistakes(installed: Path, fleet: Fleet) -> None:
    def lack(document: Any) -> None:
        entry = next(entry for entry in document["secrets"] if entry["name"] == "session-key")
        del entry["rotator"]["url"]

    fleet.edit("secret-authority/dev/catalogue.yaml", lack)
    found = check(installed, fleet)
    assert found.returncode == 2 and "secrets[session-key].rotator.url: is missing" in found.stderr + found.stdout


class Vendor(http.server.BaseHTTPRequestHandler):
    """The vendor of the page: two slots, and a generation for each."""

    slots: ClassVar[dict[str, str]] = {}
    fences: ClassVar[dict[str, tuple[int, str]]] = {}

    def do_GET(self) -> None:
        bearer = self.headers["Authorization"].removeprefix("Bearer ")
        known = [ADMIN] if self.path.endswith("account") else [key for key in self.slots.values() if key]
        self._answer(200 if bearer in known else 401)

    def do_PUT(self) -> None:
        slot, asked = urlsplit(self.path).path.rpartition("/")[2], parse_qs(urlsplit(self.path).query)
        fence = int(asked["generation"][0]), asked["id"][0]
        held = self.fences.get(slot, (0, ""))
        if held[0] > fence[0] or (held[0] == fence[0] and held[1] != fence[1]):
            self._answer(409)
            return
        self.fences[slot] = fence
        self.slots[slot] = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        self._answer(200)

    def _answer(self, code: int) -> None:
        self.send_response(code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def vendor() -> Iterator[str]:
    Vendor.slots, Vendor.fences = {"a": "first-key", "b": ""}, {}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Vendor)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


CONFORMS = """
import json, sys
from secret_authority.core.catalogue.schema import CatalogueSecret
from secret_authority.core.rotation.rotator import Accepts, Fence, FencedError, Value
from secret_authority.engine.rotation.rotators import registry

url, token = sys.argv[1:]
rotator = {"kind": "vendor", "account": "shop", "url": url, "admin": "vendor-admin"}
consumers = [{"namespace": "shop", "secret": "vendor", "keys": {"KEY": "key"}}]
vault = {"datasource": "vendor", "consumer": "shop"}
fields = {"name": "vendor", "class": "external", "owner": "x", "vault": vault, "consumers": consumers}
secret = CatalogueSecret.model_validate({**fields, "rotation": {"type": "event-based"}, "rotator": rotator})
made = registry.build(secret, lambda name: {"token": token})
current = Value({"slot": "a", "key": "first-key"})
fence = lambda generation: Fence("vendor", generation, f"ro-{generation}", current)
assert made.ready() == "" and made.accepts(current) is Accepts.YES
plan = made.plan(current, fence(1))
new = plan.publications[0].value
assert new != made.plan(current, fence(1)).publications[0].value and set(new.fields) == set(current.fields)
for _ in range(2):
    made.apply(new, fence(2))
assert made.accepts(new) is made.accepts(current) is Accepts.YES
try:
    made.apply(Value({**new.fields, "key": "stale"}), fence(1))
except FencedError:
    pass
else:
    raise AssertionError("an older generation changed something")
made.revoke(plan.retires, Fence("vendor", 2, "ro-2", new))
assert made.accepts(current) is Accepts.NO and made.accepts(new) is Accepts.YES
settings = secret.rotator.model_copy(update={"url": "http://127.0.0.1:9"})
away = secret.model_copy(update={"rotator": settings})
gone = registry.build(away, lambda name: {"token": token})
assert gone.accepts(new) is Accepts.UNKNOWN
assert new.fields["key"] not in repr(plan) + repr(made)
print(json.dumps("conforms"))
"""


def test_it_keeps_the_promises_of_a_rotator(installed: Path, vendor: str) -> None:
    done = run(installed, "-c", CONFORMS, vendor, ADMIN)
    assert done.returncode == 0 and json.loads(done.stdout) == "conforms", done.stderr
