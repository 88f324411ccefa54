"""The S3 server of the local node, with the command, identities and bucket that the toolchain gives it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from secret_authority.clients.object_store import ObjectExistsError, StoreRefusedError
from secret_authority.clients.object_store.s3 import S3Credentials, S3Store
from secret_authority.engine.tls.ca import issue, new_ca
from tests.support.object_store_process import weed_program
from tests.support.vault_process import wait_for
from toolchain.node import layout
from toolchain.node.layout import Node
from toolchain.objectstore import probe, server

pytestmark = [pytest.mark.engine, pytest.mark.skipif(weed_program() is None, reason="no S3 server: run `make tools`")]


class Loopback(Node):
    """A node whose link is this machine's own."""

    host_address = "127.0.83.33"


def test_it_starts_has_its_bucket_and_each_identity_its_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "STATE_ROOT", tmp_path)
    node = Loopback("s3", 0)
    authority = new_ca("store")
    pair = issue(authority, [node.host_address])
    node.pki.mkdir(parents=True)
    for name, text in (("git-ca.crt", authority.certificate), ("git-server.crt", pair.certificate)):
        (node.pki / name).write_text(text)
    (node.pki / "git-server.key").write_text(pair.key)
    (server.home(node) / "data").mkdir(parents=True)
    keys = server.keys(node)
    assert keys == server.keys(node), "made once"
    (server.home(node) / "identities.json").write_text(server.identities(keys))
    command = server.command(Path(str(weed_program())), node)
    with (tmp_path / "log").open("wb") as log:
        environment = {"PATH": os.defpath, "HOME": str(tmp_path)}
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path, env=environment)
    try:
        ca = str(server.authority(node))

        def ready() -> bool:
            return probe.make_bucket(node.host_address, server.PORT, ca, server.BUCKET, *keys[server.OWNER]) is None

        wait_for(ready, "the server has its bucket", 120)
        assert ready(), "a bucket that is there is no error"
        stranger = probe.make_bucket(node.host_address, server.PORT, ca, "other", *keys["reader"])
        assert stranger is not None and "403" in stranger
        writer, reader, deleter = (
            S3Store(server.url(node), server.BUCKET, "us-east-1", S3Credentials(*keys[name]), authority.certificate)
            for name in ("writer", "reader", "deleter")
        )

        def written() -> bool:
            """Its first volumes grow after it answers."""
            try:
                writer.put_new("dev/a", b"x")
            except ObjectExistsError:
                return True
            except Exception:
                return False
            return True

        wait_for(written, "the first object", 60)
        assert reader.get("dev/a") == b"x"
        for ask in (
            lambda: writer.put_new("dev/a", b"y"),
            lambda: writer.get("dev/a"),
            lambda: writer.delete("dev/a"),
            lambda: reader.put_new("dev/b", b""),
            lambda: deleter.put_new("dev/b", b""),
        ):
            with pytest.raises(StoreRefusedError):
                ask()
        assert reader.get("dev/a") == b"x"
    finally:
        process.kill()
        process.wait()
