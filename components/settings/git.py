"""What a stack says of the Git repository: where the cluster finds it, and how it knows that it is the right one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pulumi

from secret_authority.core.phases import Phase

GIT_CREDENTIALS_VARIABLE = "SECRET_AUTHORITY_GIT_CREDENTIALS"
HOME = Path(__file__).resolve().parents[2]
# Field, what is wrong with it, and the fix.
Complaint = Callable[[str, str, str], None]


@dataclass(frozen=True)
class GitSettings:
    """The configuration fields repository*. Only files of this machine are read, each once."""

    url: str
    branch: str = "main"
    # Public certificate that signs the Git server's, None when a well-known CA does.
    ca: str | None = None
    # Whether Git asks for credentials; and the file with them, given for one run, None afterwards.
    credentials: bool = False
    credentials_file: Path | None = None
    # Public keys of those whose signature a commit needs, by file name; none for unsigned commits.
    signers: Mapping[str, str] = field(default_factory=dict)


def read_git_settings(config: pulumi.Config, phase: Phase, wrong: Complaint) -> GitSettings:
    """Read the fields; `wrong` gets everything that is invalid."""
    url = config.get("repositoryUrl") or ""
    _check_url(url, phase, wrong)
    credentials = config.get_bool("repositoryCredentials") or False
    if url.startswith("ssh://") and not credentials:
        wrong("repositoryCredentials", "ssh:// needs a key", "set it to true (docs/gitops.md)")
    given = os.environ.get(GIT_CREDENTIALS_VARIABLE)
    if given and not credentials:
        wrong("repositoryCredentials", f"is not set, but {GIT_CREDENTIALS_VARIABLE} is", "set it to true")
    ca_file = config.get("repositoryCaFile")
    return GitSettings(
        url=url,
        branch=config.get("repositoryBranch") or "main",
        ca=_public(ca_file, "repositoryCaFile", wrong) if ca_file else None,
        credentials=credentials,
        credentials_file=Path(given).expanduser() if given else None,
        signers=_signers(config.get_object("repositorySigners") or (), wrong),
    )


def _check_url(url: str, phase: Phase, wrong: Complaint) -> None:
    host = url.partition("://")[2].partition("/")[0]
    if url.startswith("http://"):
        # Nothing in Git proves who wrote it: whoever is on the way could write every bootstrap secret.
        wrong("repositoryUrl", "http:// lets anybody on the way change what Flux applies", "use https:// or ssh://")
    elif phase >= Phase.GITOPS and not url.startswith(("https://", "ssh://")):
        wrong("repositoryUrl", "must be a Git URL from phase 1 on", "set it to what the cluster can reach")
    elif "@" in host and (url.startswith("https://") or ":" in host.rpartition("@")[0]):
        fix = f"take it out, set repositoryCredentials, and give it in {GIT_CREDENTIALS_VARIABLE} (docs/gitops.md)"
        wrong("repositoryUrl", "holds credentials, and this configuration is not secret", fix)


def _signers(files: object, wrong: Complaint) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in files if isinstance(files, list | tuple) else [files]:
        path = Path(str(name))
        if path.suffix not in (".asc", ".sshpub"):
            wrong(
                "repositorySigners", f"{path.name} is of no known kind", "use public keys *.asc (PGP), *.sshpub (SSH)"
            )
        elif text := _public(str(name), "repositorySigners", wrong):
            found[path.name] = text
    return found


def _public(name: str, setting: str, wrong: Complaint) -> str | None:
    """The text of a file with public material."""
    try:
        text = (HOME / Path(name).expanduser()).read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not text"
        wrong(setting, f"{Path(name).name} cannot be read: {reason}", "set it to files with public material")
        return None
    if "PRIVATE KEY" in text:
        wrong(setting, f"{Path(name).name} is a private key", "give the public part, and replace this key")
        return None
    return text
