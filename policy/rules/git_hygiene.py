"""Git holds encrypted intent: nothing in the clear, nothing undecrypted, no branch as an environment."""

from __future__ import annotations

import json
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from policy.context import RuleContext
from policy.go_regex import search
from policy.inventory.argocd_marks import vault_plugin_path
from policy.inventory.bootstrap_secrets import is_encrypted, judged_folders
from policy.inventory.coverage import HIDDEN, MISSING, NOT_IN_GIT
from policy.inventory.resource import Origin, Position, Resource, dig, items, mapping
from policy.rules.base import LISTED, Rule, Scope, Severity, Violation, about, refused, some
from policy.rules.secret_values import is_secret, texts
from policy.rules.stand_ins import is_sops_file, names_itself, stands_for_another
from policy.rules.unapplied import is_shown_to_people, is_unapplied
from policy.settings import Level, Profile
from secret_authority.core.errors import Problem

_ENVIRONMENT = re.compile(
    r"^(env[-/])?(dev|development|test|testing|qa|uat|stage|staging|preprod|pre-prod|prod|production|live)$"
)
# kubectl keeps the manifest here as it was applied, with the values.
_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def plaintext_secret(context: RuleContext) -> Iterator[Violation]:
    """One violation for what one place in Git makes, however many Secrets are made of it."""
    for clear, resources in _in_the_clear(context):
        if is_shown_to_people(resources[0], context):
            continue
        others = sorted({resource.label for resource in resources[1:]} - {resources[0].label})
        made = f" The same place makes {some(others)}" if others else ""
        yield about(
            resources[0],
            f"is in the clear in Git ({', '.join(sorted(clear))}). Encrypt it with sops, and give it a new "
            f"value: Git's history still has the old one{'.' if made else ''}{made}",
            *others,
        )


def shown_in_the_clear(context: RuleContext) -> list[str]:
    """Secrets in the clear of demonstrations and tests that nothing in the tree applies: named, and no findings."""
    return [
        f"{resources[0].label} ({resources[0].where}) is in the clear ({', '.join(sorted(clear))}), in a place for "
        "demonstrations or tests that nothing in the tree applies"
        for clear, resources in _in_the_clear(context)
        if is_shown_to_people(resources[0], context)
    ]


def _in_the_clear(context: RuleContext) -> Iterator[tuple[frozenset[str], list[Resource]]]:
    """The keys that are in the clear, with the Secrets that one place makes so."""
    found: dict[tuple[Position, frozenset[str]], list[Resource]] = defaultdict(list)
    for resource in context.index.secrets:
        if resource.origin is not Origin.GIT or is_encrypted(resource) or vault_plugin_path(resource):
            continue
        unapplied = is_unapplied(resource, context)
        clear = frozenset(
            key for key, text in texts(resource) if is_secret(key, text) and not (unapplied and names_itself(text))
        )
        if clear:
            found[resource.where, clear].append(resource)
    for (_, clear), resources in found.items():
        yield clear, resources


def half_encrypted_secret(context: RuleContext) -> Iterator[Violation]:
    for resource in context.index.secrets:
        if resource.origin is not Origin.GIT:
            continue
        if resource.get("sops") is not None:
            chosen = _names_keys(resource.get("sops", "encrypted_regex"))
            outside = [(key, text) for key, text in _outside_sops(resource) if not stands_for_another(text)]
            clear = {key for key, text in outside if not chosen or is_secret(key, text)}
            clear |= {f"{key} of the annotation {_APPLIED}" for key in _applied_in_the_clear(resource)}
            fix = "Set encrypted_regex to ^(data|stringData)$ in .sops.yaml"
        elif _from_encrypted_env(resource):
            # A generator may have literals and other files beside the encrypted one.
            clear = {key for key, text in _outside_sops(resource) if is_secret(key, text)}
            fix = "Put it into an env file that sops encrypts whole, without encrypted_regex"
        else:
            continue
        if clear:
            yield about(
                resource,
                f"has a sops block, but {', '.join(sorted(clear))} is not encrypted. {fix}, encrypt again, and give it "
                "a new value",
            )


