"""A small repository with real identities and real SOPS files, made once and copied for each test."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import yaml

from examples.make_fleet import make_fleet
from secret_authority.clients.age import Identity, open_sealed, read_identity
from secret_authority.clients.sops import sops_program
from secret_authority.contract.consumption_settings import ConsumptionSettings
from secret_authority.core.errors import InvalidInputError
from secret_authority.repository.intent.intent import Intent, check_readable, read_intent
from secret_authority.repository.layout import Layout

CLUSTER = "dev"


@dataclass(frozen=True)
class Fleet:
    """A repository in a folder of its own, and the root identity beside it."""

    repository: Path
    root_file: Path

    @property
    def bootstrap(self) -> Path:
        return self.repository / "clusters" / CLUSTER / "bootstrap"

    def read(self, *, leave_out: bool = False) -> Intent:
        return read_intent(self.repository, Layout.of(CLUSTER), leave_out=leave_out)

    def built(self) -> ConsumptionSettings:
        """What consumption of a cluster is built with from this repository."""
        return ConsumptionSettings(CLUSTER, self.read().catalogue, {})

    def keyless_problems(self) -> list[str]:
        """What is said without any identity."""
        try:
            self.read()
        except InvalidInputError as error:
            return [str(problem) for problem in error.problems]
        return []

    def root(self) -> Identity:
        return read_identity(self.root_file)

    def identity(self) -> Identity:
        sealed = f"clusters/{CLUSTER}/identity.age"
        return open_sealed(self.repository / sealed, sealed, self.root())

    def check(self) -> None:
        """Everything that a run with the root holder checks."""
        check_readable(self.read(), self.identity())

    def edit(self, file: str, change: Callable[[Any], None]) -> None:
        """Change a YAML file of the repository by hand, as someone without sops would."""
        path = self.repository / file
        document = yaml.safe_load(path.read_text())
        change(document)
        path.write_text(yaml.safe_dump(document, sort_keys=False))

    def encrypt(self, file: str, text: str | bytes, *options: str, kind: str = "yaml") -> Path:
        """Encrypt a text by the rules of .sops.yaml and write it to a file of the repository."""
        content = text.encode() if isinstance(text, str) else text
        types = ["--input-type", kind, "--output-type", kind]
        done = subprocess.run(
            [sops_program(), "encrypt", "--filename-override", file, *types, *options, "/dev/stdin"],
            cwd=self.repository,
            input=content,
            capture_output=True,
            check=True,
        )
        path = self.repository / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(done.stdout)
        return path

    def add_entry(self, name: str, *keys: str, namespace: str = "bootstrap-data", **fields: Any) -> None:
        """An entry of class bootstrap over Secret `namespace`/`name`."""
        entry = {
            "name": name,
            "class": "bootstrap",
            "owner": "team",
            "bootstrap": {"namespace": namespace, "secret": name, "keys": list(keys)},
            "vault": {"datasource": name, "consumer": "team"},
            "rotation": {"type": "static"},
            **fields,
        }
        self.edit(f"secret-authority/{CLUSTER}/catalogue.yaml", lambda doc: doc["secrets"].append(entry))

    def problems(self) -> list[str]:
        """What the checks say; empty when all is well."""
        try:
            self.check()
        except InvalidInputError as error:
            return [str(problem) for problem in error.problems]
        return []


@cache
def _original() -> Path:
    home = Path(mkdtemp(prefix="fleet-"))
    make_fleet(home / "fleet", home / "root.age", CLUSTER)
    return home


def new_fleet(home: Path) -> Fleet:
    """A fresh copy below `home`."""
    shutil.copytree(_original(), home, dirs_exist_ok=True)
    return Fleet(home / "fleet", home / "root.age")
