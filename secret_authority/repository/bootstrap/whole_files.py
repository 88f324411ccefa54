"""Files that sops encrypts as a whole, for a secretGenerator of kustomize: their header and keys, and their content.

Formats as Flux takes them by a key of the generator (kustomize-controller 1.9, `formatForPath`). YAML and INI are not
read: what sops writes of them when it decrypts depends on its version.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secret_authority.clients.sops import SopsHeader, cipher_type, clear_length, decrypt_content, parse_header
from secret_authority.core.errors import InvalidInputError, Problem
from secret_authority.core.kubernetes_secrets import is_data_key
from secret_authority.repository.files.lfs import LFS_FIX, LFS_POINTER, is_lfs_pointer
from secret_authority.repository.files.yaml_documents import read_text

BINARY, DOTENV, JSON, YAML, INI = "binary", "dotenv", "json", "yaml", "ini"
READ = frozenset({BINARY, DOTENV, JSON})
# By these Flux sees that a file is encrypted. Without them it would apply the ciphertext (`sopsFormatToMarkerBytes`).
_MARKS = {BINARY: '"mac": "ENC[', JSON: '"mac": "ENC[', DOTENV: "sops_mac=ENC[", YAML: "mac: ENC[", INI: "[sops]"}
_SUFFIXES = {".yaml": YAML, ".yml": YAML, ".json": JSON, ".ini": INI, ".env": DOTENV, ".dockerconfigjson": JSON}
# kustomize drops a longer line of an env file (bufio.MaxScanTokenSize) and all lines after it, without an error.
MAX_LINE = 64 * 1024 - 1
_AGAIN = "encrypt the file again with sops, by a rule without encrypted_regex, and give the secret a new value"


@dataclass(frozen=True)
class WholeFile:
    """A file that sops encrypted as a whole: what can be read of it without a key.

    `keys` are those of an env file. `clear` is the number of bytes that it decrypts to, None when it cannot be told.
    """

    header: SopsHeader
    keys: tuple[str, ...]
    ciphertext: str
    clear: int | None


def format_of(key: str) -> str:
    """The format in which Flux decrypts a file for this key of a generator."""
    return next((kind for suffix, kind in _SUFFIXES.items() if key.endswith(suffix)), BINARY)


def read_whole_file(path: Path, shown: str, kind: str) -> WholeFile:
    """Raises `InvalidInputError` for what is not encrypted as a whole in this format, or not in a way Flux sees."""
    return parse_whole_file(read_text(path, shown), shown, kind)


def parse_whole_file(text: str, shown: str, kind: str) -> WholeFile:
    """See `read_whole_file`."""
    if is_lfs_pointer(text):
        raise InvalidInputError([Problem(shown, "", LFS_POINTER, LFS_FIX)])
    if _MARKS[kind] not in text:
        fix = f"run `sops encrypt --input-type {kind} --output-type {kind} --in-place {shown}`, give it a new value"
        raise InvalidInputError([Problem(shown, "sops", f"is not encrypted as {kind}, as Flux would decrypt it", fix)])
    return _parse_dotenv(text, shown) if kind == DOTENV else _parse_json(text, shown, kind)


def _parse_json(text: str, shown: str, kind: str) -> WholeFile:
    try:
        document = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        problem = Problem(shown, "", "is not valid JSON, or has a key twice", "restore it from Git or encrypt it again")
        raise InvalidInputError([problem]) from None
    if not isinstance(document, dict):
        raise InvalidInputError([Problem(shown, "", "is not a JSON object", _AGAIN)])
    header = parse_header(document, shown)
    rest = {key: value for key, value in document.items() if key != "sops"}
    if kind == BINARY and (set(rest) != {"data"} or not isinstance(rest["data"], str)):
        fix = f"run `sops encrypt --input-type binary --in-place {shown}` on the file in the clear"
        raise InvalidInputError([Problem(shown, "data", "is not encrypted as binary, as Flux would decrypt it", fix)])
    if kind == JSON and set(rest) == {"data"} and isinstance(rest["data"], str):
        fix = "encrypt it again with `--input-type json`, or give it a key that does not end in .json"
        what = "was encrypted as binary, and by its key Flux would decrypt it as JSON"
        raise InvalidInputError([Problem(shown, "data", what, fix)])
    problems = [_wrong(shown, path, leaf) for path, leaf in _leaves(rest, ())]
    if found := [problem for problem in problems if problem]:
        raise InvalidInputError(found)
    clear = clear_length(rest["data"]) if kind == BINARY else None
    return WholeFile(header, (), json.dumps(rest, sort_keys=True), clear)


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, str(key)))
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, path)
    else:
        yield path, value


def _wrong(shown: str, path: tuple[str, ...], leaf: object) -> Problem | None:
    if leaf is None:
        return None  # sops leaves null as it is
    kind, where = cipher_type(leaf), ".".join(path)
    if kind is None:
        return Problem(shown, where, "is in the clear in an encrypted file", _AGAIN)
    if kind != "str":
        fix = "write it as a text in quotes, or put the file into stringData of an encrypted Secret"
        return Problem(shown, where, f"is encrypted as {kind}, which sops writes in more than one way", fix)
    return None


def _parse_dotenv(text: str, shown: str) -> WholeFile:
    if "\r" in text:
        raise InvalidInputError([Problem(shown, "", "has an end of line that is no line feed", "use line feeds only")])
    block: dict[str, Any] = {}
    values: dict[str, str] = {}
    problems: list[Problem] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line or line.startswith("#"):
            continue
        key, found, value = line.partition("=")
        where = f"line {number}"
        if not found:
            problems.append(Problem(shown, where, "is not KEY=value", "correct the line, then encrypt the file again"))
        elif key.startswith("sops_"):
            _nest(block, key.removeprefix("sops_").split("__"), value)
        elif not is_data_key(key):
            problems.append(Problem(shown, where, "has a key that a Secret may not have", "rename it"))
        elif key in values:
            problems.append(Problem(shown, key, "is there twice", "remove one of them"))
        else:
            values[key] = value
            if problem := _wrong(shown, (key,), value):
                problems.append(problem)
            elif value and len(key) + 1 + clear_length(value) >= MAX_LINE:
                fix = "give it as a file of its own, under files of the generator"
                problems.append(
                    Problem(
                        shown,
                        key,
                        "is longer than the lines that kustomize reads, which drops it and all that follow",
                        fix,
                    )
                )
    header = parse_header({"sops": _unfolded(block)}, shown)
    if problems:
        raise InvalidInputError(problems)
    clear = sum(clear_length(value) for value in values.values() if value)
    return WholeFile(header, tuple(values), json.dumps(values, sort_keys=True), clear)


def _nest(block: dict[str, Any], path: Sequence[str], value: str) -> None:
    """sops writes a list of mappings in an env file as age__list_0__map_recipient."""
    here: Any = block
    for step in path[:-1]:
        here = here.setdefault(step, {}) if isinstance(here, dict) else {}
    if isinstance(here, dict):
        here[path[-1]] = _plain(value)


def _unfolded(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if value and all(re.fullmatch(r"list_\d+", key) for key in value):
        return [_unfolded(value[key]) for key in sorted(value, key=lambda key: int(key.removeprefix("list_")))]
    return {key.removeprefix("map_"): _unfolded(inner) for key, inner in value.items()}


def _plain(value: str) -> object:
    if value in ("true", "false"):
        return value == "true"
    return int(value) if re.fullmatch(r"\d{1,9}", value) else value.replace("\\n", "\n")


def open_whole_file(
    path: Path, shown: str, kind: str, key: str, identities: Sequence[str]
) -> dict[str, bytes] | tuple[Problem, ...]:
    """What a generator makes of a file once Flux has decrypted it: one value, or one for each line of an env file.

    Raises `SopsError`.
    """
    # The MAC is checked here; Flux does not.
    content = decrypt_content(path.read_bytes(), kind, shown, identities)
    try:
        values = {key: content} if key else _env_values(content)
    except UnicodeDecodeError:
        fix = "give it as a file of its own, under files of the generator"
        return (Problem(shown, "", "holds a value that is not UTF-8, which kustomize refuses in an env file", fix),)
    marked = [name for name, value in values.items() if any(mark.encode() in value for mark in _MARKS.values())]
    fix = "put the value into an encrypted Secret instead of a generator"
    return (
        tuple(Problem(shown, name, "looks like a file of sops, which Flux decrypts again", fix) for name in marked)
        or values
    )


def _env_values(content: bytes) -> dict[str, bytes]:
    """As kustomize reads an env file (api/kv `keyValuesFromLines`)."""
    values: dict[str, bytes] = {}
    for line in content.decode().split("\n"):
        text = line.removesuffix("\r").lstrip()
        if text and not text.startswith("#"):
            key, _, value = text.partition("=")
            values[key] = value.encode()
    return values
