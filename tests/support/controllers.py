"""A controller of the runtime authority over servers in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from secret_authority.contract.engine_settings import EngineSettings, GitPlaces, Identities
from secret_authority.core.catalogue.admission import admitted_entries
from secret_authority.core.catalogue.schema import parse_catalogue
from secret_authority.core.handover.runner import Result
from secret_authority.core.handover.state_machine import Done, Record, Step
from secret_authority.core.ledger.audit_trail import Event
from secret_authority.core.recipients import Admission
from secret_authority.engine.common.publisher import Publisher
from secret_authority.engine.common.status import Status
from secret_authority.engine.handover.controller import Summary
from secret_authority.engine.handover.git_state import GitState
from secret_authority.engine.runtime_authority import controller as authority_loop
from secret_authority.engine.runtime_authority.controller import RuntimeAuthorityController
from tests.fakes.kubernetes import FakeConfigMaps
from tests.fakes.vault import TrailVault
from tests.support.documents import DOCUMENT

RECORD = Record("s-0", "ho-1", "hmac-sha256:00", "2026-01-01T00:00:00+00:00", "run-1")
GIT = GitState("main@sha1:0", parse_catalogue(DOCUMENT, "catalogue.yaml"))


class TrailSite:
    """An engine over a fake Vault and a fake cluster, with a summary to tell."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *events: Event) -> None:
        self.cluster, self.vault = FakeConfigMaps(), TrailVault(*events)
        monkeypatch.setattr(authority_loop, "Vault", lambda *_: self.vault)
        publisher = Publisher(self.cluster, "ns", lambda: self.cluster.now)
        monkeypatch.setattr(authority_loop, "Publisher", lambda *_: publisher)
        nobody = ("none", "none")
        settings = EngineSettings(
            cluster="dev",
            namespace="ns",
            vault_namespace="vault",
            pods=("https://vault-0",),
            service="https://vault",
            certificate_names=("vault",),
            shares=1,
            threshold=1,
            admission=Admission("dev", "age1a", (), "", ""),
            identities=Identities(nobody, nobody, nobody),
            git=GitPlaces("flux-system", "fleet", "catalogue.yaml", ("bootstrap",)),
            admitted=admitted_entries(GIT.catalogue),
            identity_file=Path("/nonexistent"),
            vault_token_file=Path("/nonexistent"),
            ca_file=Path("/nonexistent"),
        )
        self.status = Status()
        self.engine = RuntimeAuthorityController(settings, self.cluster, "run-1", self.status)
        self.publisher = publisher

    def condition(self, name: str) -> tuple[object, object]:
        """Status and message of a condition."""
        found = self.status.as_dict()[name]
        return found["status"], found["message"]

    def tell(self, *steps: Step) -> None:
        self.engine.publish_handover(GIT, Summary((Result("s-0", Done(RECORD), steps),)))
