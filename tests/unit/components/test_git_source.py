"""The Git source: who it is taken from, and that credentials are in no state, log or message."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pulumi
import pytest

from components.gitops import git_credentials
from components.gitops.git_credentials import read_credentials
from components.gitops.gitops import GitOps, GitOpsArgs
from components.settings.git import GIT_CREDENTIALS_VARIABLE, GitSettings, read_git_settings
from secret_authority.core.errors import InvalidInputError
from secret_authority.core.phases import Phase
from secret_authority.core.recipients import TrustRecord
from tests.fakes.pulumi import Callbacks, Recorder, settings
from tests.support.fleets import Fleet, new_fleet
from tests.support.registrations import Registrations

CANARY = "CANARY-of-the-credentials"
HTTPS, SSH = "https://git.example/fleet.git", "ssh://git@git.example/acme/fleet"


def complaints(monkeypatch: pytest.MonkeyPatch, given: str = "", **fields: Any) -> tuple[GitSettings, list[str]]:
    """What the stack's configuration gives, and what is wrong with it."""
    monkeypatch.delenv(GIT_CREDENTIALS_VARIABLE, raising=False)
    if given:
        monkeypatch.setenv(GIT_CREDENTIALS_VARIABLE, given)
    pulumi.runtime.set_mocks(Recorder(), project="secret-authority", stack="test")
    values = {k: v if isinstance(v, str) else json.dumps(v) for k, v in fields.items()}
    pulumi.runtime.set_all_config({f"secret-authority:{name}": value for name, value in values.items()})
    found: list[str] = []
    git = read_git_settings(
        pulumi.Config("secret-authority"),
        Phase.GITOPS,
        lambda name, message, fix: found.append(f"{name}: {message}. Fix: {fix}"),
    )
    return git, found


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"repositoryUrl": "http://git.example/fleet.git"}, "repositoryUrl: http:// lets anybody on the way"),
        ({"repositoryUrl": "git.example/fleet.git"}, "must be a Git URL"),
        ({"repositoryUrl": f"https://me:{CANARY}@git.example/fleet.git"}, "repositoryUrl: holds credentials"),
        ({"repositoryUrl": f"ssh://me:{CANARY}@git.example/fleet", "repositoryCredentials": True}, "holds credentials"),
        ({"repositoryUrl": SSH}, "repositoryCredentials: ssh:// needs a key"),
        ({"repositoryUrl": HTTPS, "repositorySigners": ["/nonexistent/me.gpg"]}, "me.gpg is of no known kind"),
        ({"repositoryUrl": HTTPS, "repositorySigners": ["/nonexistent/me.asc"]}, "me.asc cannot be read"),
    ],
)
def test_what_cannot_be_trusted_is_refused(monkeypatch: pytest.MonkeyPatch, fields: Any, words: str) -> None:
    _, (complaint,) = complaints(monkeypatch, **fields)
    assert words in complaint and "Fix: " in complaint and CANARY not in complaint


def test_a_private_key_among_the_public_ones_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "me.asc").write_text(f"-----BEGIN PGP PRIVATE KEY BLOCK-----\n{CANARY}")
    _, (complaint,) = complaints(monkeypatch, repositoryUrl=HTTPS, repositorySigners=[str(tmp_path / "me.asc")])
    assert "me.asc is a private key" in complaint and CANARY not in complaint


def test_a_file_that_nobody_asked_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    _, (complaint,) = complaints(monkeypatch, "/tmp/credentials.yaml", repositoryUrl=HTTPS)
    assert "SECRET_AUTHORITY_GIT_CREDENTIALS is" in complaint


def test_ssh_and_https_with_credentials_are_accepted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "me.sshpub").write_text("ssh-ed25519 AAAA me")
    fields = {"repositoryCredentials": True, "repositorySigners": [str(tmp_path / "me.sshpub")]}
    for url in (SSH, HTTPS):
        git, found = complaints(monkeypatch, "/tmp/credentials.yaml", repositoryUrl=url, **fields)
        assert found == [] and git.credentials_file == Path("/tmp/credentials.yaml")
        assert git.signers == {"me.sshpub": "ssh-ed25519 AAAA me"}


@pytest.mark.parametrize(
    ("url", "keys"),
    [
        (HTTPS, {"username", "password"}),
        (HTTPS, {"bearerToken"}),
        (SSH, {"identity", "known_hosts"}),
        (SSH, {"identity", "identity.pub", "known_hosts", "password"}),
    ],
)
def test_credentials_that_fit_the_url(tmp_path: Path, url: str, keys: set[str]) -> None:
    file = tmp_path / "credentials.yaml"
    file.write_text(json.dumps(dict.fromkeys(keys, CANARY)))
    assert set(read_credentials(file, url)) == keys


