""".sops.yaml: the rules by which sops encrypts the next file must name the recipients of the root of trust.

sops is asked which rule counts and what it does: the order of rules, Go's regular expressions, `key_groups` and every
option are then read as sops reads them.
"""

from __future__ import annotations

import os
import re
import subprocess
import warnings
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from secret_authority.clients.sops import parse_header, sops_program
from secret_authority.core.errors import InvalidInputError, Problem
from secret_authority.repository.bootstrap.whole_files import DOTENV, JSON, YAML, parse_whole_file
from secret_authority.repository.files.yaml_documents import load_documents, read_documents

FILE = ".sops.yaml"
_SECONDS = 20
# Processes of sops.
_MOST_AT_ONCE = 4
# What is encrypted to see the rule at work. It holds no secret.
_PROBE = (
    "apiVersion: v1\nkind: Secret\nmetadata: {name: probe, namespace: probe}\n"
    "type: Opaque\ndata: {probe: cHJvYmU=}\nstringData: {other: probe}\n"
)
_PROBES = {YAML: _PROBE, DOTENV: "PROBE=probe\n", JSON: '{"probe": "probe"}'}
_READABLE = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "probe", "namespace": "probe"}}


def check_creation_rules(
    root: Path, files: Iterable[str], wanted: frozenset[str], inputs: Iterable[tuple[str, str]] = ()
) -> Iterator[Problem]:
    """For each file, the rule that sops takes must have exactly the wanted recipients, and encrypt the values only.

    `inputs` are files of a secretGenerator with their formats: of those everything must be encrypted.

    A repository without .sops.yaml is taken as it is: its people name recipients in another way.
    """
    if not (root / FILE).exists():
        return
    documents = read_documents(root / FILE, FILE)
    rules = documents[0].get("creation_rules") if len(documents) == 1 and isinstance(documents[0], Mapping) else None
    if not isinstance(rules, list):
        yield Problem(FILE, "creation_rules", "is missing", "add a rule with encrypted_regex and age")
        return
    if not all(isinstance(rule, Mapping) for rule in rules):
        for index, rule in enumerate(rules):
            if not isinstance(rule, Mapping):
                fix = "write path_regex, encrypted_regex and age, or remove the empty entry"
                yield Problem(FILE, f"creation_rules[{index}]", "is not a mapping", fix)
        return
    # Files that match the same expressions come to the same rule: the first of them is asked about.
    asked: dict[tuple[str, tuple[bool | None, ...]], str] = {}
    for file, kind in [*((file, YAML) for file in files), *inputs]:
        asked.setdefault((kind, tuple(_matches(rule, file) for rule in rules)), file)
    said: set[tuple[str, str]] = set()
    with ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, _MOST_AT_ONCE)) as pool:
        answers = pool.map(
            lambda one: list(_ask(root, one[1], one[0][0], rules, one[0][1], wanted)),
            asked.items(),
        )
        for problem in (problem for answer in answers for problem in answer):
            if (problem.field, problem.message.partition(",")[0]) not in said:
                said.add((problem.field, problem.message.partition(",")[0]))
                yield problem


def _matches(rule: Mapping[str, Any], file: str) -> bool | None:
    """Whether Python's expressions match; None for what they cannot read. Only to name a rule and to ask less often."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of expressions that mean something else to Python
        try:
            return bool(re.search(str(rule.get("path_regex", "")), file))
        except re.error:
            return None


@dataclass(frozen=True)
class _Probe:
    """What decides how sops encrypts a file that is new: the program, the rules, and name and format of the file."""

    root: Path = field(compare=False)
    program: str
    rules: bytes
    file: str
    kind: str


@lru_cache(maxsize=256)
def _encrypted(probe: _Probe) -> subprocess.CompletedProcess[bytes]:
    """The run of sops; one process reads a repository several times."""
    types = ["--filename-override", probe.file, "--input-type", probe.kind, "--output-type", probe.kind]
    return subprocess.run(
        [probe.program, "encrypt", *types, "/dev/stdin"],
        cwd=probe.root,
        input=_PROBES.get(probe.kind, "probe").encode(),
        env={"HOME": "/nonexistent"},
        capture_output=True,
        check=False,
        timeout=_SECONDS,
    )


def _ask(
    root: Path, file: str, kind: str, rules: list[Any], matches: tuple[bool | None, ...], wanted: frozenset[str]
) -> Iterator[Problem]:
    index = next((number for number, match in enumerate(matches) if match is not False), None)
    rule = f"creation_rules[{index}]" if index is not None else "creation_rules"
    try:
        done = _encrypted(_Probe(root, sops_program(), (root / FILE).read_bytes(), file, kind))
    except subprocess.TimeoutExpired:
        fix = "use age recipients only: sops waits for a key service that does not answer"
        yield Problem(FILE, rule, f"is not finished by sops within {_SECONDS} seconds for {file}", fix)
        return
    if done.returncode:
        broken = [number for number, match in enumerate(matches) if match is None]
        if index is None:
            yield Problem(FILE, "creation_rules", f"has no rule for {file}", "add a rule with a matching path_regex")
        elif broken:
            where = f"creation_rules[{broken[0]}].path_regex"
            yield Problem(FILE, where, "is not a regular expression of sops", "correct the expression")
        else:
            fix = "use age recipients only, and one of the options that choose what is encrypted"
            yield Problem(FILE, rule, f"is refused by sops for {file}", fix)
        return
    document: dict[str, Any] = {}
    try:
        if kind == YAML:
            (document,) = load_documents(done.stdout.decode(), file)
            header = parse_header(document, file)
        else:
            header = parse_whole_file(done.stdout.decode(), file, kind).header
    except (InvalidInputError, ValueError):
        fix = "use one flat list of age recipients, without key groups that need several keys"
        if kind != YAML:
            fix = f"write a rule above it for {file}, with the same recipients and no encrypted_regex"
        yield Problem(FILE, rule, f"makes files like {file} that are refused here", fix)
        return
    if header.recipients != wanted or header.other_keys:
        part = "key_groups" if index is not None and rules[index].get("key_groups") else "age"
        listed = ",".join(sorted(wanted))
        fix = f"set it to {listed}" if part == "age" else f"name {listed} there: sops then does not read `age`"
        what = f"does not name the recipients of root-of-trust.yaml, so new files like {file} would be wrong"
        yield Problem(FILE, f"{rule}.{part}", what, fix)
    if kind != YAML:
        if header.mac_only_encrypted:
            what = f"does not put everything under the MAC, so {file} would be refused"
            yield Problem(FILE, rule, what, "remove mac_only_encrypted")
        return
    readable = {key: document.get(key) for key in _READABLE} == _READABLE
    values = [*(document.get("data") or {}).values(), *(document.get("stringData") or {}).values()]
    clear = [value for value in values if not str(value).startswith("ENC[")]
    if not readable or clear or header.mac_only_encrypted:
        what = f"does not encrypt data and stringData alone under a MAC of everything, so {file} would be refused"
        fix = "set encrypted_regex: ^(data|stringData)$ and no other option that chooses what is encrypted"
        yield Problem(FILE, rule, what, fix)
