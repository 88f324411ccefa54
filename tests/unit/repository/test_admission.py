"""Nobody becomes a root holder by Git alone."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from secret_authority.clients.age import Identity, seal
from secret_authority.clients.age_header import holds_data_key, parse_header
from secret_authority.core.errors import InvalidInputError
from secret_authority.core.recipients import Admission, file_digest
from secret_authority.engine.runtime_authority.unseal_shares import SharesError, admitted_recipients
from secret_authority.repository.intent.intent import check_readable
from secret_authority.repository.trust.writer import admit_cluster, reseal_cluster
from tests.support.fleets import Fleet, new_fleet

MALLORY = Identity.generate()
SEALED = "clusters/dev/identity.age"


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return new_fleet(tmp_path)


def name_mallory(fleet: Fleet, enc: str) -> None:
    """Everything that somebody with push rights and no key can write: proof p12(a) of the security review."""
    entry = {"holder": "mallory", "recipient": MALLORY.recipient}
    fleet.edit("root-of-trust.yaml", lambda doc: doc["root"].append(entry))
    fleet.edit(".sops.yaml", lambda doc: [rule.update(age=f"{rule['age']},{MALLORY.recipient}") for rule in rules(doc)])
    for file in fleet.bootstrap.glob("*.yaml"):
        stanza = {"recipient": MALLORY.recipient, "enc": enc}
        fleet.edit(str(file.relative_to(fleet.repository)), lambda doc, s=stanza: doc["sops"]["age"].append(s))  # type: ignore[misc]


def rules(document: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = document["creation_rules"]
    return found


def another_stanza(sealed: bytes) -> bytes:
    """An age file with one more stanza in its public header, made up but well formed."""
    begin, end = b"-----BEGIN AGE ENCRYPTED FILE-----", b"-----END AGE ENCRYPTED FILE-----"
    raw = base64.b64decode(sealed.strip()[len(begin) : -len(end)])
    head, mark, rest = raw.partition(b"\n--- ")
    words = [base64.b64encode(byte * 32).rstrip(b"=") for byte in (b"\1", b"\2")]
    raw = head + b"\n-> X25519 " + words[0] + b"\n" + words[1] + mark + rest
    return begin + b"\n" + base64.encodebytes(raw) + end + b"\n"


def well_formed() -> str:
    """A data key of the attacker's own, sealed to the attacker."""
    made = seal_bytes(b"\0" * 32)
    assert holds_data_key(made)
    return made


def seal_bytes(content: bytes) -> str:
    import pyrage
    from pyrage import x25519

    sealed: bytes = pyrage.encrypt(content, [x25519.Recipient.from_str(MALLORY.recipient)], armored=True)
    return sealed.decode()


def forge_admission(fleet: Fleet, identity: Identity = MALLORY) -> None:
    """The admission as somebody writes it who does not have the cluster's identity."""

    def forge(document: Any) -> None:
        (cluster,) = document["clusters"]
        roots = [root["recipient"] for root in document["root"]]
        sealed = (fleet.repository / SEALED).read_bytes()
        made = Admission.make(identity.secret, "dev", cluster["recipient"], roots, sealed)
        cluster["admission"] = {"root": list(made.root), "identity": made.identity, "mac": made.mac}

    fleet.edit("root-of-trust.yaml", forge)


def keyless(fleet: Fleet) -> str:
    with pytest.raises(InvalidInputError) as caught:
        fleet.read()
    return str(caught.value)


def test_the_example_is_admitted(fleet: Fleet) -> None:
    admission = fleet.read().admission
    assert admission.holds(fleet.identity().secret)
    assert set(admission.recipients) == fleet.read().trust.wanted("dev")


def test_a_made_up_stanza_of_a_sops_file_is_refused(fleet: Fleet) -> None:
    name_mallory(fleet, "-----BEGIN AGE ENCRYPTED FILE-----\nAAAA\n-----END AGE ENCRYPTED FILE-----\n")
    assert "sops.age[2].enc: holds no data key" in keyless(fleet)


def test_a_holder_whom_nobody_admitted_is_refused_without_any_key(fleet: Fleet) -> None:
    name_mallory(fleet, well_formed())
    sealed = fleet.repository / SEALED
    sealed.write_bytes(another_stanza(sealed.read_bytes()))
    said = keyless(fleet)
    assert f"names mallory ({MALLORY.recipient}), whom no root holder admitted to cluster dev" in said
    assert f"{SEALED}: is not the file that a root holder admitted" in said


def test_a_forged_admission_is_refused_by_whoever_opens_the_identity(fleet: Fleet) -> None:
    name_mallory(fleet, well_formed())
    forge_admission(fleet)
    fleet.edit("root-of-trust.yaml", lambda doc: doc.update(root=doc["root"]))
    sealed = fleet.repository / SEALED
    identity = fleet.identity()
    sealed.write_bytes(another_stanza(sealed.read_bytes()))
    forge_admission(fleet)
    intent = fleet.read()  # nothing more can be seen without a key
    with pytest.raises(InvalidInputError, match="admission: was not made by a root holder"):
        check_readable(intent, identity)