@pytest.mark.parametrize(
    ("url", "text", "words"),
    [
        (HTTPS, json.dumps({"username": CANARY}), "holds username"),
        (HTTPS, json.dumps({"identity": CANARY, "known_hosts": CANARY}), "holds identity, known_hosts"),
        (HTTPS, json.dumps({"bearerToken": CANARY, "password": CANARY}), "holds bearerToken, password"),
        (SSH, json.dumps({"identity": CANARY}), "holds identity"),
        (SSH, json.dumps([CANARY]), "is not a mapping of texts"),
        (HTTPS, json.dumps({"bearerToken": 1}), "is not a mapping of texts"),
        (HTTPS, f"a: [{CANARY}", "is not YAML"),
        (HTTPS, "", "is not a mapping"),
    ],
)
def test_credentials_that_do_not_fit_are_refused_without_a_value(
    tmp_path: Path, url: str, text: str, words: str
) -> None:
    file = tmp_path / "credentials.yaml"
    file.write_text(text)
    with pytest.raises(InvalidInputError, match=words) as refused:
        read_credentials(file, url)
    assert CANARY not in str(refused.value) and "Fix: " in str(refused.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_credentials(tmp_path / "nothing", HTTPS)


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return new_fleet(tmp_path)


def build(fleet: Fleet, git: GitSettings, credentials: dict[str, str] | None) -> tuple[Recorder, Registrations, Any]:
    """Recorded resources and the hook that plants the credentials."""
    recorder, callbacks = Recorder(), Callbacks()
    monitor = Registrations(recorder)
    pulumi.runtime.set_mocks(recorder, project="secret-authority", stack="test", preview=False, monitor=monitor)
    pulumi.runtime.settings.SETTINGS.callbacks = callbacks  # type: ignore[attr-defined, assignment]
    chosen = settings(fleet)
    object.__setattr__(chosen, "git", git)

    @pulumi.runtime.test
    def run() -> pulumi.Output[Any]:
        root = SimpleNamespace(identity=None, record=TrustRecord("age1wanted", ("age1root",)))
        return GitOps("gitops", GitOpsArgs(chosen, cast(Any, root), "age1wanted", credentials)).evidence

    run()
    hook = callbacks.hooks.get("plant-git-credentials")
    return recorder, monitor, hook and (lambda: hook.callback(cast(Any, None)))


def test_credentials_pass_by_pulumi(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    planted: list[Any] = []
    monkeypatch.setattr(git_credentials, "plant_secret", lambda _, *more: planted.append(more))
    git = GitSettings(HTTPS, ca="-----BEGIN CERTIFICATE-----", credentials=True)
    recorder, monitor, hook = build(fleet, git, {"bearerToken": CANARY})
    assert CANARY not in json.dumps(list(recorder.inputs.values()), default=str)
    assert recorder.kind("GitRepository")["gitops-source"]["spec"]["secretRef"] == {"name": "git-credentials"}
    assert not recorder.kind("Secret"), "the certificate is planted with the credentials"
    assert ("ConfigMap", "gitops-git-credentials") in monitor.dependencies["GitRepository", "gitops-source"]
    hook()
    values = {"bearerToken": CANARY, "ca.crt": "-----BEGIN CERTIFICATE-----"}
    assert planted == [("flux-system", "git-credentials", values)]
    # Any run that is given a file writes it, so the record has another time in each.
    assert monitor.ignored["ConfigMap", "gitops-git-credentials"] == []


@pytest.mark.parametrize("there", [True, False])
def test_a_run_without_the_file_needs_credentials_that_are_there(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    monkeypatch.setattr(git_credentials, "own_secret_exists", lambda *_: there)
    _, monitor, hook = build(fleet, GitSettings(SSH, credentials=True), None)
    assert monitor.ignored["ConfigMap", "gitops-git-credentials"] == ["data"]
    if there:
        hook()
    else:
        with pytest.raises(InvalidInputError, match="SECRET_AUTHORITY_GIT_CREDENTIALS"):
            hook()


def test_commits_are_verified_where_signers_are_named(fleet: Fleet) -> None:
    recorder, _, _ = build(fleet, GitSettings(HTTPS, signers={"me.sshpub": "ssh-ed25519 AAAA me"}), None)
    spec = recorder.kind("GitRepository")["gitops-source"]["spec"]
    assert spec["verify"] == {"mode": "HEAD", "secretRef": {"name": "git-signers"}}
    assert recorder.kind("Secret")["gitops-git-signers"]["stringData"]["value"] == {"me.sshpub": "ssh-ed25519 AAAA me"}
    (rule,) = [
        rule for rule in recorder.kind("Role")["gitops-source-controller"]["rules"] if rule["resources"] == ["secrets"]
    ]
    assert rule["resourceNames"] == ["git-ca", "git-credentials", "git-signers"] and rule["verbs"] == ["get"]
