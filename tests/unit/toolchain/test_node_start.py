"""A controller that ends while its node starts is started again, and not for ever."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from toolchain.node.errors import NodeError
from toolchain.node.lifecycle import Revived
from toolchain.node.progress import Progress

QUIET = Progress("test", quiet=True)


@dataclass
class Part:
    """Ends each time that it was started, `ends` times."""

    name: str
    ends: int
    pid: int | None = None
    started: int = 0

    def ensure(self, init: int, progress: Progress) -> bool:
        self.started += 1
        self.pid = None if self.started <= self.ends else 1
        return True

    def check_alive(self) -> None:
        if self.pid is None:
            raise NodeError(f"{self.name}: it ended")

    def unhealthy(self) -> str | None:
        self.check_alive()
        return None


def looked_at(part: Part, times: int) -> Part:
    revived = Revived(1, QUIET)
    for _ in range(times):
        assert revived.unhealthy(part) is None  # type: ignore[arg-type]
    return part


def test_a_controller_that_ended_is_started_again_once() -> None:
    assert looked_at(Part("kube-controller-manager", 0), 3).started == 1


def test_one_that_ends_again_at_once_is_an_error() -> None:
    part = Part("kube-scheduler", 9)
    with pytest.raises(NodeError, match="it ended"):
        looked_at(part, 1)


@pytest.mark.parametrize("name", ["etcd", "kube-apiserver", "kubelet", "containerd", "kube-proxy"])
def test_every_other_part_that_ends_is_an_error_at_once(name: str) -> None:
    part = Part(name, 0)
    with pytest.raises(NodeError, match="it ended"):
        looked_at(part, 1)
    assert part.started == 0


def test_it_is_not_started_for_ever() -> None:
    part, revived = Part("kube-scheduler", 0), Revived(1, QUIET)
    for _ in range(3):
        revived.check_alive(part)  # type: ignore[arg-type]
        part.pid = None
    with pytest.raises(NodeError):
        revived.check_alive(part)  # type: ignore[arg-type]
    assert part.started == 3
