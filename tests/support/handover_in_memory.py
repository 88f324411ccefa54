"""A handover over servers in memory, and what Git says of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from secret_authority.core.catalogue.admission import admitted_entries
from secret_authority.core.catalogue.schema import Catalogue, SecretClass
from secret_authority.core.digest import value_digest
from secret_authority.core.handover.runner import Result
from secret_authority.core.handover.state_machine import InGit
from secret_authority.engine.handover.controller import Handover
from secret_authority.engine.handover.git_state import GitState
from tests.fakes.handover import MemoryApi, MemoryVault, entry, secret, secret_path

KEY = b"k" * 32


ORDERS = entry("orders-db", "orders-db", ["password"])


VALUE = {"password": b"v1"}


def in_git(given: Catalogue, values: Mapping[str, Mapping[str, bytes]], revision: str = "main@sha1:1") -> GitState:
    """A revision whose encrypted files hold these values, by entry."""
    entries = {found.name: found for found in given.of_class(SecretClass.BOOTSTRAP)}
    known = {
        name: InGit(value_digest(KEY, name, str(entries[name].vault), content)) for name, content in values.items()
    }
    return GitState(revision, given, known)


class Site:
    """A cluster with one bootstrap Secret, and the catalogue that the program has checked."""

    def __init__(self, admitted: Catalogue, values: Mapping[str, bytes], name: str = "orders-db", **more: Any) -> None:
        self.api, self.vault, self.admitted = MemoryApi(), MemoryVault(), admitted
        self.path = secret_path(name)
        self.flux(values, **more)

    def flux(self, values: Mapping[str, bytes], **more: Any) -> None:
        """Flux creates the Secret again."""
        self.api.put(self.path, secret(self.path.rpartition("/")[2], values, **more))

    def run(self, git: GitState, name: str = "run-1", workers: int = 1) -> tuple[Result, ...]:
        engine = Handover("dev", self.api, self.vault, name, admitted_entries(self.admitted), workers)
        return engine.run(git, KEY).results

    def data(self) -> Mapping[str, str]:
        return self.api.objects[self.path].get("data") or {}