def _names_keys(pattern: Any) -> bool:
    """Whether sops was told which keys to encrypt, instead of all of `data`: then others may be plain on purpose."""
    return isinstance(pattern, str) and all(search(pattern, field) is False for field in ("data", "stringData"))


def _applied_in_the_clear(resource: Resource) -> set[str]:
    """Keys whose values kubectl kept in an annotation, where sops leaves them as they are."""
    text = resource.get("metadata", "annotations", _APPLIED)
    try:
        kept = mapping(json.loads(text)) if isinstance(text, str) else {}
    except (ValueError, RecursionError):
        return set()
    found = {**mapping(kept.get("data")), **mapping(kept.get("stringData"))}
    return {str(key) for key, value in found.items() if value and not str(value).startswith("ENC[")}


def _outside_sops(resource: Resource) -> Iterator[tuple[str, str]]:
    """(key, text) of what sops has not encrypted."""
    for key, text in texts(resource):
        if not text.startswith("ENC[") and not key.startswith("sops_"):
            yield key, text


def _from_encrypted_env(resource: Resource) -> bool:
    """Whether a generator made the Secret of an env file that sops encrypted: its block is a key of each field."""
    return any(key == "sops_mac" for key, _ in texts(resource))


def _holds_ciphertext(resource: Resource) -> bool:
    """Whether a manifest, or a file that a generator put into a Secret, is encrypted with sops."""
    if resource.get("sops") is not None:
        return True
    return resource.kind == "Secret" and (
        _from_encrypted_env(resource) or any(is_sops_file(text) for _, text in texts(resource))
    )


def encrypted_not_decrypted(context: RuleContext) -> Iterator[Violation]:
    for resource in context.index.kubernetes:
        if resource.origin is Origin.GIT and resource.applied_by.decrypts is False and _holds_ciphertext(resource):
            yield about(
                resource,
                f"is encrypted with sops, but {resource.applied_by.applier} does not decrypt. Set "
                "spec.decryption.provider: sops on it",
            )


def bootstrap_file(context: RuleContext) -> Iterator[Violation]:
    """The files of our own bootstrap folders, by the reader of `check`, the evidence and the handover."""
    for folders in judged_folders(context.index):
        for problem in folders.files:
            yield refused(problem)


def branch_as_environment(context: RuleContext) -> Iterator[Violation]:
    branches: dict[str, list[_Read]] = defaultdict(list)
    taken: dict[str, list[tuple[str, Resource]]] = defaultdict(list)
    folders = _FoldersRead(context)
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
        url = _repository(url)
        branches[url] += [_Read(branch, resource, *at) for at in folders(resource)]
        taken[url].append((branch, resource))
    named: set[str] = set()
    for url, found in taken.items():
        if len({branch for branch, _ in found}) == 1 and len({read.cluster for read in branches[url]}) > 1:
            continue  # the one branch of all clusters is the trunk, whatever its name
        for branch, resource in found:
            if _ENVIRONMENT.match(branch):
                named.add(url)
                violation = about(
                    resource,
                    f"takes branch {branch} as an environment. Use one branch, and a folder and a stack for each "
                    "cluster",
                )
                yield replace(violation, cause=f"{url} {branch}", others="It is also taken by")
    for url, reads in branches.items():
        first = {read.branch: read.resource for read in reversed(reads)}
        if len(first) > 1 and url not in named and _are_environments(reads):
            names = list(dict.fromkeys(read.branch for read in reads))
            yield about(
                first[names[-1]],
                f"one repository is read from the branches {', '.join(sorted(names))}. Use one branch, and a folder "
                "for each cluster",
            )


def _repository(url: str) -> str:
    """host/path, whether the URL is written for HTTPS or for SSH."""
    bare = re.sub(r"^[a-z+]+://", "", url.strip().lower()).rpartition("@")[2]
    return bare.replace(":", "/", 1).rstrip("/").removesuffix(".git")


@dataclass(frozen=True)
class _Read:
    """One folder of a repository that is applied to one cluster from one branch."""

    branch: str
    resource: Resource
    cluster: tuple[str, str]
    folder: str


