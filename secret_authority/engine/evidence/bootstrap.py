"""Evidence of the bootstrap phase: every bootstrap Secret holds what Git's ciphertext decrypts to.

Runs in the cluster as a Job with an identity of its own. Values are compared in memory and leave in no
form; what leaves is the outcome for each secret. RFC-SECOPS-0001 §5.
"""

from __future__ import annotations

import hmac
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from secret_authority.clients.flux_artifact import Artifact, ArtifactError, fetch
from secret_authority.contract.evidence_task import EvidenceTask
from secret_authority.contract.names import CLASS_LABEL, CONSUMED, HANDOVER_ID_ANNOTATION, STATE_LABEL
from secret_authority.core.catalogue.schema import CatalogueSecret, SecretClass
from secret_authority.core.errors import Problem
from secret_authority.core.evidence import Evidence, EvidenceResult, Outcome
from secret_authority.core.ledger.audit_trail import gives_to_vault
from secret_authority.core.ledger.published_trail import read_pieces
from secret_authority.core.phases import Phase
from secret_authority.repository.bootstrap.encrypted_secrets import read_encrypted
from secret_authority.repository.bootstrap.opened_secrets import open_secrets, values_of
from secret_authority.repository.catalogue.catalogue_file import read_good_entries
from secret_authority.repository.intent.digest import intent_digest


class ClusterView:
    """What the evidence reads of the cluster. Implemented over the Kubernetes API, and in tests over dicts."""

    def source(self) -> dict[str, Any]:
        """The GitRepository object."""
        raise NotImplementedError

    def applied_revision(self) -> str:
        """status.lastAppliedRevision of the bootstrap Kustomizations, "" while there is none.

        While they differ it names each, and so equals none.
        """
        raise NotImplementedError

    def secret(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        """{"data": {key: bytes}, "labels": {...}, "annotations": {...}}; None when there is no such Secret."""
        raise NotImplementedError

    def trail(self) -> Mapping[str, Mapping[str, str]]:
        """The data of the ConfigMaps with the published audit trail, by name; those that exist."""
        raise NotImplementedError


class NotYetError(Exception):
    """The cluster does not serve the wanted intent. The message says what it serves instead."""


def gather(
    task: EvidenceTask,
    view: ClusterView,
    identity: str,
    say: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
) -> Evidence:
    """Wait until Flux has applied the wanted intent, then compare each bootstrap Secret.

    Secrets, and records of handovers, that are not there yet are awaited until the deadline. Raises `NotYetError` after
    `task.deadline_seconds` when the cluster's Git holds another intent.
    """
    end = clock() + task.deadline_seconds
    last = ""
    while True:
        with tempfile.TemporaryDirectory() as folder:
            try:
                revision = serve_copy(task, view, Path(folder))
                findings = compare(Path(folder), task, view, identity)
                awaited = [f.where for f in findings if f.outcome in (Outcome.NO_SECRET, Outcome.NOT_ON_RECORD)]
                if not awaited or clock() >= end:
                    return Evidence(Phase.BOOTSTRAP, revision, datetime.now(UTC), findings)
                reason = "waiting for " + ", ".join(awaited)
            except (NotYetError, ArtifactError) as error:
                reason = str(error)
                if clock() >= end:
                    raise NotYetError(reason) from None
        if reason != last:
            say(reason)
            last = reason
        time.sleep(1)  # between two looks at a condition that has a deadline


def serve_copy(task: EvidenceTask, view: ClusterView, folder: Path) -> str:
    artifact = Artifact.of(view.source())
    if artifact is None:
        raise NotYetError("the Git source has fetched nothing yet")
    applied = view.applied_revision()
    if applied != artifact.revision:
        raise NotYetError(f"Flux fetched {artifact.revision} but has applied {applied or 'nothing'}")
    fetch(artifact, folder, [task.catalogue, *task.bootstrap])
    if intent_digest(folder, task.catalogue, task.bootstrap) != task.digest:
        raise NotYetError(
            f"the cluster's Git is at {artifact.revision}, whose secrets differ from the checkout that "
            "`pulumi up` read; push or pull, then run again"
        )
    return artifact.revision


def compare(folder: Path, task: EvidenceTask, view: ClusterView, identity: str) -> tuple[EvidenceResult, ...]:
    """One finding for each bootstrap secret of the catalogue in `folder`, apart from entries that are wrong."""
    catalogue, _ = read_good_entries(folder, task.catalogue)
    encrypted = read_encrypted(folder, task.bootstrap, fetched=True)
    opened = open_secrets(folder, encrypted.found, [identity])
    return tuple(
        EvidenceResult(secret.name, *_compare_one(secret, *values_of(secret, encrypted, opened), view))
        for secret in catalogue.of_class(SecretClass.BOOTSTRAP)
    )


def _compare_one(
    secret: CatalogueSecret, wanted: Mapping[str, bytes] | None, problem: Problem | None, view: ClusterView
) -> tuple[Outcome, str]:
    target = secret.bootstrap
    assert target is not None  # noqa: S101  the class has one
    place = f"Secret {target.namespace}/{target.secret}"
    if problem:
        return (Outcome.UNREADABLE, problem.file) if problem.field == "sops" else (Outcome.NOT_APPLIED, str(problem))
    if wanted is None:
        return Outcome.NO_FILE, place
    found = view.secret(target.namespace, target.secret)
    if found is None:
        return Outcome.NO_SECRET, place
    if found["labels"].get(CLASS_LABEL) != SecretClass.BOOTSTRAP:
        return Outcome.UNLABELLED, place
    data: Mapping[str, bytes] = found["data"]
    if found["labels"].get(STATE_LABEL) == CONSUMED and not data:
        # Anybody who writes the manifest can set a label. Only a handover on record empties a Secret.
        recorded = _is_on_record(secret.name, found["annotations"].get(HANDOVER_ID_ANNOTATION), view)
        return (Outcome.HANDED_OVER if recorded else Outcome.NOT_ON_RECORD), place
    if set(data) != set(wanted) or not set(target.keys) <= set(data):
        return Outcome.KEYS_DIFFER, place
    same = [hmac.compare_digest(data[key], wanted[key]) for key in sorted(wanted)]
    return (Outcome.MATCHES, place) if all(same) else (Outcome.VALUE_DIFFERS, place)


def _is_on_record(secret: str, handover: str | None, view: ClusterView) -> bool:
    trail = read_pieces(view.trail())
    events = trail.events if trail else ()
    return any((e.secret, e.id) == (secret, handover) and gives_to_vault(e) for e in events)
