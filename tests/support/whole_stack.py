"""A stack at phase 4 in order, to compare with after something was lost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from secret_authority.core.catalogue.schema import SecretClass
from secret_authority.engine.snapshots.metadata import read_metadata
from tests.support.consumer_secrets import Secrets, consumer_secrets
from tests.support.recorded_stack import RecordedStack
from tests.support.vault_way import broken_glass
from tests.support.waiting import until

EVERY = (SecretClass.BOOTSTRAP, SecretClass.EXTERNAL, SecretClass.INTERNAL)


@dataclass(frozen=True)
class Whole:
    """A stack in order, what its workloads have, and the version of each path of Vault."""

    stack: RecordedStack
    secrets: Secrets
    versions: dict[str, str]
    folder: Path

    def nothing_is_lost(self) -> None:
        """Everything is there again, and Vault holds what it held."""
        until(
            lambda: consumer_secrets(self.stack, *EVERY) == self.secrets,
            lambda: f"these differ: {sorted(set(self.secrets) ^ set(consumer_secrets(self.stack, *EVERY)))}",
            180,
        )
        assert versions(self.stack, self.folder) == self.versions


def versions(stack: RecordedStack, folder: Path) -> dict[str, str]:
    """The newest version of each path of Vault that a consumer reads."""
    root, _ = stack.identities()
    with broken_glass(stack.kubeconfig, folder, root.secret) as vault:
        return {one.location: one.mark for one in read_metadata(vault, ("platform-data", "platform-config"))}


def whole_stack(stack: RecordedStack, folder: Path) -> Whole:
    """The stack, once every Secret is delivered."""
    wanted = len(stack.wanted_values())
    until(lambda: len(consumer_secrets(stack, *EVERY)) >= wanted, "every Secret is delivered", 120)
    return Whole(stack, consumer_secrets(stack, *EVERY), versions(stack, folder), folder)