class _FoldersRead:
    """The folders that an Application, or the Kustomizations of a GitRepository, apply; of a source of charts none."""

    def __init__(self, context: RuleContext) -> None:
        self._users: dict[tuple[str, str, str], list[Resource]] = defaultdict(list)
        for user in context.index.of("kustomize.toolkit.fluxcd.io", "Kustomization"):
            source = user.get("spec", "sourceRef")
            space = dig(source, "namespace") or user.namespace
            self._users[str(user.cluster), str(space), str(dig(source, "name"))].append(user)

    def __call__(self, resource: Resource) -> Iterator[tuple[tuple[str, str], str]]:
        if resource.kind == "Application":
            destination = resource.get("spec", "destination")
            place = str(dig(destination, "server") or dig(destination, "name"))
            yield (str(resource.cluster), place), _folder(resource.get("spec", "source", "path"))
            return
        for user in self._users[str(resource.cluster), str(resource.namespace), str(resource.metadata_name)]:
            place = str(user.get("spec", "kubeConfig"))
            yield (str(user.cluster), place), _folder(user.get("spec", "path"))


def _folder(path: Any) -> str:
    return posixpath.normpath(f"/{path or ''}")


def _are_environments(found: list[_Read]) -> bool:
    """Whether branches of one repository are for one folder, or for clusters that share none of them."""
    clusters: dict[object, set[str]] = defaultdict(set)
    folders: dict[object, set[str]] = defaultdict(set)
    for read in found:
        clusters[read.cluster].add(read.branch)
        folders[read.cluster, read.folder].add(read.branch)
    apart = any(one.isdisjoint(other) for one in clusters.values() for other in clusters.values())
    return apart or any(len(branches) > 1 for branches in folders.values())


def unread_manifest(context: RuleContext) -> Iterator[Violation]:
    """What a file takes in and the tree does not hold is one finding for that file."""
    missing: dict[str, list[Problem]] = defaultdict(list)
    for problem in context.problems:
        if problem.message in (MISSING, NOT_IN_GIT):
            missing[problem.file].append(problem)
    several = {file: problems for file, problems in missing.items() if len(problems) > 1}
    for file, problems in several.items():
        names = sorted({problem.field.rpartition(": ")[2] for problem in problems})
        ignored = sorted({p.field.rpartition(": ")[2] for p in problems if p.message == NOT_IN_GIT})
        git = f" Git ignores {len(ignored)} of them (.gitignore): {some(ignored)}." if ignored else ""
        yield Violation(
            f"{file}: takes in {len(names)} files that are not in the tree: {some(names)}.{git} Fix: correct the "
            "paths, add the files, or leave the folder out under `exclude`.",
            Position(file=file),
            (file, *(problem.field for problem in problems)),
        )
    undecrypted = _reported_as_not_decrypted(context)
    for problem in context.problems:
        if problem.message in (MISSING, NOT_IN_GIT) and problem.file in several:
            continue
        if problem.message == HIDDEN and problem.file in undecrypted:
            continue
        line = re.search(r"line (\d+)", problem.field)
        yield Violation(
            str(problem), Position(file=problem.file, line=int(line[1]) if line else 1), (problem.file, problem.field)
        )


def _reported_as_not_decrypted(context: RuleContext) -> set[str]:
    """Files of which `encrypted-not-decrypted` says already that nobody can read them, without an exception."""
    rule = "encrypted-not-decrypted"
    excepted = any(exemption.rule == rule for exemption in context.settings.exceptions)
    if excepted or context.settings.levels.get(rule) is Level.DISABLED:
        return set()
    return {violation.where.file for violation in encrypted_not_decrypted(context)}


def coverage(context: RuleContext) -> Iterator[Violation]:
    """One finding for all that was not read of a tree."""
    found = context.coverage
    if found is None or not found.missing:
        return
    minimum = minimum_of(context)
    listed = [*found.unread, *found.unexpanded, *found.remote]
    shown = "; ".join(listed[:LISTED]) + (f"; and {len(listed) - LISTED} more" if len(listed) > LISTED else "")
    message = (
        f"{found.percent:g} % of what is about secrets was read ({len(found.read)} of {found.total}; at least "
        f"{minimum:g} % is asked for). Not read: {shown}. Name where a cluster starts under `entries` of the settings, "
        "or what is not of a cluster under `exclude`; `policy check --explain PATH` says why a file was not read"
    )
    level = Level.MANDATORY if found.percent < minimum or minimum >= 100 else Level.ADVISORY
    yield Violation(message, Position(file=next(iter(found.unread), "")), ("coverage", *listed), level)


