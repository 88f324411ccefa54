"""Reads a revision of Git in a process of its own.

What Git holds is the only input of any size that strangers write. It is unpacked and parsed in a process that has a
limit of memory and of time, is what the kernel ends first when the container's memory is full, and answers with a text
of limited length. Whatever becomes of it, the process that unseals Vault still runs. Both are the engine's: this
protects from what crashes or fills a process, and is no boundary for somebody who runs code in it.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from secret_authority.clients.flux_artifact import Artifact, ArtifactError
from secret_authority.contract.engine_settings import GitPlaces
from secret_authority.core.catalogue.schema import parse_catalogue
from secret_authority.core.digest import ValueDigest
from secret_authority.core.errors import InvalidInputError, Problem
from secret_authority.core.handover.state_machine import InGit, Reason
from secret_authority.engine.handover.git_state import GitState, read_artifact

COMMAND = "read-git"
# Of the process's own data, and of that of each sops that it starts.
MOST_MEMORY_BYTES = 256 << 20
MOST_ANSWER_BYTES = 8 << 20
MOST_SECONDS = 600.0
_LARGEST_OOM_SCORE = "1000"  # proc(5), oom_score_adj


def read_in_process(artifact: Artifact, places: GitPlaces, key: bytes, identity: str) -> GitState:
    """As `git_state.read_artifact`. Raises `ArtifactError` also when the process ends without an answer."""
    request = {
        "artifact": asdict(artifact),
        "places": asdict(places),
        "key": base64.b64encode(key).decode(),
        "identity": identity,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "secret_authority.engine", COMMAND],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin and process.stdout  # noqa: S101  both are pipes
    late = threading.Timer(MOST_SECONDS, _end, [process])
    late.start()
    try:
        with contextlib.suppress(BrokenPipeError), process.stdin as into:
            into.write(json.dumps(request).encode())
        answer = process.stdout.read(MOST_ANSWER_BYTES + 1)
    finally:
        _end(process)
        late.cancel()
        process.stdout.close()
        code = process.wait()
    return _answered(artifact, places, answer, code)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and what it has started, if it still runs. It has said all that it says."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _answered(artifact: Artifact, places: GitPlaces, answer: bytes, code: int) -> GitState:
    if len(answer) > MOST_ANSWER_BYTES:
        raise ArtifactError(f"{artifact.revision} holds more than the engine takes: {MOST_ANSWER_BYTES} bytes")
    try:
        found: dict[str, Any] = json.loads(answer)
    except ValueError:
        raise ArtifactError(
            f"{artifact.revision} cannot be read: the process that reads it ended without an answer "
            f"(status {code}). It may take {MOST_MEMORY_BYTES >> 20} MiB and {MOST_SECONDS:.0f} seconds"
        ) from None
    if problems := found.get("problems"):
        raise InvalidInputError(Problem(**problem) for problem in problems)
    if error := found.get("error"):
        raise ArtifactError(str(error))
    return GitState(
        artifact.revision,
        parse_catalogue(found["catalogue"], places.catalogue),
        {name: _in_git(value) for name, value in found["values"].items()},
        found["ciphertexts"],
        {name: Problem(**problem) for name, problem in found["unreadable"].items()},
    )


def _in_git(fields: Mapping[str, Any]) -> InGit:
    digest, unknown = fields["digest"], fields["unknown"]
    return InGit(ValueDigest(**digest) if digest else None, Reason[unknown] if unknown else None, fields["detail"])


def answer_request(text: str) -> str:
    """What the process does: read the revision that `text` names, and give the answer as JSON."""
    request = json.loads(text)
    places = GitPlaces(**{**request["places"], "bootstrap": tuple(request["places"]["bootstrap"])})
    try:
        state = read_artifact(
            Artifact(**request["artifact"]), places, base64.b64decode(request["key"]), request["identity"]
        )
    except InvalidInputError as error:
        return json.dumps({"problems": [asdict(problem) for problem in error.problems]})
    except ArtifactError as error:
        return json.dumps({"error": str(error)})
    return json.dumps(
        {
            "catalogue": state.catalogue.model_dump(mode="json", by_alias=True, exclude_unset=True),
            "values": {
                name: {
                    "digest": asdict(value.digest) if value.digest else None,
                    "unknown": value.unknown.name if value.unknown else None,
                    "detail": value.detail,
                }
                for name, value in state.values.items()
            },
            "ciphertexts": dict(state.ciphertexts),
            "unreadable": {name: asdict(problem) for name, problem in state.unreadable.items()},
        }
    )


def limit_process(most_bytes: int = MOST_MEMORY_BYTES) -> None:
    """Give this process, and those that it starts, so much memory at most, and let the kernel end it before others."""
    resource.setrlimit(resource.RLIMIT_DATA, (most_bytes, most_bytes))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_LARGEST_OOM_SCORE)
