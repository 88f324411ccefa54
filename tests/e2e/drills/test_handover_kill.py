"""The handover, broken at every boundary: real Vault, real API server, real SIGKILL.

For every request that a run makes, before it and after it: the process is killed, Vault is sealed, the way to
Vault is cut, the way to the API server is cut. A second run must end in the state of an undisturbed one, and
a watcher from outside must see one authority at every instant.
"""

from __future__ import annotations

import os
import signal
import stat
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from secret_authority.clients.kubernetes import named
from secret_authority.clients.vault import VaultRefusedError
from secret_authority.clients.vault_trail import read_trail
from secret_authority.core.handover.state_machine import Blocked, Notice, Reason
from secret_authority.core.ledger.audit_trail import match_vault_log
from secret_authority.core.phases import Authority
from tests.support.handover_site import WAYS, Site, Watcher, end_of, site
from tests.support.recorded_stack import RecordedStack
from tests.support.vault_process import vault_program, wait_for

pytestmark = [
    pytest.mark.drill,
    pytest.mark.cluster,
    pytest.mark.skipif(vault_program() is None, reason="no vault program: run `make tools`"),
]
VALUES = {"password": b"one", "blob": b"\xff\x00\x01"}
KEYS = ("password", "blob")


@pytest.fixture(scope="module")
def place(stack: RecordedStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("handover"), stack.kubeconfig) as found:
        yield found


def test_killed_sealed_and_cut_at_every_boundary(place: Site, stack: RecordedStack) -> None:
    place.make("reference", VALUES)
    quiet = end_of(place.child([place.entry("reference", KEYS)]))
    assert quiet.startswith("done "), quiet
    requests = int(quiet.split()[-1])
    reference = place.state("reference")
    assert reference["values"] == {"password": "one", "blob": "/wAB"} and reference["data"] is None
    assert (
        reference["times agree"]
        and reference["digest fits"]
        and reference["events"] == 1
        and reference["state"] == "consumed"
    )
    cases = [(way, at, after) for way in WAYS for at in range(requests) for after in (False, True)]
    names = {case: f"case-{number}" for number, case in enumerate(cases)}
    broken = 0
    with Watcher(place, list(names.values())) as watcher:
        for (way, at, after), name in names.items():
            place.make(name, VALUES)
            end = end_of(place.child([place.entry(name, KEYS)], at, after, way))
            broken += not end.startswith("done")
            assert way != "kill" or end == "killed", f"{way} at {at}: {end}"
            if way == "seal":
                place.unseal()
        # The second run finds every case where its fault left it.
        again = end_of(place.child([place.entry(name, KEYS) for name in names.values()], workers=4))
        assert again.startswith("done "), again
        for case, name in names.items():
            assert place.state(name) == reference, f"{case}"
    assert watcher.wrong == []
    assert watcher.looks > len(cases)
    assert set(watcher.seen.values()) == {Authority.VAULT}
    stack.measured.append((f"handover broken {len(cases)} of {len(cases)} times, {watcher.looks} looks", 0.0))
    # Most of the faults really stopped a run; the rest struck at its very end.
    assert broken > len(cases) * 3 // 4


def test_two_hundred_secrets_with_the_engine_killed_in_the_middle(place: Site) -> None:
    names = [f"many-{number}" for number in range(200)]
    entries = [place.entry(name) for name in names]
    for name in names:
        place.make(name, {"password": name.encode()})
    with Watcher(place, names[::20]) as watcher:
        for at in (150, 400, 700):
            assert end_of(place.child(entries, at, False, "kill", workers=8)) == "killed"
        summary = place.hand_over(entries)
    assert summary.complete and len(summary.done) == 200
    assert watcher.wrong == []
    for name in names[::20]:
        state = place.state(name)
        assert state["values"] == {"password": name} and state["version"] == 1 and state["events"] == 1
        assert state["times agree"]


def test_the_trail_and_vaults_own_audit_log_tell_the_same_story(place: Site) -> None:
    events = place.events()
    assert len(events) >= 200
    hashed = {
        event.id: place.root.write("sys/audit-hash/file", {"input": event.id})["data"]["hash"] for event in events
    }
    with place.server.audit_file.open() as log:
        assert match_vault_log(events, log, hashed, timedelta(seconds=30)) == []
    # The comparison can fail: an event that nobody made, and a record without its event, are both found.
    with place.server.audit_file.open() as log:
        assert len(match_vault_log(events[1:], log, hashed, timedelta(seconds=30))) >= 1


def test_no_value_stands_in_the_audit_log(place: Site) -> None:
    text = place.server.audit_file.read_text()
    assert "platform-data/data/drill/many-7" in text
    assert '"many-7"' not in text and "/wAB" not in text


def test_a_foreign_value_in_vault_is_reported_and_not_overwritten(place: Site) -> None:
    place.make("foreign", {"password": b"git"})
    place.root.write("platform-data/data/drill/foreign", {"options": {"cas": 0}, "data": {"password": "other"}})
    (result,) = place.hand_over([place.entry("foreign")]).results
    assert isinstance(result.end, Blocked) and result.end.reason is Reason.VALUE_DIFFERS and result.steps == ()
    state = place.state("foreign")
    assert state["values"] == {"password": "other"} and state["metadata"] == {} and state["data"] is not None
    assert "other" not in str(result.end).replace("another", "") and "git" not in str(result.end).lower().split()


