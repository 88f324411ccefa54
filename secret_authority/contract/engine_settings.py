"""What the Pulumi program tells the engine of the runtime authority: names and places, nothing secret."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from secret_authority.core.recipients import Admission


@dataclass(frozen=True)
class Identities:
    """The service accounts that log in to Vault, as (namespace, name)."""

    engine: tuple[str, str]
    configurator: tuple[str, str]
    auditor: tuple[str, str]


@dataclass(frozen=True)
class GitPlaces:
    """Where the intent is: Flux's objects, and folders of the repository."""

    namespace: str
    source: str
    catalogue: str
    bootstrap: tuple[str, ...]


@dataclass(frozen=True)
class EngineSettings:
    """Settings of the engine. The program writes them with `to_json`, the engine reads them with `from_json`.

    `admitted`: the entries of class bootstrap that the program has checked, as `admitted_entries` gives them.
    `awaited_snapshot`: what Vault is to be restored from before anything is handed over; empty for nothing.
    """

    cluster: str
    namespace: str
    vault_namespace: str
    pods: tuple[str, ...]
    service: str
    certificate_names: tuple[str, ...]
    shares: int
    threshold: int
    # To whom the unseal shares are encrypted, with the proof that a root holder admitted them.
    admission: Admission
    identities: Identities
    git: GitPlaces
    admitted: Mapping[str, str]
    identity_file: Path
    vault_token_file: Path
    ca_file: Path
    awaited_snapshot: str = ""

    def to_json(self) -> str:
        return json.dumps(
            {
                "cluster": self.cluster,
                "namespace": self.namespace,
                "vaultNamespace": self.vault_namespace,
                "pods": self.pods,
                "service": self.service,
                "certificateNames": self.certificate_names,
                "shares": self.shares,
                "threshold": self.threshold,
                "admission": self.admission.as_dict(),
                "serviceAccounts": {
                    "engine": self.identities.engine,
                    "configurator": self.identities.configurator,
                    "auditor": self.identities.auditor,
                },
                "git": {
                    "namespace": self.git.namespace,
                    "source": self.git.source,
                    "catalogue": self.git.catalogue,
                    "bootstrap": self.git.bootstrap,
                },
                "admitted": dict(self.admitted),
                "identityFile": str(self.identity_file),
                "vaultTokenFile": str(self.vault_token_file),
                "caFile": str(self.ca_file),
                "awaitedSnapshot": self.awaited_snapshot,
            },
            sort_keys=True,
        )

    @classmethod
    def from_json(cls, text: str) -> EngineSettings:
        """Raises KeyError for a missing field."""
        data = json.loads(text)
        accounts, git = data["serviceAccounts"], data["git"]
        return cls(
            cluster=data["cluster"],
            namespace=data["namespace"],
            vault_namespace=data["vaultNamespace"],
            pods=tuple(data["pods"]),
            service=data["service"],
            certificate_names=tuple(data["certificateNames"]),
            shares=data["shares"],
            threshold=data["threshold"],
            admission=Admission.from_dict(data["admission"]),
            identities=Identities(
                tuple(accounts["engine"]), tuple(accounts["configurator"]), tuple(accounts["auditor"])
            ),
            git=GitPlaces(git["namespace"], git["source"], git["catalogue"], tuple(git["bootstrap"])),
            admitted=data["admitted"],
            identity_file=Path(data["identityFile"]),
            vault_token_file=Path(data["vaultTokenFile"]),
            ca_file=Path(data["caFile"]),
            awaited_snapshot=data["awaitedSnapshot"],
        )
