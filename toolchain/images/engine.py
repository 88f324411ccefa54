"""The image of the in-cluster engine. One recipe, with a registry and without.

Its tag is a digest of everything that goes in, so a changed line of code gives another image, and an
unchanged tree is recognised without building.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from toolchain.images import python_base
from toolchain.images.storage import Storage
from toolchain.node import image_archive as archive
from toolchain.node import image_store as store
from toolchain.node.errors import NodeError
from toolchain.node.layout import CHECKOUT, Node
from toolchain.node.progress import Progress
from toolchain.programs import cache, pins
from toolchain.venv import PYTHON as VENV_PYTHON

NAME = "ghcr.io/secret-authority/engine"
PACKAGES = tuple(f"secret_authority/{name}" for name in ("core", "contract", "clients", "repository", "engine"))
LOCK = CHECKOUT / "requirements-engine.lock"
RECIPE = Path(__file__).with_name("engine_image") / "Containerfile"
CACHE = CHECKOUT / ".tools/cache/images"
CONTEXT = CACHE / "engine"
PYTHON = "3.11"
# Files of dependencies that only their own developers need.
LEFT_OUT = ("*.pyi", "*.c", "*.h", "*.pyx", "tests", "test", "__pycache__", "kubernetes/aio")
# Programs of the toolchain that the engine runs.
PROGRAMS = ("sops",)
# Changes when the dependencies are to be laid out again from the same lock file.
SITE_RECIPE = b"3\n"
# A module of each dependency that must load after that.
MODULES = ("kubernetes", "requests", "pg8000", "pyrage", "yaml", "cryptography.hazmat.primitives.hashes")


def sources() -> list[Path]:
    """The project's files that go into the image, in order."""
    found: list[Path] = []
    for package in PACKAGES:
        files = (CHECKOUT / package).rglob("*")
        found.extend(path for path in files if path.is_file() and "__pycache__" not in path.parts)
    return [CHECKOUT / "secret_authority/__init__.py", *sorted(found)]


def reference() -> str:
    """Name and tag of the image for the present tree. Raises NodeError without the lock file."""
    if not LOCK.exists():
        raise NodeError(f"engine image: {LOCK.name} is missing; it lists the engine's dependencies with hashes")
    digest = hashlib.sha256()
    for path in [RECIPE, *sources(), LOCK]:
        content = path.read_bytes()
        digest.update(
            f"{path.name if path == LOCK else path.relative_to(CHECKOUT)} {len(content)}\n".encode() + content
        )
    digest.update(SITE_RECIPE + python_base.reference().encode())
    for name in PROGRAMS:
        digest.update(f"{name} {cache.key(pins.load().program(name))}\n".encode())
    return f"{NAME}:{digest.hexdigest()[:12]}"


def ensure(node: Node, progress: Progress) -> str:
    """Build the image and import it, as far as that is not done. Returns its name and tag."""
    name = reference()
    present = store.listing(node.containerd_socket)
    if present is None:
        raise NodeError(f"node {node.name}: containerd does not answer; run `python3 -m toolchain.node up`")
    if name in present:
        return name
    with storage_of_checkout() as storage:
        if not storage.has(name):
            base = python_base.ensure(storage, progress)
            progress.say(f"building {name}")
            context = make_context(progress)
            storage.build(context, RECIPE, name, {"BASE": base})
    import_built(node, storage, name, progress)
    return name


def import_built(node: Node, storage: Storage, name: str, progress: Progress) -> None:
    """Import an image of the storage into a node."""
    progress.say(f"importing {name}")
    with tempfile.TemporaryDirectory(dir=node.state) as scratch:
        target = Path(scratch, "image.tar")
        storage.save(name, target)
        store.import_archive(node.containerd_socket, target)


def prepare(progress: Progress) -> None:
    """Make what does not change with the project's code, base image and dependencies, as far as that is not done."""
    with storage_of_checkout() as storage:
        python_base.ensure(storage, progress)
        make_site(CONTEXT / "site", progress)


@contextlib.contextmanager
def storage_of_checkout() -> Iterator[Storage]:
    """The images of the checkout. One build context serves every node, so one run at a time has it."""
    storage = Storage(CACHE / "buildah")
    CONTEXT.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield storage


