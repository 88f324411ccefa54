"""Certificates of a node, judged by openssl itself."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from toolchain.node import layout, pki
from toolchain.node.errors import NodeError


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[layout.Node]:
    root = tmp_path_factory.mktemp("nodes")
    patch = pytest.MonkeyPatch()
    patch.setattr(layout, "STATE_ROOT", root)
    made = layout.Node("unit", 3)
    made.state.mkdir(parents=True)
    pki.ensure(made)
    yield made
    patch.undo()


def verify(node: layout.Node, authority: str, leaf: str, *options: str) -> bool:
    command = ["openssl", "verify", *options, "-CAfile", str(node.pki / f"{authority}.crt")]
    done = subprocess.run([*command, str(node.pki / f"{leaf}.crt")], capture_output=True, check=False)
    return done.returncode == 0


def test_each_certificate_belongs_to_its_authority_alone(node: layout.Node) -> None:
    for leaf in pki.leaves(node):
        for authority in pki.AUTHORITIES:
            assert verify(node, authority, leaf.name) == (authority == leaf.authority), (leaf.name, authority)


def test_purposes(node: layout.Node) -> None:
    for leaf in pki.leaves(node):
        assert verify(node, leaf.authority, leaf.name, "-purpose", "sslclient") == leaf.client, leaf.name
        assert verify(node, leaf.authority, leaf.name, "-purpose", "sslserver") == leaf.server, leaf.name


def test_server_names(node: layout.Node) -> None:
    assert verify(node, "cluster-ca", "apiserver", "-verify_ip", node.address)
    assert verify(node, "cluster-ca", "apiserver", "-verify_hostname", "kubernetes.default.svc")
    assert verify(node, "git-ca", "git-server", "-verify_hostname", layout.GIT_HOST)
    assert verify(node, "git-ca", "git-server", "-verify_ip", node.host_address)
    assert not verify(node, "git-ca", "git-server", "-verify_ip", node.address)


def test_private_keys_are_roots_alone(node: layout.Node) -> None:
    keys = list(node.pki.glob("*.key"))
    assert len(keys) == len(pki.leaves(node)) + len(pki.AUTHORITIES) + 1
    assert {key.stat().st_mode & 0o777 for key in keys} == {0o600}


def test_nothing_is_made_twice(node: layout.Node) -> None:
    before = {path: path.stat().st_mtime_ns for path in node.pki.iterdir()}
    pki.ensure(node)
    assert {path: path.stat().st_mtime_ns for path in node.pki.iterdir()} == before


def test_an_old_certificate_is_renewed_and_its_authority_stays(node: layout.Node) -> None:
    certificate, authority = node.pki / "scheduler.crt", node.pki / "cluster-ca.crt"
    old, old_authority = certificate.read_bytes(), authority.read_bytes()
    long_ago = certificate.stat().st_mtime - 301 * 86400
    for path in (authority, certificate):
        os.utime(path, (long_ago, long_ago))
    pki.ensure(node)
    assert certificate.read_bytes() != old
    assert authority.read_bytes() == old_authority
    assert verify(node, "cluster-ca", "scheduler")


def test_openssl_failure_names_the_certificate(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="certificate broken"):
        pki.make_certificate(tmp_path, "broken", "/CN=x", "basicConstraints=nonsense\n", 1, None)
