"""Names and addresses of nodes."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path

import pytest

from toolchain.node import layout
from toolchain.node.errors import NodeError


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(layout, "STATE_ROOT", tmp_path)
    monkeypatch.setattr(layout, "main_routes", list)
    return tmp_path


@pytest.mark.parametrize("name", ["dev", "a", "t-1", "abcdefghijkl"])
def test_good_names(name: str) -> None:
    assert layout.valid_name(name) == name
    assert len(layout.Node(name, 0).link) <= 15, "the kernel cuts interface names at 15 characters"


@pytest.mark.parametrize("name", ["", "Dev", "1a", "a-", "abcdefghijklm", "a/b", "..", "a b"])
def test_bad_names(name: str) -> None:
    with pytest.raises(NodeError, match="node name"):
        layout.valid_name(name)


def test_two_nodes_share_no_address(state: Path) -> None:
    one, two = layout.allocate("one"), layout.allocate("two")
    assert one.slot != two.slot
    ranges = [
        ipaddress.ip_network(cidr) for node in (one, two) for cidr in (node.link_cidr, node.pod_cidr, node.service_cidr)
    ]
    assert not any(a.overlaps(b) for a in ranges for b in ranges if a is not b)


def test_a_node_keeps_its_slot(state: Path) -> None:
    layout.allocate("one")
    two = layout.allocate("two")
    assert layout.allocate("two") == two
    assert layout.find("two") == two
    assert [node.name for node in layout.known_nodes()] == ["one", "two"]


def test_a_range_in_use_on_the_machine_is_left_alone(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "main_routes", lambda: [ipaddress.IPv4Network("10.221.0.0/23")])
    assert layout.allocate("one").slot == 2


def test_a_broken_record_is_no_node(state: Path) -> None:
    (state / "one").mkdir()
    (state / "one/node.json").write_text("{")
    assert layout.find("one") is None
    assert layout.allocate("one").slot == 0
    assert json.loads((state / "one/node.json").read_text()) == {"slot": 0}


def test_a_missing_node_is_named_with_the_way_out(state: Path) -> None:
    with pytest.raises(NodeError, match=r"node one: .* up --name one"):
        layout.require("one")


def test_a_missing_program_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_AUTHORITY_BIN", str(tmp_path))
    with pytest.raises(NodeError, match="program no-such-program"):
        layout.binary("no-such-program")
    (tmp_path / "kubelet").write_text("")
    assert layout.binary("kubelet") == tmp_path / "kubelet"
