"""Points of a rotation at which something can go wrong: each request to Vault, to the target and to the API server."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from secret_authority.clients.vault import Vault
from secret_authority.core.errors import Unavailable
from secret_authority.core.rotation.document import State
from secret_authority.core.rotation.rotator import Accepts, Rotator
from secret_authority.engine.rotation.controller import RotationController
from secret_authority.engine.rotation.rotators import registry
from tests.support.rotation_site import Cluster, HandedOver, Site, Watcher

Point = Callable[[str], None]
CALLS = ("complete", "apply", "accepts", "in_use", "revoke", "discard", "ready", "generation", "provision")
# What changes something is numbered; of what only looks, the first of each kind counts.
CHANGES = ("POST", "PATCH", "complete", "apply", "revoke", "discard", "provision")

# The short form of a drill takes a few points, the long one all of them.
SHORT = [pytest.param(True, id="short"), pytest.param(False, id="all", marks=pytest.mark.nightly)]


class Points:
    """Names the points that are passed, and does `act` at the one named `at`.

    `act` raises `Unavailable` for a cut; `cut` further requests to the same system then fail as well.
    """

    def __init__(self, at: str = "", act: Callable[[], None] = lambda: None, cut: int = 0) -> None:
        self.seen: list[str] = []
        self.passed = False
        self.at, self._act, self._cut, self._left = at, act, cut, 0

    def __call__(self, name: str) -> None:
        system = name.split()[1]
        if self._left and name.startswith("before") and system == self.at.split()[1]:
            self._left -= 1
            raise Unavailable(f"{system} cannot be reached")
        counted = f"{name} ({1 + sum(one.startswith(f'{name} (') for one in self.seen)})"
        if name.split()[2] not in CHANGES and counted[:-4] in {one[:-4] for one in self.seen}:
            return
        self.seen.append(counted)
        if counted == self.at and not self.passed:
            self.passed, self._left = True, self._cut
            self._act()


def cut_off() -> None:
    """The request does not arrive, or its answer does not."""
    raise Unavailable("cut")


class FaultyVault(Vault):
    """Passes a point before and after each request."""

    def __init__(self, vault: Vault, point: Point) -> None:
        super().__init__(vault.address)
        self._vault, self._point = vault, point

    def request(self, method: str, path: str, *rest: Any) -> dict[str, Any] | None:
        shown = f"vault {method} {'/'.join(path.partition('?')[0].split('/')[:3])}"
        self._point(f"before {shown}")
        answer = self._vault.request(method, path, *rest)
        self._point(f"after {shown}")
        return answer


class FaultyRotator:
    """A rotator whose target may be cut off, asked by every call that reaches the target."""

    def __init__(self, rotator: Rotator, point: Point) -> None:
        self._rotator, self._point = rotator, point

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._rotator, name)
        return self._call(name, found) if name in CALLS else found

    def _call(self, name: str, found: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            try:
                self._point(f"before target {name}")
                answer = found(*given)
                self._point(f"after target {name}")
            except Unavailable:
                # What these two return for a target that cannot be asked.
                if name in ("accepts", "in_use"):
                    return Accepts.UNKNOWN if name == "accepts" else None
                raise
            return answer

        return call


class FaultyApi:
    """The modelled cluster, seen by one engine."""

    def __init__(self, cluster: Cluster, point: Point) -> None:
        self._cluster, self._point = cluster, point

    def get(self, path: str) -> dict[str, Any] | None:
        self._point("before api get")
        found = self._cluster.get(path)
        self._point("after api get")
        return found

    def list(self, path: str, label_selector: str = "") -> list[dict[str, Any]]:
        self._point("before api list")
        found = self._cluster.list(path, label_selector)
        self._point("after api list")
        return found

    def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self._point("before api create")
        return self._cluster.create(path, body)

    def merge(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self._point("before api merge")
        return self._cluster.merge(path, body)


@contextlib.contextmanager
def engine_at(site: HandedOver, cluster: Cluster, points: Points) -> Iterator[RotationController]:
    """An engine every request of which passes `points`."""
    original = registry.build

    def build(*given: Any) -> Rotator:
        made: Any = FaultyRotator(original(*given), points)
        return made  # type: ignore[no-any-return]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "build", build)
        yield site.engine_of(FaultyApi(cluster, points), FaultyVault(site.engine_token, points))


def assert_ended(site: Site, watcher: Watcher, what: str, generation: int = 1) -> None:
    assert watcher.denied == [], f"somebody was refused: {what}"
    document = site.document()
    assert (document.state, document.generation, document.result) == (State.IDLE, generation, "done"), what
    assert site.accepted(site.value()) and len(site.events()) == generation, what
    old = {**site.value(), **site.value(generation)}
    assert not site.accepted(old), f"the old login works: {what}"


def figures(name: str, logins: list[int], record_property: Callable[[str, object], None]) -> None:
    text = f"{name}: {len(logins)} of {len(logins)} points, {sum(logins)} logins, 0 denied"
    record_property("figures", text)
    print(text)
