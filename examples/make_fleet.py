"""Makes an example Git repository with fresh random secrets: `python -m examples.make_fleet DIR --root FILE`.

The repository is what a team would have: root-of-trust.yaml, .sops.yaml, a catalogue, namespaces, and one
SOPS-encrypted Secret for each bootstrap entry of the catalogue. Nothing in it is shared with anyone else's
copy: identities and values are made here. A second run changes nothing.
"""

from __future__ import annotations

import argparse
import base64
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from secret_authority.clients.age import Identity, write_identity
from secret_authority.clients.sops import sops_program
from secret_authority.core.catalogue.schema import CatalogueSecret, SecretClass, parse_catalogue
from secret_authority.engine.rotation.rotators.postgresql import scram_verifier
from secret_authority.repository.layout import HOME, Layout
from secret_authority.repository.trust.writer import add_cluster, add_root_recipient

TEMPLATE = Path(__file__).with_name("fleet")


def make_fleet(directory: Path, root_file: Path, cluster: str = "dev") -> None:
    """Make the repository in `directory` and its root identity in `root_file`, each unless it is there."""
    if (directory / ".git").exists():
        return
    # Built beside its place and moved there whole, so that a killed run leaves nothing half made.
    partial = directory.with_name(f"{directory.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    root_file.unlink(missing_ok=True)
    for home in ("clusters", HOME):
        shutil.copytree(TEMPLATE / home / "dev", partial / home / cluster)
    identity = Identity.generate()
    root_file.parent.mkdir(parents=True, exist_ok=True)
    write_identity(identity, root_file)
    add_root_recipient(partial, "example", identity.recipient)
    add_cluster(partial, cluster)
    catalogue_file = partial / Layout.of(cluster).catalogue
    catalogue = parse_catalogue(yaml.safe_load(catalogue_file.read_text()), catalogue_file.name)
    for secret in catalogue.of_class(SecretClass.BOOTSTRAP):
        write_encrypted(partial, cluster, secret.name, secret_manifest(secret, first_values(secret)))
    git(partial, "init", "-q", "-b", "main")
    # In the repository itself, so that commits can be made on a machine where git knows nobody.
    git(partial, "config", "user.name", "Example")
    git(partial, "config", "user.email", "example@secret-authority.dev")
    git(partial, "add", "-A")
    git(partial, "commit", "-q", "-m", "The fleet")
    partial.rename(directory)


def first_values(secret: CatalogueSecret) -> dict[str, bytes]:
    """A fresh value for each key: binary for a key store, many lines for TLS, else one line.

    A database's user is one of those that take turns there. A verifier is the one of the password beside it.
    """
    target = secret.bootstrap
    if target is None:
        raise ValueError(f"{secret.name} is not born in Git")
    values = {key: _random_value(key) for key in target.keys}
    if secret.rotator is not None and secret.rotator.kind == "postgresql":
        values["username"] = str(secret.rotator.settings["users"][0]).encode()
    if "verifier" in values:
        values["verifier"] = scram_verifier(values["password"].decode()).encode()
    return values


def _random_value(key: str) -> bytes:
    if key.endswith(".p12"):
        return secrets.token_bytes(256)
    if key.startswith("tls."):
        body = base64.encodebytes(secrets.token_bytes(512)).decode()
        return f"-----BEGIN EXAMPLE-----\n{body}-----END EXAMPLE-----\n".encode()
    return secrets.token_urlsafe(24).encode()


def secret_manifest(secret: CatalogueSecret, values: dict[str, bytes]) -> dict[str, Any]:
    """A Secret manifest in the clear. It is written only through sops."""
    target = secret.bootstrap
    if target is None:
        raise ValueError(f"{secret.name} is not born in Git")
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": target.secret, "namespace": target.namespace},
        "type": "Opaque",
        "data": {key: base64.b64encode(value).decode() for key, value in values.items()},
    }


def write_encrypted(repository: Path, cluster: str, name: str, manifest: dict[str, Any]) -> Path:
    """Encrypt a manifest by the repository's .sops.yaml; the clear text reaches sops through a pipe only."""
    file = Path("clusters") / cluster / "bootstrap" / f"{name}.yaml"
    (repository / file).parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sops_program(), "encrypt", "--filename-override", str(file), "--input-type", "yaml", "/dev/stdin"],
        cwd=repository,
        input=yaml.safe_dump(manifest, sort_keys=False).encode(),
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"sops could not encrypt {file} (exit code {done.returncode})")
    (repository / file).write_bytes(done.stdout)
    return repository / file


def git(repository: Path, *arguments: str) -> str:
    """Run git in the repository. Raises `CalledProcessError`."""
    return subprocess.run(["git", *arguments], cwd=repository, capture_output=True, check=True, text=True).stdout


def main() -> int:
    parser = argparse.ArgumentParser(description="Make an example repository with fresh secrets.")
    parser.add_argument("directory", type=Path)
    parser.add_argument(
        "--root", type=Path, required=True, help="file for the root identity, outside of the repository"
    )
    parser.add_argument("--cluster", default="dev")
    options = parser.parse_args()
    make_fleet(options.directory, options.root, options.cluster)
    print(options.directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
