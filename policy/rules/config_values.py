"""Secret values in ConfigMaps and Helm values: a second, unprotected place of a secret."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator
from typing import Any

from policy.context import RuleContext
from policy.inventory.resource import Resource, part, walk
from policy.inventory.yaml_text import strings
from policy.rules.base import Rule, Scope, Severity, Violation, about
from policy.rules.secret_values import is_secret
from policy.rules.stand_ins import stands_for_another
from policy.settings import Level
from secret_authority.core.catalogue.schema import CatalogueSecret
from secret_authority.core.claims.locations import Part

_SECRET_LIKE = re.compile(
    r"(^|[-_.]|(?<=[a-z]))(password|passwd|secret|token|api[-_]?key|private[-_]?key|credentials?)$", re.IGNORECASE
)
# Keys that name a Secret, or say something about one.
_REFERENCE = re.compile(
    r"^(existing|external|use|create|enable|image)|(name|ref|enabled|path|file|mount|class|type)$", re.I
)
# `secret: app-tls` names a Secret; a `clientSecret` is one.
_NAMES_A_SECRET = re.compile(r"^(?!client)\w*secret$", re.IGNORECASE)
_OBJECT_NAME = re.compile(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
# cnpg.io/pluginClientSecret: app-client-tls. A Secret that is named in an annotation is one that is there.
_OF_A_SECRET = re.compile(r"-(tls|certs?|secrets?|credentials|creds|token|keys?|auth)$")
_NAMES_ONE = re.compile(r"(secret|credentials?)$", re.IGNORECASE)
# Made by a machine: no name.
_RANDOM = re.compile(r"(?=.*\d)[A-Za-z0-9]{16,}")
# A token of this length is a keyword, a language, a switch.
_KEYWORD = re.compile(r"(token|api[-_]?key)$", re.IGNORECASE)
_TOO_SHORT = 3
# An API key that a program asks for and its server, a language model in the house, does not.
_API_KEY = re.compile(r"api[-_]?key$", re.IGNORECASE)
_NO_KEY = re.compile(
    r"(sk[-_ ])?(not[-_ ]|no[-_ ](api[-_ ]?)?key[-_ ]?)?(required|needed)|no[-_ ](api[-_ ]?)?key|ollama|vllm|lm-?studio"
    r"|local(-?ai)?|llama([-.]?cpp)?",
    re.IGNORECASE,
)
# A private key is never a few words: github-private-key names one.
_PRIVATE_KEY = re.compile(r"private[-_]?key$", re.IGNORECASE)
_WORDS = re.compile(r"(?=.{1,40}$)[A-Za-z]+([-_. ][A-Za-z]+)+")
# sk_test_placeholder, your-token-here, changeme123, the address of a password store
_STANDS_IN = re.compile(
    r"(?i)placeholder|change[-_]?me|^(your|my|some|example)[-_]|^x{3,}$|replace[-_]?me|^\d{1,3}(\.\d{1,3}){3}(:\d+)?$"
)
# Values that stand for something else: template text, variables, references, switches.
_PLACEHOLDER = re.compile(
    r"^\s*$|\{\{|\$\{|^\$[A-Za-z_(]|^/[\w./-]+$|^<.*>$|^(true|false|none|null|-|dummy|changeme|placeholder)$",
    re.IGNORECASE,
)
# Sections of values that name Secrets and their keys.
_NAMES_KEYS = re.compile(r"^(existing|external)?secret(key|name|ref)+s?$|^existing", re.IGNORECASE)
# Texts that are read as YAML: files by their names, and Argo CD's values.
_YAML_FILE = re.compile(r"\.(ya?ml|json)$", re.IGNORECASE)
_ARGO_VALUES = "spec.source.helm.values"
_VALUES = {
    "kubernetes:helm.sh/v3:Release": ("values",),
    "kubernetes:helm.sh/v4:Chart": ("values",),
    "kubernetes:helm.sh/v3:Chart": ("values",),
}


def carriers(resource: Resource) -> list[tuple[str, Any]]:
    """(field, value) of what carries configuration: ConfigMap data, HelmRelease and chart values."""
    if resource.is_a("", "ConfigMap"):
        return [("data", resource.get("data"))]
    if resource.is_a("helm.toolkit.fluxcd.io", "HelmRelease"):
        return [("spec.values", resource.get("spec", "values"))]
    if resource.is_a("argoproj.io", "Application"):
        return [("spec.source.helm", resource.get("spec", "source", "helm"))]
    return [(".".join(path), resource.get(*path)) for path in [_VALUES.get(resource.token, ())] if path]


def runs_in(resource: Resource) -> Part:
    """The namespace in which what a carrier configures runs."""
    if resource.is_a("helm.toolkit.fluxcd.io", "HelmRelease"):
        given = resource.get("spec", "targetNamespace")
    elif resource.is_a("argoproj.io", "Application"):
        given = resource.get("spec", "destination", "namespace")
    else:
        given = resource.get("namespace") if resource.token in _VALUES else None
    return part(given, f"the namespace that {resource.label} deploys to") if given else resource.namespace


def _literals(resource: Resource) -> Iterator[tuple[str, str, str]]:
    """(full path, key, text) of every string in the fields that carry configuration. The text goes no further."""
    for field, value in carriers(resource):
        for path, leaf in walk(value):
            keys = [step for step in path if isinstance(step, str)]
            above = keys[:-1]
            # What is in a label everybody may see, and knows to be seen.
            if keys and isinstance(leaf, str) and not any(_NAMES_KEYS.match(k) or k == "labels" for k in above):
                yield ".".join([field, *map(str, path)]), keys[-1], leaf


def _is_value(key: str, text: str) -> bool:
    """Whether a string is a value itself, not a placeholder or the name of a Secret."""
    return not (
        _PLACEHOLDER.search(text)
        or _STANDS_IN.search(text)
        or stands_for_another(text)
        or (_API_KEY.search(key) and _NO_KEY.fullmatch(text))
        or (_PRIVATE_KEY.search(key) and _WORDS.fullmatch(text))
        or (_KEYWORD.search(key) and len(text.strip()) <= _TOO_SHORT)
        or _names_an_object(key, text)
        # Of a script or a file its lines are judged.
        or ("\n" in text.strip() and not is_secret(key, text))
    )


def _names_an_object(key: str, text: str) -> bool:
    """Whether a value is the name of a Secret, with or without its namespace."""
    name = text.rpartition("/")[2]
    if not _OBJECT_NAME.match(name) or _RANDOM.fullmatch(name):
        return False
    return bool(_NAMES_A_SECRET.match(key) or (_NAMES_ONE.search(key) and _OF_A_SECRET.search(name)))


def _names_an_attribute(path: str, key: str, text: str) -> bool:
    """An annotation such as proxy/basic-auth.password: password says in which attribute the value is."""
    return ".annotations." in path and text == re.split(r"[./]", key)[-1]


def _leaves(resource: Resource) -> Iterator[tuple[str, str]]:
    """(full path, key) of every literal that is there."""
    for path, key, text in _literals(resource):
        if _is_value(key, text) and not _names_an_attribute(path, key, text):
            yield path, key


def _leaves_in_texts(resource: Resource, wanted: Collection[str]) -> Iterator[tuple[str, str]]:
    """(full path, key) of every literal in texts that are YAML. Only texts with a wanted key are taken apart."""
    for path, key, text in _literals(resource):
        if not (_YAML_FILE.search(key) or path == _ARGO_VALUES) or not any(name in text for name in wanted):
            continue
        for inside, leaf in strings(text):
            keys = [step for step in inside if isinstance(step, str)]
            if keys and _is_value(keys[-1], leaf):
                yield f"{path}: {'.'.join(map(str, inside))}", keys[-1]


def _carries(resource: Resource) -> bool:
    """Whether a resource is of a kind that carries configuration."""
    return resource.kind in ("ConfigMap", "HelmRelease", "Application") or resource.token in _VALUES


def catalogued_key_in_config(context: RuleContext) -> Iterator[Violation]:
    known: dict[tuple[int, Part], dict[str, CatalogueSecret]] = defaultdict(dict)
    for catalogue_id, catalogued in context.inventory.catalogued_keys.items():
        for (namespace, key), entry in catalogued.items():
            known[catalogue_id, namespace][key] = entry
    for resource in filter(_carries, context.index.resources):
        catalogue = context.inventory.catalogue_of(resource) if carriers(resource) else None
        entries = known.get((id(catalogue), runs_in(resource))) if catalogue is not None else None
        if not entries:
            continue
        for path, key in (*_leaves(resource), *_leaves_in_texts(resource, entries)):
            if key in entries:
                yield about(
                    resource,
                    f"{path} carries the key {key} of the catalogued secret {entries[key].name} as configuration. Take "
                    "it out, and refer to the Secret instead",
                    entries[key].name,
                )


def secret_like_config(context: RuleContext) -> Iterator[Violation]:
    for resource in filter(_carries, context.index.resources):
        for path, key in _leaves(resource):
            if _SECRET_LIKE.search(key) and not _REFERENCE.search(key):
                yield about(
                    resource,
                    f"{path} looks like a secret in configuration. Move the value to Vault and refer to the Secret; if "
                    "it is no secret, write an exception",
                )


RULES = (
    Rule(
        "catalogued-key-in-config",
        "A catalogued secret does not stand in configuration as well",
        "A copy in a ConfigMap or in Helm values is a second place that rotation does not reach.",
        "Refer to the Secret that External Secrets keeps; remove the literal.",
        "§3.3",
        Severity.HIGH,
        Level.MANDATORY,
        Scope.STACK,
        catalogued_key_in_config,
    ),
    Rule(
        "secret-like-config",
        "Configuration carries no values that look like secrets",
        "ConfigMaps and Helm values are readable by many and encrypted by nobody.",
        "Put the value into Vault and refer to it, or write an exception with the reason.",
        "§2",
        Severity.MEDIUM,
        Level.ADVISORY,
        Scope.RESOURCE,
        secret_like_config,
        _carries,
    ),
)
