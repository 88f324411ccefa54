"""SOPS files: the header, which anyone can read, and decryption with a MAC check by the sops program.

Format: getsops/sops, "sops" block with age recipients, mac and one selector. Flux does not check the MAC
when it decrypts, so the program and the evidence in the cluster do.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from secret_authority.clients.age_header import holds_data_key
from secret_authority.core.errors import InvalidInputError, Problem

_VALUE = re.compile(
    r"ENC\[AES256_GCM,data:(?P<data>[A-Za-z0-9+/=]*),iv:[A-Za-z0-9+/=]+,tag:[A-Za-z0-9+/=]+,type:(?P<type>\w+)\]"
)
_RECIPIENT = re.compile(r"age1[a-z0-9]+")
# The keys of a `sops` block that say nothing of who can open the file (getsops/sops, stores.Metadata). Every other one
# is named, so that a kind of key which a newer sops knows is never passed over.
_SELECTORS = frozenset(
    f"{which}_{what}" for which in ("encrypted", "unencrypted") for what in ("regex", "suffix", "comment_regex")
)
_KNOWN = frozenset({"age", "lastmodified", "mac", "version", "mac_only_encrypted", *_SELECTORS})
_NO_THRESHOLD = (None, 0, 1)
_BUILT = Path(__file__).resolve().parents[2] / ".tools/bin/sops"
# What sops says of a header that a YAML formatter has changed.
_TIME = b"'lastmodified' expected type 'string'"
# Exit codes of sops (cmd/sops/codes).
_MAC_MISMATCH, _MAC_NOT_FOUND, _NO_KEY = 51, 52, 128


@dataclass(frozen=True)
class SopsHeader:
    """The readable part of a SOPS file."""

    recipients: frozenset[str]
    mac_only_encrypted: bool
    # Other kinds of keys that can open the file (pgp, kms, ...), by the name of their list.
    other_keys: tuple[str, ...]
    # Recipient -> the data key, sealed to it.
    data_keys: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)


def parse_header(document: Mapping[str, Any], file: str) -> SopsHeader:
    """Read the `sops` block. Raises `InvalidInputError` when it is not well formed."""
    block = document.get("sops")
    problems: list[Problem] = []
    if not isinstance(block, Mapping):
        raise InvalidInputError([Problem(file, "sops", "is not a mapping", "encrypt the file again with sops")])
    for name in ("mac", "lastmodified", "version"):
        if not isinstance(block.get(name), str):
            problems.append(Problem(file, f"sops.{name}", "is missing", "encrypt the file again with sops"))
    mac = block.get("mac")
    if isinstance(mac, str) and not _VALUE.fullmatch(mac):
        problems.append(Problem(file, "sops.mac", "is not well formed", "restore it from Git or encrypt again"))
    if block.get("key_groups"):
        problems.append(Problem(file, "sops.key_groups", "is not supported", "use one flat list of age recipients"))
    if block.get("shamir_threshold") not in _NO_THRESHOLD:
        fix = "use one flat list of age recipients"
        problems.append(Problem(file, "sops.shamir_threshold", "is not supported", fix))
    entries = block.get("age") or []
    if not isinstance(entries, list):
        problems.append(Problem(file, "sops.age", "is not a list", "encrypt the file again with sops"))
        entries = []
    data_keys: dict[str, str] = {}
    for index, entry in enumerate(entries):
        recipient = entry.get("recipient") if isinstance(entry, Mapping) else None
        enc = entry.get("enc") if isinstance(entry, Mapping) else None
        if not isinstance(recipient, str) or not _RECIPIENT.fullmatch(recipient):
            problem = Problem(file, f"sops.age[{index}].recipient", "is not an age recipient", "encrypt again")
            problems.append(problem)
        elif not isinstance(enc, str) or not holds_data_key(enc):
            problems.append(Problem(file, f"sops.age[{index}].enc", "holds no data key", "run sops updatekeys"))
        else:
            data_keys[recipient] = enc
    if problems:
        raise InvalidInputError(problems)
    asked = {"key_groups", "shamir_threshold"} | _KNOWN
    others = tuple(sorted(str(key) for key, value in block.items() if key not in asked and value))
    return SopsHeader(frozenset(data_keys), bool(block.get("mac_only_encrypted")), others, data_keys)


def cipher_type(value: object) -> str | None:
    """The type of the value inside of a SOPS ciphertext, such as `str` or `int`; None for what is no ciphertext.

    An empty string stays as it is when sops encrypts.
    """
    if value == "":
        return "str"
    found = _VALUE.fullmatch(value) if isinstance(value, str) else None
    return found["type"] if found else None


def clear_length(value: str) -> int:
    """The length in bytes of the value inside of a SOPS ciphertext: AES-GCM keeps it."""
    found = _VALUE.fullmatch(value)
    data = found["data"] if found else ""
    return len(data) * 3 // 4 - data.count("=")


class SopsError(Exception):
    """sops could not decrypt a file. The message names the file and the reason, never content."""

    def __init__(self, file: str, reason: str, fix: str) -> None:
        self.problem = Problem(file, "sops", reason, fix)
        super().__init__(str(self.problem))


def sops_program() -> str:
    """The sops program that the toolchain has built for this checkout, else the one on PATH.

    The engine's image has it on PATH. Raises FileNotFoundError.
    """
    found = str(_BUILT) if _BUILT.exists() else shutil.which("sops")
    if not found:
        raise FileNotFoundError("the program sops is not installed; run `python3 -m toolchain build sops`")
    return found


def decrypt(path: Path, shown: str, identities: Sequence[str]) -> dict[str, Any]:
    """Decrypt a YAML or JSON file and check its MAC. Returns the clear document; keep it in memory only.

    Of a file with several documents that is the first one; the MAC is that of all. See `decrypt_text`.
    """
    return decrypt_text(path.read_bytes(), "json" if path.suffix == ".json" else "yaml", shown, identities)


def decrypt_text(
    content: bytes, kind: str, shown: str, identities: Sequence[str], ignore_mac: bool = False
) -> dict[str, Any]:
    """Decrypt the text of a file (`kind` yaml or json), for messages named `shown`. See `decrypt_content`.

    `ignore_mac` is for one document of several under one MAC that was checked before.
    """
    options = ["--input-type", kind, "--output-type", "json", *(["--ignore-mac"] if ignore_mac else [])]
    clear: dict[str, Any] = json.loads(_decrypt(content, options, shown, identities))
    return clear


def decrypt_content(content: bytes, kind: str, shown: str, identities: Sequence[str]) -> bytes:
    """Decrypt a file and check its MAC. Returns the clear file in its own format (`kind` yaml, json, dotenv, binary).

    `identities` are age secret keys (AGE-SECRET-KEY-1...). They reach sops through an anonymous file, not
    through arguments, the environment or the disk; keys that lie about on the machine are not tried.
    Raises `SopsError`.
    """
    return _decrypt(content, ["--input-type", kind, "--output-type", kind], shown, identities)


def _decrypt(content: bytes, options: Sequence[str], shown: str, identities: Sequence[str]) -> bytes:
    key_file = os.memfd_create("identities")
    try:
        os.write(key_file, "\n".join(identities).encode())
        environment = {"HOME": "/nonexistent", "SOPS_AGE_KEY_FILE": f"/proc/self/fd/{key_file}"}
        done = subprocess.run(
            [sops_program(), "decrypt", *options, "/dev/stdin"],
            env=environment,
            pass_fds=(key_file,),
            # A .sops.yaml above the working directory would say how to indent.
            cwd="/",
            input=content,
            capture_output=True,
            check=False,
        )
    finally:
        os.close(key_file)
    if done.returncode == 0:
        return done.stdout
    if _TIME in done.stderr:
        raise SopsError(
            shown,
            "lastmodified is a time without quotes, which sops and Flux refuse since version 3.13",
            "put it in quotes, as sops writes it",
        )
    # sops' own words are not repeated: in some errors it quotes a part of the file.
    match done.returncode:
        case code if code in (_MAC_MISMATCH, _MAC_NOT_FOUND):
            raise SopsError(
                shown,
                "the MAC does not fit: the file was changed without sops",
                "restore the file from Git, or edit it with sops",
            )
        case code if code == _NO_KEY:
            raise SopsError(
                shown,
                "none of the given identities can open it",
                "run sops updatekeys with the recipients of root-of-trust.yaml, or give the right key",
            )
    raise SopsError(
        shown,
        f"cannot be decrypted (sops exit code {done.returncode}): its ciphertext is damaged",
        "restore the file from Git, or encrypt the value again",
    )
