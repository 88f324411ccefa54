"""Requests that change a policy: the metadata in Vault, then the event, then the answer. Each may be repeated."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime

from secret_authority.core.rotation.document import Request, RequestKind
from secret_authority.core.rotation.policy_change import EXPIRES, changed, policy_event
from secret_authority.engine.rotation.store import VaultRotationStore, read_requests

log = logging.getLogger(__name__)


def apply_policies(store: VaultRotationStore, requests: Iterable[Request], run: str, now: datetime) -> bool:
    """Do what these requests say of the policy; others are left alone. Returns whether there was one."""
    asked = [request for request in requests if request.kind is RequestKind.POLICY]
    for request in sorted(asked, key=lambda one: (one.at, one.id)):
        _apply(store, request, run, now)
    return bool(asked)


def answer_watched(store: VaultRotationStore, run: str, now: datetime) -> bool:
    """Answer what is asked of a secret without a rotator: only its policy may be changed. True if anything was."""
    try:
        requests = read_requests(store.vault, store.secret, store.answered)
    except ValueError as error:
        log.error("%s: a request is invalid: %s", store.secret, error)
        return False
    apply_policies(store, requests, run, now)
    for request in requests:
        if request.kind is not RequestKind.POLICY:
            store.answer(request.id, "refused: it has no rotator; enter its next value with --replace")
    return bool(requests)


def _apply(store: VaultRotationStore, request: Request, run: str, now: datetime) -> None:
    event = policy_event(request, store.secret, store.place, run, now)
    if not store.audited(event.id):
        try:
            if store.entry.rotator is not None and EXPIRES in request.changes:
                raise ValueError(f"{EXPIRES} is for what is issued elsewhere; set ttl")
            patch = changed(store.metadata(), request.changes, store.version())
        except ValueError as error:
            store.answer(request.id, f"refused: {error}")
            return
        if patch:
            store.patch_metadata(patch)
        store.append(event)
    log.info("%s: %s", store.secret, event.change)
    store.answer(request.id, "applied")
