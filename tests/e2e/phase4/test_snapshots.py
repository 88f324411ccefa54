"""Snapshots on a real node: the engine saves to an S3 server outside of the cluster, and a pod there verifies them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from components.snapshots.store_credentials import READER, WRITER
from secret_authority.contract.names import ENGINE_NAMESPACE, SNAPSHOT_VERIFIER
from secret_authority.repository.layout import Layout
from secret_authority.repository.snapshot_settings import settings_file
from secret_authority.repository.trust.share_export import export_file
from tests.support.object_store_process import BUCKET, ObjectServer, credentials, object_server, weed_program
from tests.support.recorded_stack import RecordedStack
from tests.support.vault_process import vault_program
from tests.support.waiting import until
from toolchain.local_stack import CHECKOUT
from toolchain.node import layout

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.nightly,
    pytest.mark.skipif(weed_program() is None, reason="no S3 server: run `make tools`"),
]


@pytest.fixture(scope="module")
def server(altered: RecordedStack) -> Iterator[ObjectServer]:
    with (
        tempfile.TemporaryDirectory() as folder,
        object_server(Path(folder), layout.require(altered.name).host_address) as made,
    ):
        yield made


def command(stack: RecordedStack, *arguments: str, cluster: bool = True) -> subprocess.CompletedProcess[str]:
    """`secret-authority`, as a person runs it."""
    place = [f"--kubeconfig={stack.kubeconfig}"] if cluster else []
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments, *place],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def credentials_file(folder: Path, identity: str) -> Path:
    key = credentials(identity)
    file = folder / f"{identity}.yaml"
    file.touch(0o600)
    file.write_text(yaml.safe_dump({"accessKeyId": key.access_key_id, "secretAccessKey": key.secret_access_key}))
    return file


@pytest.fixture(scope="module")
def saving(altered: RecordedStack, server: ObjectServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The stack with an engine of snapshots. A folder with the credentials of each identity of the store."""
    folder = tmp_path_factory.mktemp("store")
    for identity in ("writer", "reader"):
        credentials_file(folder, identity)
    settings = altered.fleet / settings_file(Layout.of(altered.name))
    store = {"s3": {"endpoint": server.endpoint, "bucket": BUCKET, "ca": server.ca}}
    document = {"apiVersion": "secret-authority.dev/v1", "kind": "Snapshots", "store": store}
    settings.write_text(yaml.safe_dump(document))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(WRITER.variable, str(folder / "writer.yaml"))
        patch.setenv(READER.variable, str(folder / "reader.yaml"))
        altered.set_up(4)
    yield folder
    settings.unlink()
    (altered.fleet / export_file(altered.name)).unlink(missing_ok=True)


def verify_now(stack: RecordedStack, name: str) -> None:
    """What docs/snapshots.md says to run, as a person runs it."""
    kubectl = [str(CHECKOUT / ".tools/bin/kubectl"), f"--kubeconfig={stack.kubeconfig}", "-n", ENGINE_NAMESPACE]
    job = ["create", "job", f"--from=cronjob/{SNAPSHOT_VERIFIER}", name]
    subprocess.run([*kubectl, *job], check=True, capture_output=True, text=True)


def test_the_engine_saves_by_itself_and_what_it_saves_is_verified(altered: RecordedStack, saving: Path) -> None:
    where = ["--cluster", altered.name, "--repository", str(altered.fleet)]

    def said() -> str:
        done = command(altered, "snapshot", "status")
        return done.stdout + done.stderr

    until(lambda: "VaultSnapshotFresh: yes" in said(), said, 120)
    unproved = command(altered, "snapshot", "status")
    assert unproved.returncode == 1 and "no snapshot is verified yet" in unproved.stdout, unproved.stdout
    verify_now(altered, "verify-now")
    until(lambda: command(altered, "snapshot", "status").returncode == 0, said, 180)
    reader = ["--credentials", str(saving / "reader.yaml")]
    listed = command(altered, "snapshot", "list", *where, *reader, cluster=False)
    assert listed.returncode == 0 and listed.stdout.count(f"{altered.name}/") == 1, listed.stdout + listed.stderr
    assert "  verified  " in listed.stdout
    exported = command(altered, "cluster", "export-shares", altered.name, "--repository", str(altered.fleet))
    assert exported.returncode == 0, exported.stderr
    root = ["--root-identity", str(altered.root_identity), "--vault", str(vault_program())]
    verified = command(altered, "snapshot", "verify", *where, *reader, *root, cluster=False)
    assert verified.returncode == 0 and "verified" in verified.stdout, verified.stdout + verified.stderr


def test_a_person_takes_one_through_the_tunnel(altered: RecordedStack, saving: Path) -> None:
    where = ["--cluster", altered.name, "--repository", str(altered.fleet)]
    taken = command(altered, "snapshot", "now", *where, "--credentials", str(saving / "writer.yaml"))
    assert taken.returncode == 0 and f"{altered.name}/" in taken.stdout, taken.stdout + taken.stderr