def make_context(progress: Progress) -> Path:
    """Lay out the build context and return its folder."""
    CONTEXT.mkdir(parents=True, exist_ok=True)
    make_site(CONTEXT / "site", progress)
    code = CONTEXT / "code"
    shutil.rmtree(code, ignore_errors=True)
    for path in sources():
        target = code / path.relative_to(CHECKOUT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    _lay_programs(CONTEXT / "bin")
    if archive.CERTIFICATES.exists():
        shutil.copyfile(archive.CERTIFICATES, code / "ca-certificates.crt")
    _compile(code)
    _fix_times_and_modes(code)
    return CONTEXT


def _lay_programs(folder: Path) -> None:
    """The programs as the toolchain has built them, or fetched them with a pinned checksum: never one of PATH."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in PROGRAMS:
        built = cache.binary(pins.load().program(name), name)
        if not built.is_file():
            raise NodeError(f"engine image: {name} is missing; run `python3 -m toolchain build {name}`")
        shutil.copyfile(built, folder / name)
    _fix_times_and_modes(folder)


def make_site(site: Path, progress: Progress) -> None:
    """Install the locked dependencies for Python 3.11 on x86_64, whatever runs here.

    Raises NodeError when pip is not there or fails, or when the modules do not load.
    """
    mark = site.with_name("site.lock")
    wanted = SITE_RECIPE + LOCK.read_bytes()
    if site.is_dir() and mark.exists() and mark.read_bytes() == wanted:
        return
    if not VENV_PYTHON.exists():
        raise NodeError(f"engine image: {VENV_PYTHON} is missing; run `python3 -m toolchain venv`")
    progress.say("installing the engine's dependencies")
    mark.unlink(missing_ok=True)
    shutil.rmtree(site, ignore_errors=True)
    command = [str(VENV_PYTHON), "-m", "pip", "install", "--quiet", "--require-hashes", "--no-deps"]
    command += ["--no-compile", "--only-binary=:all:", "--implementation=cp", f"--python-version={PYTHON}"]
    for platform in ("manylinux_2_34_x86_64", "manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"):
        command.append(f"--platform={platform}")
    command += ["--requirement", str(LOCK), "--target", str(site)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NodeError(f"engine image: pip failed: {done.stderr.strip()[-1200:]}")
    # Entry scripts at the top; a package's own bin folder stays.
    shutil.rmtree(site / "bin", ignore_errors=True)
    _forget_scripts(site)
    for pattern in LEFT_OUT:
        for path in sorted(site.rglob(pattern)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    _check_modules(site)
    _compile(site)
    _fix_times_and_modes(site)
    mark.write_bytes(wanted)


def _forget_scripts(site: Path) -> None:
    """Take the entry scripts out of each list of installed files (PEP 376, RECORD).

    Their hashes depend on where the interpreter lies, and the image must not.
    """
    for record in site.glob("*.dist-info/RECORD"):
        lines = record.read_bytes().splitlines(keepends=True)
        record.write_bytes(b"".join(line for line in lines if not line.startswith(b"../../bin/")))


def _check_modules(site: Path) -> None:
    """Load the dependencies from the folder. Needs a Python of the image's version."""
    if not _same_python():
        return
    program = f"import sys; sys.path.insert(0, {str(site)!r}); import {', '.join(MODULES)}"
    done = subprocess.run([sys.executable, "-I", "-B", "-c", program], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NodeError(f"engine image: {LOCK.name} gives no working set of modules: {done.stderr.strip()[-600:]}")


def _same_python() -> bool:
    return f"{sys.version_info.major}.{sys.version_info.minor}" == PYTHON


def _compile(folder: Path) -> None:
    """Compile ahead: the image is read-only where it runs. Needs a Python of the image's version."""
    if not _same_python():
        return
    command = [sys.executable, "-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash"]
    subprocess.run(
        [*command, "-s", str(folder), "-p", "/opt/secret-authority", str(folder)],
        capture_output=True,
        check=False,
    )


def _fix_times_and_modes(folder: Path) -> None:
    """One time and plain modes, so that the same content gives the same layer."""
    for path in [folder, *folder.rglob("*")]:
        if path.is_symlink():
            continue
        # A wheel may ship a program in a bin folder without the mark that lets it run.
        runs = path.is_dir() or path.stat().st_mode & 0o100 or path.parent.name == "bin"
        path.chmod(0o755 if runs else 0o644)
        os.utime(path, (0, 0))
