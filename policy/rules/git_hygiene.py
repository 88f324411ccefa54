"""Git holds encrypted intent: nothing in the clear, nothing undecrypted, no branch as an environment."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from policy.context import RuleContext
from policy.inventory.argocd_marks import vault_plugin_path
from policy.inventory.bootstrap_secrets import is_encrypted
from policy.inventory.resource import Origin, Position, Resource, items, mapping, walk
from policy.rules.base import Rule, Scope, Severity, Violation, about
from policy.rules.single_authority import PUBLIC_KEYS
from policy.settings import Level

_ENVIRONMENT = re.compile(
    r"^(env[-/])?(dev|development|test|testing|qa|uat|stage|staging|preprod|pre-prod|prod|production|live)$"
)
# What stands for a value that something else fills in: a variable, template text, a reference to a store.
_REFERENCE = re.compile(r"^\s*(\$\{\w+|\{\{|op://|ref\+|vault:|secretref\+|<[\w.:/#-]+>\s*$)")


def plaintext_secret(context: RuleContext) -> Iterator[Violation]:
    for resource in context.index.secrets:
        if resource.origin is not Origin.GIT or is_encrypted(resource) or vault_plugin_path(resource):
            continue
        clear = [key for key, value in _values(resource) if not _REFERENCE.match(value)]
        if not PUBLIC_KEYS.issuperset(clear):
            yield about(
                resource,
                f"stands in the clear in Git ({', '.join(sorted(clear))}). Encrypt it with sops, and give it a new "
                "value: Git's history keeps the old one",
            )


def half_encrypted_secret(context: RuleContext) -> Iterator[Violation]:
    for resource in context.index.secrets:
        if resource.origin is not Origin.GIT or not is_encrypted(resource):
            continue
        clear = [
            key for key, value in _values(resource) if not value.startswith("ENC[") and not key.startswith("sops_")
        ]
        # A generator puts the bytes of an encrypted file into base64; then the block is inside.
        if clear and resource.get("sops") is not None:
            yield about(
                resource,
                f"has a sops block, but {', '.join(sorted(clear))} is not encrypted. Set encrypted_regex to "
                "^(data|stringData)$ in .sops.yaml, encrypt again, and give it a new value",
            )


def _values(resource: Resource) -> Iterator[tuple[str, str]]:
    for field in ("data", "stringData"):
        for path, value in walk(resource.get(field)):
            if path and isinstance(value, str) and value:
                yield str(path[0]), value


def encrypted_not_decrypted(context: RuleContext) -> Iterator[Violation]:
    for resource in context.index.kubernetes:
        if resource.origin is Origin.GIT and resource.applied_by.decrypts is False and resource.get("sops") is not None:
            yield about(
                resource,
                f"is encrypted with sops, but {resource.applied_by.applier} does not decrypt. Set "
                "spec.decryption.provider: sops on it",
            )


def branch_as_environment(context: RuleContext) -> Iterator[Violation]:
    branches: dict[str, dict[str, Resource]] = defaultdict(dict)
    named: set[str] = set()
    for resource in [
        *context.index.of("source.toolkit.fluxcd.io", "GitRepository"),
        *context.index.of("argoproj.io", "Application"),
    ]:
        flux = resource.kind == "GitRepository"
        if resource.get("spec", "source", "chart"):
            continue  # targetRevision is the version of a chart
        url = resource.get("spec", "url") if flux else resource.get("spec", "source", "repoURL")
        branch = resource.get("spec", "ref", "branch") if flux else resource.get("spec", "source", "targetRevision")
        # HEAD is the default branch, whatever its name.
        if not isinstance(branch, str) or not isinstance(url, str) or branch == "HEAD":
            continue
        branches[url.removesuffix(".git").rstrip("/")].setdefault(branch, resource)
        if _ENVIRONMENT.match(branch):
            named.add(url.removesuffix(".git").rstrip("/"))
            yield about(
                resource,
                f"takes branch {branch} as an environment. Use one branch, and a folder and a stack for each cluster",
            )
    for url, found in branches.items():
        if len(found) > 1 and url not in named:
            resource = list(found.values())[-1]
            yield about(
                resource,
                f"one repository is read from the branches {', '.join(sorted(found))}. Use one branch, and a folder "
                "for each cluster",
            )


def unread_manifest(context: RuleContext) -> Iterator[Violation]:
    for problem in context.problems:
        yield Violation(str(problem), Position(file=problem.file), (problem.file,))


def sops_rules(context: RuleContext) -> Iterator[Violation]:
    """.sops.yaml must encrypt the data of Secrets and leave their identity readable.

    Only rules by which a Secret of the tree is encrypted are judged: others are for files of other tools.
    """
    files = {resource.where.file for resource in context.index.secrets if resource.origin is Origin.GIT}
    for resource in context.index.of("secret-authority.dev", "SopsConfig"):
        rules = [mapping(rule) for rule in items(resource.get("creation_rules"))]
        used = {_first_match(rules, file) for file in files}
        for index, rule in enumerate(rules):
            pattern = rule.get("encrypted_regex")
            if not isinstance(pattern, str) or index not in used:
                continue
            missed = [field for field in ("data", "stringData") if not _matches(pattern, field)]
            hidden = [field for field in ("metadata", "kind") if _matches(pattern, field)]
            if missed or hidden:
                what = f"leaves {', '.join(missed)} in the clear" if missed else f"hides {', '.join(hidden)}"
                yield Violation(
                    f".sops.yaml: creation_rules[{index}].encrypted_regex {what}. Set it to ^(data|stringData)$",
                    resource.where,
                    (resource.where.file,),
                )


def _first_match(rules: list[Mapping[str, Any]], file: str) -> int | None:
    """The rule by which sops would encrypt a file: the first whose path_regex is found in the path."""
    return next((i for i, rule in enumerate(rules) if _matches(str(rule.get("path_regex") or ""), file)), None)


def _matches(pattern: str, text: str) -> bool:
    try:
        return bool(re.search(pattern, text))
    except re.error:
        return False


RULES = (
    Rule(
        "plaintext-secret",
        "No Secret stands in the clear in Git",
        "Who can read the repository, or any clone of it, has the value, also after it is deleted.",
        "Encrypt it with sops and rotate the value.",
        "§5",
        Severity.CRITICAL,
        Level.MANDATORY,
        Scope.STACK,
        plaintext_secret,
    ),
    Rule(
        "half-encrypted-secret",
        "A sops file encrypts all values of a Secret",
        "A selector that misses a field leaves that value readable while the file looks encrypted.",
        "Use encrypted_regex ^(data|stringData)$ and encrypt again.",
        "§5",
        Severity.CRITICAL,
        Level.MANDATORY,
        Scope.STACK,
        half_encrypted_secret,
    ),
    Rule(
        "sops-rules",
        "sops encrypts data and leaves identity readable",
        "Reviewers and these rules need kind, namespace, name and keys; values must be ciphertext.",
        "Set encrypted_regex to ^(data|stringData)$.",
        "§5",
        Severity.HIGH,
        Level.MANDATORY,
        Scope.STACK,
        sops_rules,
    ),
    Rule(
        "encrypted-not-decrypted",
        "What is encrypted is applied with decryption",
        "Flux applies ciphertext as it stands when decryption is not set, or fails for the whole Kustomization.",
        "Set spec.decryption.provider: sops with the Secret of the cluster's identity.",
        "§4",
        Severity.HIGH,
        Level.MANDATORY,
        Scope.STACK,
        encrypted_not_decrypted,
    ),
    Rule(
        "branch-as-environment",
        "Environments are stacks, not branches",
        "Branches drift: a secret's authority would depend on what was merged where.",
        "One branch; a folder and a stack for each cluster.",
        "§9",
        Severity.MEDIUM,
        Level.MANDATORY,
        Scope.STACK,
        branch_as_environment,
    ),
    Rule(
        "unread-manifest",
        "Everything in the tree can be read",
        "What cannot be read could hold a claim; passing over it would be passing open.",
        "Correct the file, or give the tool what it asks for.",
        "§3.3",
        Severity.HIGH,
        Level.MANDATORY,
        Scope.STACK,
        unread_manifest,
    ),
)
