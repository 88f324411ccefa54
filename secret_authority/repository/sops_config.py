""".sops.yaml: the rules by which sops encrypts the next file must name the recipients of the root of trust."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from secret_authority.core.errors import Problem
from secret_authority.repository.yaml_documents import read_documents

FILE = ".sops.yaml"


def check_creation_rules(root: Path, files: Iterable[str], wanted: frozenset[str]) -> Iterator[Problem]:
    """For each file, the first rule that matches it must have exactly the wanted recipients.

    A repository without .sops.yaml is taken as it is: its people name recipients in another way.
    """
    if not (root / FILE).exists():
        return
    documents = read_documents(root / FILE, FILE)
    rules = documents[0].get("creation_rules") if documents and isinstance(documents[0], Mapping) else None
    if not isinstance(rules, list):
        yield Problem(FILE, "creation_rules", "is missing", "add a rule with encrypted_regex and age")
        return
    unfit = list(_unfit(rules))
    if unfit:
        yield from unfit
        return
    seen: set[int] = set()
    for file in files:
        for index, rule in enumerate(rules):
            if re.search(str(rule.get("path_regex", "")), file):
                if index not in seen and _recipients(rule) != wanted:
                    yield Problem(
                        FILE,
                        f"creation_rules[{index}].age",
                        f"does not name the recipients of root-of-trust.yaml, so new files like {file} would be wrong",
                        f"set it to {','.join(sorted(wanted))}",
                    )
                seen.add(index)
                break
        else:
            yield Problem(FILE, "creation_rules", f"has no rule for {file}", "add a rule with a matching path_regex")


def _unfit(rules: list[Any]) -> Iterator[Problem]:
    """Rules that cannot be judged: sops refuses them as well, or applies none."""
    for index, rule in enumerate(rules):
        if not isinstance(rule, Mapping):
            fix = "write path_regex, encrypted_regex and age, or remove the empty entry"
            yield Problem(FILE, f"creation_rules[{index}]", "is not a mapping", fix)
            continue
        try:
            re.compile(str(rule.get("path_regex", "")))
        except re.error as error:
            where = f"creation_rules[{index}].path_regex"
            yield Problem(FILE, where, f"is not a regular expression: {error.msg}", "correct the expression")


def _recipients(rule: Mapping[str, Any]) -> frozenset[str]:
    age = rule.get("age") or ""
    groups = rule.get("key_groups")
    if not age and isinstance(groups, list) and len(groups) == 1 and isinstance(groups[0], Mapping):
        # One group is the same as the flat list: any of its keys opens the file.
        age = groups[0].get("age") or ""
    listed = age if isinstance(age, list) else str(age).split(",")
    return frozenset(str(recipient).strip() for recipient in listed if str(recipient).strip())
