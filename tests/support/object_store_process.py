"""A real S3 server (SeaweedFS) on the loopback device, with TLS and one identity for each right."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from secret_authority.clients.object_store import ObjectExistsError, StoreRefusedError
from secret_authority.clients.object_store.s3 import S3Credentials, S3Store
from secret_authority.core.errors import Unavailable
from secret_authority.engine.tls.ca import issue, new_ca
from tests.support.vault_process import ROOT, free_ports, wait_for

BUCKET = "snapshots"
# What each identity of the bucket may do. SeaweedFS' own word "Write" includes deletion, so these are policies.
RIGHTS = {
    "writer": ["s3:PutObject"],
    "reader": ["s3:GetObject", "s3:ListBucket"],
    "deleter": ["s3:GetObject", "s3:ListBucket", "s3:DeleteObject"],
}


def weed_program() -> str | None:
    """The server's program: that of the toolchain, else of the Python environment, else of PATH."""
    beside = (ROOT / ".tools" / "bin" / "weed", ROOT / ".venv" / "bin" / "weed")
    return next((str(path) for path in beside if path.exists()), None) or shutil.which("weed")


@dataclass(frozen=True)
class ObjectServer:
    endpoint: str
    ca: str
    folder: Path

    def store(self, identity: str) -> S3Store:
        return S3Store(self.endpoint, BUCKET, "us-east-1", credentials(identity), self.ca)

    def contents(self) -> bytes:
        """Everything that the server has written to its disk."""
        return b"".join(path.read_bytes() for path in sorted((self.folder / "data").rglob("*")) if path.is_file())


def credentials(identity: str) -> S3Credentials:
    return S3Credentials(f"{identity}-key", f"{identity}-secret-0123456789")


@contextlib.contextmanager
def object_server(folder: Path, address: str = "127.0.0.1") -> Iterator[ObjectServer]:
    """The server, at an address of this machine, with an empty bucket `BUCKET`; it is ended afterwards."""
    program = weed_program()
    assert program is not None
    authority = new_ca("store")
    pair = issue(authority, [address])
    for name, text in (("tls.crt", pair.certificate), ("tls.key", pair.key)):
        (folder / name).write_text(text)
    identities = [
        {
            "name": name,
            "credentials": [
                {"accessKey": (key := credentials(name)).access_key_id, "secretKey": key.secret_access_key}
            ],
            **({"actions": ["Admin"]} if name == "admin" else {"policyNames": [name]}),
        }
        for name in (*RIGHTS, "admin")
    ]
    everything = [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"]
    policies = [
        {"name": name, "content": json.dumps({"Version": "2012-10-17", "Statement": [statement]})}
        for name, rights in RIGHTS.items()
        for statement in [{"Effect": "Allow", "Action": rights, "Resource": everything}]
    ]
    (folder / "identities.json").write_text(json.dumps({"identities": identities, "policies": policies}))
    (folder / "data").mkdir()
    s3, *ports = free_ports(8)
    names = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc")
    command = [
        *(program, "server", "-s3", f"-dir={folder}/data", f"-ip={address}", f"-ip.bind={address}"),
        *(f"-{name}={port}" for name, port in zip(names, ports, strict=False)),
        *(f"-s3.port={s3}", f"-s3.port.grpc={ports[6]}", "-volume.max=20", "-master.volumeSizeLimitMB=64"),
        # These have fixed ports, so that a second server of this machine would end.
        *("-s3.port.iceberg=0", "-s3.port.lance=0"),
        *(f"-s3.config={folder}/identities.json", f"-s3.cert.file={folder}/tls.crt", f"-s3.key.file={folder}/tls.key"),
    ]
    with (folder / "log").open("wb") as log:
        environment = {"PATH": os.defpath, "HOME": str(folder)}
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=environment)
    try:
        server = ObjectServer(f"https://{address}:{s3}", authority.certificate, folder)
        wait_for(lambda: _bucket_made(server), "the S3 server has its bucket", 120)
        yield server
    finally:
        process.kill()
        process.wait()


def _bucket_made(server: ObjectServer) -> bool:
    """The first object of a bucket makes it."""
    try:
        server.store("admin").put_new("made", b"")
    except ObjectExistsError:
        return True
    except (StoreRefusedError, Unavailable):
        return False  # it reads its identities, and grows its first volumes, after it listens
    return True
