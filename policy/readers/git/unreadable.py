"""Files that cannot be judged: broken YAML, and manifests whose identity is ciphertext."""

from __future__ import annotations

import re
from pathlib import Path

from policy.inventory.coverage import HIDDEN
from policy.inventory.resource import dig
from policy.readers.git.files.git_crypt import is_git_crypt
from policy.readers.git.files.unused import is_shown
from policy.readers.git.reading import Reading
from secret_authority.core.errors import Problem

_TEMPLATE = re.compile(r"\{\{|\{%|<[A-Z][A-Z0-9_]+>|<%|\[\[|</?#[a-z]+|\[#[a-z]+ |^\s*#(if|foreach)\s*\(", re.MULTILINE)
# A template that says so by its name: values.ftl.yaml, secret.tpl.yml.
_TEMPLATE_NAME = re.compile(
    r"\.(ftl|tpl|tmpl|template|gotmpl|j2|jinja2?|erb|mustache|hbs|handlebars|ejs|vm|in)\.(ya?ml|json)$", re.IGNORECASE
)


def judge_broken(reading: Reading, guessed: bool) -> None:
    """A file that is not valid YAML is a problem where a cluster gets it or it is a catalogue, else it is named."""
    for file, problems in sorted(reading.renderer.broken.items()):
        path = reading.renderer.root / file
        unclear = guessed and (_is_template(path) or is_git_crypt(path))
        if (file in reading.reached and not unclear) or _says_catalogue(path):
            reading.problems.update(dict.fromkeys(problems))
        else:
            reading.tree.unjudged += [f"{file} {each.message}; no entry of a cluster leads to it" for each in problems]


def hidden_identity(reading: Reading) -> None:
    """A manifest whose kind or name is ciphertext cannot be judged."""
    for document in reading.renderer.survey.encrypted:
        if "metadata" not in document.content:
            continue  # A file of another tool: every object of Kubernetes has metadata, and sops encrypts no key.
        if is_shown(document.file) and document.file not in reading.reached:
            continue  # It is among what is excluded.
        for path in (("kind",), ("apiVersion",), ("metadata", "name"), ("metadata", "namespace")):
            value = dig(document.content, *path)
            if isinstance(value, str) and value.startswith("ENC["):
                problem = HIDDEN
                fix = "encrypt with encrypted_regex ^(data|stringData)$"
                reading.problems[Problem(document.file, ".".join(path), problem, fix)] = None
                break


def _says_catalogue(file: Path) -> bool:
    try:
        return b"SecretCatalogue" in file.read_bytes()
    except OSError:
        return False


def _is_template(file: Path) -> bool:
    """Whether a file has the name, or the marks, of a template."""
    if _TEMPLATE_NAME.search(file.name):
        return True
    try:
        return _TEMPLATE.search(file.read_text(errors="replace")) is not None
    except OSError:
        return False
