"""Secret values in ConfigMaps and Helm values: a second, unprotected place of a secret."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from policy.findings import Level, Report, Rule, Scope, Severity, about
from policy.model import Resource, opaque, walk

if TYPE_CHECKING:
    from policy.world import World

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
# Values that stand for something else: template text, variables, references, switches.
_PLACEHOLDER = re.compile(r"^\s*$|\{\{|\$\{|^<.*>$|^(true|false|none|null|-)$", re.IGNORECASE)
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


def _leaves(resource: Resource) -> Iterator[tuple[str, str]]:
    """(full path, key) of every literal that is there. The value itself does not leave this function."""
    for field, value in carriers(resource):
        for path, leaf in walk(value):
            keys = [str(step) for step in path if isinstance(step, str)]
            if not keys or opaque(leaf) or not isinstance(leaf, str) or _PLACEHOLDER.search(leaf):
                continue
            if _NAMES_A_SECRET.match(keys[-1]) and _OBJECT_NAME.match(leaf):
                continue
            yield ".".join([field, *map(str, path)]), keys[-1]


def catalogued_key_in_config(world: World) -> Iterator[Report]:
    for resource in world.resources:
        if not carriers(resource):
            continue
        catalogue = world.catalogue_of(resource)
        if catalogue is None:
            continue
        for path, key in _leaves(resource):
            entry = world.catalogued_keys[id(catalogue)].get((resource.namespace, key))
            if entry is not None:
                yield about(
                    resource,
                    f"{path} carries the key {key} of the catalogued secret {entry.name} as configuration. Take it "
                    "out, and refer to the Secret instead",
                    entry.name,
                )


def secret_like_config(world: World) -> Iterator[Report]:
    for resource in world.resources:
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
        lambda resource: bool(
            resource.token in _VALUES or resource.kind in ("ConfigMap", "HelmRelease", "Application")
        ),
    ),
)