def test_the_engine_seals_to_nobody_whom_no_root_holder_admitted(fleet: Fleet) -> None:
    real = fleet.identity().as_file()
    assert admitted_recipients(fleet.read().admission, real) == fleet.read().admission.recipients
    name_mallory(fleet, well_formed())
    sealed = fleet.repository / SEALED
    sealed.write_bytes(another_stanza(sealed.read_bytes()))
    forge_admission(fleet)
    with pytest.raises(SharesError, match="no root holder admitted the recipients"):
        admitted_recipients(fleet.read().admission, real)


def test_the_header_of_a_changed_file_does_not_open(fleet: Fleet) -> None:
    sealed = fleet.repository / SEALED
    sealed.write_bytes(another_stanza(sealed.read_bytes()))
    assert parse_header(sealed.read_bytes()), "it is well formed"
    with pytest.raises(InvalidInputError, match="cannot be opened"):
        fleet.identity()


def test_a_holder_sees_a_stanza_that_was_made_up_for_them(fleet: Fleet) -> None:
    file = next(iter(sorted(fleet.bootstrap.glob("*.yaml"))))
    root = fleet.root()

    def replace(document: Any) -> None:
        for entry in document["sops"]["age"]:
            if entry["recipient"] == root.recipient:
                entry["enc"] = well_formed()

    fleet.edit(str(file.relative_to(fleet.repository)), replace)
    fleet.check()  # the cluster still reads the file, and its MAC fits
    with pytest.raises(InvalidInputError, match=f"holds no data key for {root.recipient}, though it names it"):
        check_readable(fleet.read(), fleet.identity(), root)


def test_a_present_holder_admits_only_whom_they_name(fleet: Fleet) -> None:
    bob = Identity.generate()
    name_mallory(fleet, well_formed())
    fleet.edit("root-of-trust.yaml", lambda doc: doc["root"].append({"holder": "bob", "recipient": bob.recipient}))
    before = (fleet.repository / SEALED).read_bytes(), (fleet.repository / "root-of-trust.yaml").read_bytes()
    with pytest.raises(InvalidInputError, match=r"names mallory .* who is not admitted"):
        reseal_cluster(fleet.repository, "dev", fleet.root(), [bob.recipient])
    assert before == ((fleet.repository / SEALED).read_bytes(), (fleet.repository / "root-of-trust.yaml").read_bytes())
    fleet.edit("root-of-trust.yaml", lambda doc: doc["root"].pop(1))
    reseal_cluster(fleet.repository, "dev", fleet.root(), [bob.recipient])
    document = yaml.safe_load((fleet.repository / "root-of-trust.yaml").read_text())
    (cluster,) = document["clusters"]
    assert set(cluster["admission"]["root"]) == {fleet.root().recipient, bob.recipient}
    assert cluster["admission"]["identity"] == file_digest((fleet.repository / SEALED).read_bytes())


def test_a_reseal_does_not_build_on_a_forged_admission(fleet: Fleet) -> None:
    """Mallory writes her recipient into the admission too, so that the next honest reseal would take it for present."""
    name_mallory(fleet, well_formed())
    forge_admission(fleet)
    with pytest.raises(InvalidInputError, match="was not made by a root holder"):
        reseal_cluster(fleet.repository, "dev", fleet.root())


def test_a_cluster_of_an_earlier_version_is_admitted_once(fleet: Fleet) -> None:
    fleet.edit("root-of-trust.yaml", lambda doc: doc["clusters"][0].pop("admission"))
    assert (
        "clusters[dev].admission: is missing. Fix: a root holder runs `secret-authority cluster admit dev"
        in keyless(fleet)
    )
    admit_cluster(fleet.repository, "dev", fleet.root())
    fleet.check()


@pytest.mark.parametrize("part", ["recipient", "root", "identity", "cluster"])
def test_an_admission_covers_every_part(part: str) -> None:
    identity, other = Identity.generate(), Identity.generate().recipient
    made = Admission.make(identity.secret, "dev", identity.recipient, ["b", "a"], b"sealed")
    assert made.holds(identity.secret) and not made.holds(MALLORY.secret)
    changed: dict[str, object] = {**made.as_dict(), part: [*made.root, other] if part == "root" else other}
    assert not Admission.from_dict(changed).holds(identity.secret)
    assert Admission.from_dict(made.as_dict()) == made


def test_a_sealed_identity_names_its_own_file() -> None:
    identity = Identity.generate()
    one, two = (seal(identity, [MALLORY.recipient]) for _ in range(2))
    assert file_digest(one) != file_digest(two)
