"""Vault restored from a bundle, with real Vault processes: the whole cycle, kills at every request, what is refused."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pyrage import x25519

from secret_authority.clients.snapshot_bundle import Bundle
from secret_authority.clients.vault import Vault, VaultRefusedError
from secret_authority.clients.vault_trail import read_trail
from secret_authority.contract.names import RESTORE_RECORD, ROTATION_MOUNT, VAULT_NAMESPACE
from secret_authority.core.errors import Unavailable
from secret_authority.core.ledger.audit_trail import RESTORE_EVENTS
from secret_authority.core.restore.record import RestoreRecord
from secret_authority.core.restore.runner import restore
from secret_authority.core.restore.state_machine import Done, Observation, Reason, Refused, Step
from secret_authority.core.rotation.document import Document, Request, Trigger
from secret_authority.engine.restore.cluster_backend import every_share
from secret_authority.engine.runtime_authority.initial_configuration import RootAttemptError
from secret_authority.engine.runtime_authority.unseal_shares import SharesError, open_shares
from tests.support.restore_site import (
    CANARY,
    CONTROLLER,
    NAME,
    Cluster,
    bundle_of,
    cluster,
    fill,
    mount,
    read,
    restorer,
    write,
)
from tests.support.vault_process import vault_program, wait_for

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(vault_program() is None, reason="no vault program: run `make tools`"),
]


class Killed(BaseException):
    """The process of the restore ends here."""


@dataclass
class Lost:
    """A Vault that is gone: its bundle, who opens it, and tokens that it had given."""

    bundle: Bundle
    root: str
    cluster: x25519.Identity
    holder: x25519.Identity
    live: str
    revoked: str


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lost]:
    with cluster(tmp_path_factory.mktemp("lost") / "vault") as source:
        root = source.as_root()
        fill(root)
        live, dead = (
            str(root.write("auth/token/create", {"policies": ["default"], "ttl": "1h"})["auth"]["client_token"])
            for _ in range(2)
        )
        bundle = bundle_of(source, root)
        root.with_token(dead).write("auth/token/revoke-self", {})
        # What happens after the snapshot is lost.
        write(root, "postgres/orders", f"{CANARY}-later", cas=2)
        source.server.kill()
        assert root.token is not None
        yield Lost(bundle, root.token, source.cluster, source.root, live, dead)


@pytest.fixture
def target(tmp_path: Path, lost: Lost) -> Iterator[Cluster]:
    """A new cluster with the identities of the lost one, as a rebuild from Git makes it."""
    with cluster(tmp_path / "vault", cluster=lost.cluster, root=lost.holder) as made:
        yield made


def restored(target: Cluster, lost: Lost) -> Vault:
    """What has to hold after every restore that ended; the restored Vault as root."""
    record = RestoreRecord.from_data(target.api.objects[_path("configmaps", RESTORE_RECORD)]["data"])
    assert record.opened and record.person == "kim" and record.snapshot == NAME
    assert set(target.api.running().values()) == {1}, "everything is scaled up again"
    for token in (lost.root, lost.live, lost.revoked):
        with pytest.raises(VaultRefusedError, match="403"):
            target.server.api.with_token(token).read("auth/token/lookup-self")
    root = target.as_root()  # with the stored shares, which the engine reads
    policies = [
        root.write("auth/token/lookup-accessor", {"accessor": accessor})["data"]["policies"]
        for accessor in root.list("auth/token/accessors")
    ]
    assert policies == [["root"]], "no token but this one"
    assert read(root, "postgres/orders") == f"{CANARY}-2" and read(root, "stripe/payment") == f"{CANARY}-3"
    document = Document.from_fields((root.read(f"{ROTATION_MOUNT}/data/docs/postgres/orders") or {})["data"]["data"])
    assert not document.in_flight and document.pending is None and "restore" in document.result
    (asked,) = root.list(f"{ROTATION_MOUNT}/metadata/rotation-requests/orders-db")
    found = (root.read(f"{ROTATION_MOUNT}/data/rotation-requests/orders-db/{asked}") or {})["data"]["data"]
    assert Request.from_fields({**found, "id": asked}).trigger is Trigger.RESTORE and "outcome" not in found
    events = [event for event in read_trail(root).events if event.secret == RESTORE_EVENTS]
    assert [(event.person, event.place) for event in events] == [("kim", NAME)]
    return root


def _path(kind: str, name: str) -> str:
    return f"api/v1/namespaces/{VAULT_NAMESPACE}/{kind}/{name}"


def test_everything_of_the_snapshot_comes_back_and_nothing_that_was_revoked(
    target: Cluster, lost: Lost, caplog: pytest.LogCaptureFixture
) -> None:
    run = restorer(target, lost.bundle, str(lost.holder))
    result = restore(NAME, run)
    assert isinstance(result.end, Done) and len(set(result.steps)) == len(result.steps) == 11
    restored(target, lost)
    # The engine opens it by itself after every restart, with what is stored.
    target.restart()
    target.serve()
    again = restorer(target, lost.bundle, str(lost.holder))
    assert isinstance(restore(NAME, again).end, Done)
    kept = json.dumps([target.api.objects, caplog.messages], default=str)
    stored = [base64.b64decode(text) for text in _texts(target.api.objects)]
    assert CANARY not in kept and not any(CANARY.encode() in text for text in stored)
    assert not any(share.encode() in text for share in every_share(lost.bundle, str(lost.holder)) for text in stored)


def _texts(objects: dict[str, dict[str, object]]) -> Iterator[str]:
    for path, found in objects.items():
        if "/secrets/" in path:
            data = found["data"]
            assert isinstance(data, dict)
            yield from data.values()


def test_killed_before_and_after_every_request_it_ends_the_same(target: Cluster, lost: Lost) -> None:
    """Each run is killed one point later than the one before, and from the first one again once a step has begun."""
    begun: list[Step] = []
    kills = most = 0
    for _ in range(3000):
        count, before = 0, len(begun)

        def point(at: int = most) -> None:
            nonlocal count
            count += 1
            if count > at:
                raise Killed

        run = restorer(target, lost.bundle, str(lost.holder), point)
        do = run.do

        def noted(step: Step, seen: Observation, do: Callable[[Step, Observation], None] = do) -> None:
            if step not in begun:
                begun.append(step)
            do(step, seen)

        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(run, "do", noted)
                result = restore(NAME, run)
        except Killed:
            kills += 1
            most = most + 1 if len(begun) == before else 0
            continue
        except RootAttemptError:
            # Killed before there was a record: whose attempt it is, nobody can know. The command says how to cancel it.
            assert _path("configmaps", RESTORE_RECORD) not in target.api.objects
            target.server.api.delete("sys/generate-root/attempt")
            continue
        assert isinstance(result.end, Done)
        break
    target.api.point = lambda: None
    assert kills > 300 and set(begun) == set(Step)
    restored(target, lost)


def test_a_vault_that_dies_right_after_it_has_agreed_is_restored_by_the_next_run(target: Cluster, lost: Lost) -> None:
    """Vault answers before the restore is durable, so what counts is what it holds."""
    run = restorer(target, lost.bundle, str(lost.holder))
    upload = Vault.upload

    def dying(self: Vault, path: str, content: bytes, seconds: float) -> None:
        upload(self, path, content, seconds)
        target.server.kill()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Vault, "upload", dying)
        result = restore(NAME, run, most_looks=8)
        assert not isinstance(result.end, Done)
    target.server.start()
    wait_for(lambda: _alive(target), "Vault answers")
    result = restore(NAME, restorer(target, lost.bundle, str(lost.holder)))
    assert isinstance(result.end, Done)
    restored(target, lost)


def _alive(target: Cluster) -> bool:
    with contextlib.suppress(Unavailable):
        return bool(target.server.api.health())
    return False


def test_other_numbers_of_shares_need_one_restart_of_vault_and_a_holder_who_has_left_gets_none(
    tmp_path: Path, lost: Lost
) -> None:
    present = x25519.Identity.generate()
    with cluster(tmp_path / "vault", cluster=lost.cluster, root=present, numbers=(1, 1)) as target:
        # The bundle opens with an identity of its day; the shares are sealed to those who are admitted now.
        both = f"{lost.holder}\n{present}"
        assert isinstance(restore(NAME, restorer(target, lost.bundle, both)).end, Done)
        restored(target, lost)
        with pytest.raises(SharesError, match="opens 0 of the 3"):
            open_shares(target.store.load(), str(lost.holder))


def test_a_vault_that_holds_a_value_is_never_overwritten(target: Cluster, lost: Lost) -> None:
    root = target.as_root()
    mount(root, "platform-data")
    write(root, "postgres/orders", "new")
    before = json.dumps(target.api.objects, sort_keys=True)
    run = restorer(target, lost.bundle, str(lost.holder))
    result = restore(NAME, run)
    run.end()
    assert isinstance(result.end, Refused) and result.end.reason is Reason.HOLDS_VALUES and not result.steps
    assert json.dumps(target.api.objects, sort_keys=True) == before and read(root, "postgres/orders") == "new"
    accessors = root.list("auth/token/accessors")
    assert len(accessors) == 1, "the run's own root token is revoked; that of others is not"


def test_the_way_to_the_values_is_closed_until_everything_is_in_order(target: Cluster, lost: Lost) -> None:
    open_at: list[Step] = []

    def progress(step: Step) -> None:
        if target.api.running()[CONTROLLER]:
            open_at.append(step)

    assert isinstance(restore(NAME, restorer(target, lost.bundle, str(lost.holder)), progress).end, Done)
    assert open_at == [Step.BEGIN, Step.OPEN]


def test_who_cannot_open_the_shares_changes_nothing(lost: Lost) -> None:
    with pytest.raises(SharesError, match="opens 0 of the 5"):
        every_share(lost.bundle, str(x25519.Identity.generate()))