def minimum_of(context: RuleContext) -> float:
    """The share of files about secrets, in percent, below which the finding is mandatory."""
    given = context.settings.minimum_coverage
    if given is not None:
        return given
    return 100.0 if context.profile is Profile.RFC else 90.0


def sops_rules(context: RuleContext) -> Iterator[Violation]:
    """.sops.yaml must encrypt the data of Secrets and leave their identity readable.

    Only rules by which a Secret of the tree is encrypted are judged: others are for files of other tools.
    """
    files = {
        resource.where.file
        for resource in context.index.secrets
        if resource.origin is Origin.GIT and is_encrypted(resource)
    }
    # Of files with values that sops left as they are: whether one of these is a secret.
    beside: dict[str, bool] = defaultdict(bool)
    for resource in context.index.secrets:
        for key, text in _outside_sops(resource) if resource.where.file in files else ():
            beside[resource.where.file] |= is_secret(key, text)
    for resource in context.index.of("secret-authority.dev", "SopsConfig"):
        rules = [mapping(rule) for rule in items(resource.get("creation_rules"))]
        used = {_first_match(rules, file) for file in files}
        for index, rule in enumerate(rules):
            pattern = rule.get("encrypted_regex")
            if not isinstance(pattern, str) or index not in used:
                continue
            where = f".sops.yaml: creation_rules[{index}].encrypted_regex"
            if search(pattern, "") is None:
                what = f"{where} is not an expression that sops can read. Correct it"
                yield Violation(what, resource.where, (resource.where.file,))
                continue
            missed = [field for field in ("data", "stringData") if not search(pattern, field)]
            left = [secret for file, secret in beside.items() if _first_match(rules, file) == index]
            if left and not any(left) and _names_keys(pattern):
                # It names the keys to encrypt on purpose: what it leaves are public values.
                missed = []
            hidden = [field for field in ("metadata", "kind") if search(pattern, field)]
            if missed or hidden:
                what = f"leaves {', '.join(missed)} in the clear" if missed else f"hides {', '.join(hidden)}"
                yield Violation(
                    f"{where} {what}. Set it to ^(data|stringData)$", resource.where, (resource.where.file,)
                )


def _first_match(rules: list[Mapping[str, Any]], file: str) -> int | None:
    """The rule by which sops would encrypt a file: the first whose path_regex is found in the path."""
    return next((i for i, rule in enumerate(rules) if search(str(rule.get("path_regex") or ""), file)), None)


RULES = (
    Rule(
        "plaintext-secret",
        "No Secret is in the clear in Git",
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
        "Flux applies ciphertext as it is when decryption is not set, or fails for the whole Kustomization.",
        "Set spec.decryption.provider: sops with the Secret of the cluster's identity.",
        "§4",
        Severity.HIGH,
        Level.MANDATORY,
        Scope.STACK,
        encrypted_not_decrypted,
    ),
    Rule(
        "bootstrap-file",
        "Files of bootstrap folders are read as Flux reads them",
        "What Flux leaves out, refuses or applies in another way never becomes the Secret that the catalogue names, "
        "and a file that somebody else can open is no secret.",
        "Do what the message says; `secret-authority check` says the same of the file.",
        "§5",
        Severity.HIGH,
        Level.MANDATORY,
        Scope.STACK,
        bootstrap_file,
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
    Rule(
        "coverage",
        "What is about secrets is read",
        "A verdict over half of a tree says nothing about the other half.",
        "Name where each cluster starts under entries, exclude what is not of a cluster, or install helm.",
        "§3.3",
        Severity.HIGH,
        Level.ADVISORY,
        Scope.STACK,
        coverage,
    ),
)
