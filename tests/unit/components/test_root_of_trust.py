"""What a cluster has on record of its root of trust, and who may change it: a run with the root holder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from components.root_of_trust import RootOfTrustArgs, open_identity, record_of
from components.settings.stack import Settings
from secret_authority.access.cluster_state import ClusterState
from secret_authority.clients.age import Identity, seal, write_identity
from secret_authority.core.errors import InvalidInputError
from secret_authority.core.recipients import TrustRecord
from secret_authority.repository.trust.writer import add_cluster, admit_cluster, reseal_cluster
from tests.fakes.pulumi import settings
from tests.support.fleets import Fleet, new_fleet


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return new_fleet(tmp_path)


def recorded(fleet: Fleet, *retired: str) -> ClusterState:
    """A cluster that was built with the present state of Git."""
    trust = fleet.read().trust
    recipient = trust.cluster("dev").recipient
    return ClusterState(
        True, recipient=recipient, trust=TrustRecord(recipient, frozenset(trust.holders()), frozenset(retired))
    )


def run(
    fleet: Fleet, cluster: ClusterState, *, root: bool = False, change: Callable[[Settings], Settings] = lambda s: s
) -> TrustRecord:
    args = RootOfTrustArgs(change(settings(fleet, root=root)), fleet.read(), cluster)
    open_identity(args)
    return record_of(args)


def add_bob(fleet: Fleet) -> str:
    bob = Identity.generate().recipient
    fleet.edit("root-of-trust.yaml", lambda doc: doc["root"].append({"holder": "bob", "recipient": bob}))
    (fleet.repository / ".sops.yaml").unlink()
    for file in fleet.bootstrap.glob("*.yaml"):
        file.unlink()
    fleet.edit("secret-authority/dev/catalogue.yaml", without_bootstrap)
    reseal_cluster(fleet.repository, "dev", fleet.root(), [bob])
    return bob


def without_bootstrap(document: Any) -> None:
    """Fewer files to seal again; what is asked here is asked of recipients alone."""
    document["secrets"] = [entry for entry in document["secrets"] if entry["class"] != "bootstrap"]


def test_what_is_on_record_needs_nobody(fleet: Fleet) -> None:
    cluster = recorded(fleet)
    assert run(fleet, cluster) == cluster.trust


def test_a_cluster_without_a_record_needs_the_root_holder_once(fleet: Fleet) -> None:
    cluster = replace(recorded(fleet), trust=None)
    with pytest.raises(InvalidInputError, match=r"has no record .* of admitted recipients. Fix: run once with SECRET_"):
        run(fleet, cluster)
    assert run(fleet, cluster, root=True) == recorded(fleet).trust


def test_a_holder_who_is_only_in_git_needs_the_root_holder(fleet: Fleet) -> None:
    cluster = recorded(fleet)
    bob = add_bob(fleet)
    with pytest.raises(InvalidInputError, match=rf"names bob \({bob}\) in root, whom the cluster does not have on rec"):
        run(fleet, cluster)
    assert bob in run(fleet, cluster, root=True).root


def test_an_admission_that_is_not_genuine_stops_the_root_holder_too(fleet: Fleet) -> None:
    cluster = recorded(fleet)
    add_bob(fleet)
    fleet.edit("root-of-trust.yaml", lambda doc: doc["clusters"][0]["admission"].update(mac="hmac-sha256:00"))
    with pytest.raises(InvalidInputError, match="was not made by a root holder"):
        run(fleet, cluster, root=True)


def test_a_holder_who_is_gone_needs_the_root_holder(fleet: Fleet) -> None:
    cluster = recorded(fleet)
    gone = Identity.generate().recipient
    assert cluster.trust
    cluster = replace(cluster, trust=replace(cluster.trust, root=cluster.trust.root | {gone}))
    with pytest.raises(InvalidInputError, match=f"does not name {gone} in root any more"):
        run(fleet, cluster)
    assert gone not in run(fleet, cluster, root=True).root


def test_another_identity_is_planted_only_when_it_is_named(fleet: Fleet) -> None:
    """Whoever can push can also make a whole new identity; a root holder must not plant it unawares."""
    cluster = recorded(fleet)
    old = fleet.read().trust.cluster("dev").recipient
    retired = [{"recipient": old, "retired": "2026-01-31", "reason": "leaked"}]
    for file in fleet.bootstrap.glob("*.yaml"):
        file.unlink()
    fleet.edit("secret-authority/dev/catalogue.yaml", without_bootstrap)
    fleet.edit("root-of-trust.yaml", lambda doc: doc.update(clusters=None, retired=retired))
    new = add_cluster(fleet.repository, "dev")
    with pytest.raises(InvalidInputError, match=f"NEW_IDENTITY set to {new}"):
        run(fleet, cluster, root=True)
    with pytest.raises(InvalidInputError, match="is replaced only with the root holder"):
        run(fleet, cluster, change=lambda chosen: replace(chosen, new_identity=new))
    record = run(fleet, cluster, root=True, change=lambda chosen: replace(chosen, new_identity=new))
    assert record.recipient == new and record.retired == {old}


def test_a_git_that_was_wound_back_brings_nobody_back(fleet: Fleet) -> None:
    """The retired identity is in Git again, and Git does not say any more that it is retired."""
    trust = fleet.read().trust
    cluster = recorded(fleet, trust.cluster("dev").recipient)
    for root in (False, True):
        with pytest.raises(InvalidInputError, match="has on record as retired: Git was wound back"):
            run(fleet, cluster, root=root)


def test_a_retired_recipient_is_not_forgotten(fleet: Fleet) -> None:
    old = Identity.generate().recipient
    cluster = recorded(fleet, old)
    with pytest.raises(InvalidInputError, match=f"retired: does not name {old}, which cluster dev has on record"):
        run(fleet, cluster, root=True)
    entry = {"recipient": old, "retired": "2026-01-31", "reason": "left"}
    fleet.edit("root-of-trust.yaml", lambda doc: doc.update(retired=[entry]))
    assert run(fleet, cluster).retired == {old}


def test_the_stack_can_pin_the_recipients(fleet: Fleet) -> None:
    digest = fleet.read().trust.digest("dev")
    run(fleet, recorded(fleet), change=lambda chosen: replace(chosen, trust_digest=digest))
    with pytest.raises(InvalidInputError, match=f"set rootOfTrust of the stack to {digest}"):
        run(fleet, recorded(fleet), root=True, change=lambda chosen: replace(chosen, trust_digest="sha256:0"))


def test_a_one_time_identity_opens_what_a_holder_sealed_to_it(fleet: Fleet, tmp_path: Path) -> None:
    """The root identity is on no machine with a network: `cluster request`, `root rewrap`, then this run."""
    once, answer = Identity.generate(), tmp_path / "answer.age"
    write_identity(once, tmp_path / "once.age")
    answer.write_bytes(seal(fleet.identity(), [once.recipient]))
    chosen = replace(settings(fleet, root=False), root_identity=tmp_path / "once.age", sealed_identity=answer)
    assert open_identity(RootOfTrustArgs(chosen, fleet.read(), ClusterState(True))) == fleet.identity()


def test_a_record_is_read_as_it_was_written() -> None:
    record = TrustRecord("age1a", frozenset({"age1b", "age1c"}), frozenset({"age1d"}))
    assert TrustRecord.from_data(record.as_data()) == record
    assert TrustRecord.from_data({}).root == frozenset()


def test_an_admitted_cluster_is_admitted_again(fleet: Fleet) -> None:
    admit_cluster(fleet.repository, "dev", fleet.root())
    assert run(fleet, recorded(fleet), root=True) == recorded(fleet).trust