def test_a_change_in_git_after_the_handover_is_reported_and_not_applied(place: Site) -> None:
    place.make("later", {"password": b"one"})
    assert place.hand_over([place.entry("later")]).complete
    before = place.state("later")
    place.git["later"] = {"password": b"changed"}
    (result,) = place.hand_over([place.entry("later")]).results
    assert Notice.GIT_CHANGED in result.notices and result.steps == ()
    assert place.state("later") == before


@pytest.mark.parametrize(
    ("name", "more", "values"),
    [
        ("typed", {"type": "kubernetes.io/tls"}, {"tls.crt": b"c", "tls.key": b"k"}),
        ("immutable", {"immutable": True}, {"password": b"x"}),
        ("login", {"type": "kubernetes.io/basic-auth"}, {"username": b"u", "password": b"x"}),
    ],
)
def test_secrets_whose_data_cannot_be_changed_are_consumed_too(
    place: Site, name: str, more: dict[str, object], values: dict[str, bytes]
) -> None:
    place.make(name, values, **more)
    assert place.hand_over([place.entry(name, tuple(values))]).complete
    held = place.api.get(named("secrets", place.namespace, name))
    assert held is not None and held.get("data") is None and held["type"] == "Opaque"


def test_a_secret_made_anew_by_flux_is_emptied_again(place: Site) -> None:
    place.make("again", {"password": b"x"})
    assert place.hand_over([place.entry("again")]).complete
    place.api.delete(named("secrets", place.namespace, "again"))
    place.make("again", {"password": b"x"})
    assert place.hand_over([place.entry("again")]).complete
    assert place.state("again")["data"] is None and place.state("again")["events"] == 1


def test_consumed_without_a_record_is_a_conflict(place: Site) -> None:
    """Vault was lost and is empty, the Secret is consumed: nobody has the value, and that is said."""
    place.make("lost", {"password": b"x"})
    assert place.hand_over([place.entry("lost")]).complete
    (event,) = read_trail(place.root, "lost").events
    place.root.delete("platform-data/metadata/drill/lost")
    (result,) = place.hand_over([place.entry("lost")]).results
    assert isinstance(result.end, Blocked) and result.end.reason is Reason.RECORD_LOST
    for path in (f"events/lost/{event.id}", "handovers/lost"):
        place.root.delete(f"platform-authority/metadata/{path}")
    (result,) = place.hand_over([place.entry("lost")]).results
    assert isinstance(result.end, Blocked) and result.end.reason is Reason.CONSUMED_WITHOUT_RECORD


def test_a_secret_is_handed_over_once_whatever_path_the_catalogue_gives_it(place: Site) -> None:
    """The note is create-only in Vault itself: the engine's policy cannot change it."""
    place.make("once", {"password": b"x"})
    entry = place.entry("once")
    assert place.hand_over([entry]).complete
    place.api.delete(named("secrets", place.namespace, "once"))
    place.make("once", {"password": b"of Git"})
    moved = {**entry, "vault": {"datasource": "drill", "consumer": "elsewhere"}}
    (result,) = place.hand_over([moved]).results
    assert isinstance(result.end, Blocked) and result.end.reason is Reason.HANDED_OVER_BEFORE
    assert place.root.read("platform-data/data/drill/elsewhere") is None
    vault = place.server.api.with_token(place.engine_token())
    with pytest.raises(VaultRefusedError):
        vault.write("platform-authority/data/handovers/once", {"data": {"id": "x", "place": "y"}})


def test_a_full_audit_device_stalls_nothing(place: Site, tmp_path_factory: pytest.TempPathFactory) -> None:
    """One of the audit devices gets no byte written any more; requests go on, and the others take their lines."""
    second = tmp_path_factory.mktemp("audit") / "log"
    place.root.write("sys/audit/second", {"type": "file", "options": {"file_path": str(second)}})
    log, old = place.server.audit_file, place.server.audit_file.with_suffix(".old")
    log.rename(old)
    # A full device of its own: Vault sets the mode of its audit file, and would set that of /dev/full.
    os.mknod(log, stat.S_IFCHR | 0o600, os.makedev(1, 7))
    assert place.server.process is not None
    place.server.process.send_signal(signal.SIGHUP)  # Vault opens its audit files anew
    wait_for(lambda: place.server.open_files() & {str(old), str(log)} == {str(log)}, "Vault writes to the full device")
    before = old.stat().st_size
    place.make("full", {"password": b"x"})
    begun = time.monotonic()
    assert place.hand_over([place.entry("full")]).complete
    assert time.monotonic() - begun < 30
    standard_output = place.server.folder / "log"
    for device in (second, standard_output):
        assert "platform-data/metadata/drill/full" in device.read_text(), device
    assert old.stat().st_size == before
    assert f'error writing file for sink \\"{log}\\"' in standard_output.read_text(), "the device was not full"
