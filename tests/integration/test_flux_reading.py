"""What is accepted is applied by Flux and holds what was decrypted: beside the real kustomize-controller."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from secret_authority.clients.age import Identity
from secret_authority.repository.bootstrap.encrypted_secrets import read_encrypted
from secret_authority.repository.bootstrap.opened_secrets import open_secrets
from tests.support.flux_cases import CHANGES, NAMESPACE, Folder, Maker
from tests.support.flux_process import flux, programs_are_there
from tests.support.vault_process import wait_for

pytestmark = pytest.mark.skipif(not programs_are_there(), reason="no programs of the node: run `make tools`")

# Each round has other values, documents and names.
ROUNDS = int(os.environ.get("FLUX_ROUNDS", "1"))
EDGE = "bootstrap-edge"


def read(root: Path, folder: Folder, identity: Identity) -> tuple[dict[tuple[str, str], object], bool]:
    """What is found, what it decrypts to, and whether all of it is accepted."""
    name = f"case-{folder.number}"
    for path, content in folder.files.items():
        file = root / name / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    encrypted = read_encrypted(root, [name])
    opened = open_secrets(root, encrypted.found, [identity.secret])
    refused = bool(encrypted.problems) or any(isinstance(values, tuple) for values in opened.values())
    return {secret.place: values for secret, values in opened.items()}, not refused


def test_what_is_accepted_is_what_flux_makes_of_it(tmp_path: Path) -> None:
    identity = Identity.generate()
    maker = Maker([identity.recipient])
    folders = [maker.folder(number) for number in range(ROUNDS * len(CHANGES))]
    root = tmp_path / "repository"
    readings = {folder.number: read(root, folder, identity) for folder in folders}
    (tmp_path / "flux").mkdir()
    with flux(tmp_path / "flux", identity.secret, (NAMESPACE, EDGE)) as (running, url):
        for folder in folders:
            name = f"case-{folder.number}"
            running.serve(name, {f"{name}/{path}": content for path, content in folder.files.items()}, url)
            running.kustomize(name, f"./{name}")
        wrong: list[str] = []
        accepted = failed = 0
        for folder in folders:
            name = f"case-{folder.number}"
            wait_for(lambda name=name: running.ready(name) is not None, f"{name} was tried", 180)  # type: ignore[misc]
            values, good = readings[folder.number]
            applied = running.ready(name) == "True"
            failed += not applied
            if not good:
                continue
            accepted += 1
            if not applied:
                wrong.append(f"{name} ({folder.made}): accepted, and Flux does not apply it")
            elif running.applied(name) != set(values):
                wrong.append(f"{name} ({folder.made}): Flux applied {running.applied(name)}, and not {set(values)}")
            else:
                differ = [place for place in values if running.secret(*place) != values[place]]
                wrong += [f"{name} ({folder.made}): {place} holds something else" for place in differ]
        assert not wrong, "\n".join(wrong)
    # Both kinds were among them, so that the comparison says something.
    assert accepted >= 50 * ROUNDS and failed >= 30 * ROUNDS, (accepted, failed)
