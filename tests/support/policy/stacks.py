"""Small stacks for tests: resources as plain data, and ways to show them to the rules.

`UNKNOWN` stands for an output that is not known in preview, `secret(x)` for a Pulumi secret.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pulumi_policy.policy as sdk
from google.protobuf import json_format, struct_pb2
from pulumi.runtime.proto import analyzer_pb2
from pulumi_policy import EnforcementLevel
from pulumi_policy.policy import _PolicyAnalyzerServicer
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE

from policy.context import RuleContext
from policy.pack import policies
from policy.readers.state import read_state
from policy.rules.registry import new_context
from policy.settings import Settings

# A value that may never be seen in a message.
CANARY = "CANARY-9d1c-value"
SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET_SIGNATURE = "1b47061264138c4ac30d75fd1eb44270"
KUBECONFIG = json.dumps(
    {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
        "users": [{"name": "u", "user": {"token": CANARY}}],
    }
)


class _UnknownMark:
    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = _UnknownMark()


@dataclass(frozen=True)
class SecretMark:
    value: Any


def secret(value: Any) -> SecretMark:
    return SecretMark(value)


@dataclass(frozen=True)
class R:
    """A resource of a test stack. `fed_by` maps a property to the names of resources that it comes from."""

    token: str
    name: str
    props: Mapping[str, Any] = field(default_factory=dict)
    parent: str | None = None
    depends_on: tuple[str, ...] = ()
    fed_by: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    provider: str | None = None
    # Outputs, where they differ from the inputs.
    live: Mapping[str, Any] | None = None


KUBERNETES = R("pulumi:providers:kubernetes", "cluster", {"kubeconfig": KUBECONFIG})
VAULT = R(
    "pulumi:providers:vault",
    "vault",
    {
        "address": "https://vault.vault.svc:8200",
        "token": CANARY,
        "skipChildToken": True,
        "skipGetVaultVersion": True,
    },
)


def k8s(api: str, kind: str, where: str, name: str | None = None, **fields: Any) -> R:
    """A Kubernetes object; `where` is namespace/name, or name alone for cluster-wide kinds."""
    space, _, own = where.rpartition("/")
    metadata = {"name": own, **({"namespace": space} if space else {}), **fields.pop("metadata", {})}
    group = api if "/" in api else f"core/{api}"
    props = {"apiVersion": api, "kind": kind, "metadata": metadata, **fields}
    return R(f"kubernetes:{group}:{kind}", name or f"{kind}-{where}".lower().replace("/", "-"), props)


def component(layer: str, **outputs: Any) -> R:
    return R(f"secret-authority:layer:{layer}", layer.lower(), outputs)


def urn(resource: R) -> str:
    return f"urn:pulumi:dev::test::{resource.token}::{resource.name}"


def _wire(value: Any) -> Any:
    if value is UNKNOWN:
        return UNKNOWN_STRING_VALUE
    if isinstance(value, SecretMark):
        return {SIGNATURE: SECRET_SIGNATURE, "value": _wire(value.value)}
    if isinstance(value, Mapping):
        return {key: _wire(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_wire(inner) for inner in value]
    return value


def _struct(value: Any) -> struct_pb2.Struct:
    return json_format.ParseDict(_wire(value), struct_pb2.Struct())


def _provider_of(resource: R, everything: Mapping[str, R]) -> R | None:
    if resource.provider:
        return everything[resource.provider]
    package = resource.token.partition(":")[0]
    return {"kubernetes": KUBERNETES, "vault": VAULT}.get(package)


@contextmanager
def _decoded_once() -> Iterator[None]:
    """The SDK decodes each resource again for each of some forty policies; here with the same result, and once."""
    kept: dict[tuple[Any, int], tuple[Any, Any]] = {}

    def once(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(given: Any) -> Any:
            # What is given is kept, so that its id stays its own.
            if (function, id(given)) not in kept:
                kept[function, id(given)] = given, function(given)
            return kept[function, id(given)][1]

        return call

    with (
        patch.object(sdk, "json_format", SimpleNamespace(MessageToDict=once(json_format.MessageToDict))),
        patch.object(sdk, "deserialize_properties", once(sdk.deserialize_properties)),
        patch.object(sdk, "unknown_checking_proxy", once(sdk.unknown_checking_proxy)),
    ):
        yield


@_decoded_once()
def verdicts(resources: Iterable[R], config: Mapping[str, Any] | None = None) -> dict[str, list[str]]:
    """Rule -> messages, as the SDK's own servicer gives them over the wire format of the engine.

    A policy that ended early over an unknown value would show up as "can't run policy".
    """
    everything = {resource.name: resource for resource in resources}
    servicer = _PolicyAnalyzerServicer("secret-authority", "0.1.0", policies(), EnforcementLevel.MANDATORY)
    if config:
        request = analyzer_pb2.ConfigureAnalyzerRequest()
        for policy in policies():
            request.policyConfig[policy.name].enforcementLevel = {
                EnforcementLevel.ADVISORY: analyzer_pb2.ADVISORY,
                EnforcementLevel.MANDATORY: analyzer_pb2.MANDATORY,
            }[policy.enforcement_level or EnforcementLevel.MANDATORY]
            request.policyConfig[policy.name].properties.CopyFrom(_struct(config))
        servicer.Configure(request, None)
    stack = analyzer_pb2.AnalyzeStackRequest()
    diagnostics = []
    for resource in everything.values():
        provider = _provider_of(resource, everything)
        props = _struct(resource.props)
        own = urn(resource)
        one = analyzer_pb2.AnalyzeRequest(type=resource.token, name=resource.name, urn=own, properties=props)
        outputs = props if resource.live is None else _struct(resource.live)
        many = stack.resources.add(type=resource.token, name=resource.name, urn=own, properties=outputs)
        if resource.parent:
            one.options.parent = many.parent = urn(everything[resource.parent])
        if provider is not None:
            for target in (one, many):
                target.provider.type, target.provider.name = provider.token, provider.name
                target.provider.urn = urn(provider)
                target.provider.properties.CopyFrom(_struct(provider.props))
        many.dependencies.extend(urn(everything[other]) for other in resource.depends_on)
        for key, others in resource.fed_by.items():
            many.propertyDependencies[key].urns.extend(urn(everything[other]) for other in others)
        diagnostics += servicer.Analyze(one, None).diagnostics
    diagnostics += servicer.AnalyzeStack(stack, None).diagnostics
    found: dict[str, list[str]] = {}
    for diagnostic in diagnostics:
        found.setdefault(diagnostic.policyName, []).append(diagnostic.message)
    return found


def state_of(resources: Iterable[R]) -> dict[str, Any]:
    """The resources as a Pulumi state; secrets as the ciphertext that a state holds."""
    everything = {resource.name: resource for resource in resources}
    stack_urn = "urn:pulumi:dev::test::pulumi:pulumi:Stack::test-dev"
    entries: list[dict[str, Any]] = [{"urn": stack_urn, "custom": False, "type": "pulumi:pulumi:Stack"}]
    used = {p.name: p for r in everything.values() if (p := _provider_of(r, everything))}
    for provider in used.values():
        entries.append(
            {
                "urn": urn(provider),
                "custom": True,
                "id": "0000",
                "type": provider.token,
                "inputs": _stored(provider.props),
                "outputs": _stored(provider.props),
                "parent": stack_urn,
            }
        )
    for resource in everything.values():
        if resource.name in used:
            continue
        provider_ = _provider_of(resource, everything)
        custom = not resource.token.startswith("secret-authority:")
        entry = {
            "urn": urn(resource),
            "custom": custom,
            "type": resource.token,
            "inputs": _stored(resource.props),
            "outputs": _stored(resource.props),
            "parent": urn(everything[resource.parent]) if resource.parent else stack_urn,
            "dependencies": [urn(everything[other]) for other in resource.depends_on],
            "propertyDependencies": {
                key: [urn(everything[other]) for other in others] for key, others in resource.fed_by.items()
            },
        }
        if custom:
            entry["id"] = resource.name
        if provider_ is not None:
            entry["provider"] = f"{urn(provider_)}::0000"
        entries.append(entry)
    return {"version": 3, "deployment": {"manifest": {"time": "2026-01-01T00:00:00Z"}, "resources": entries}}


def _stored(value: Any) -> Any:
    if value is UNKNOWN:
        return "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
    if isinstance(value, SecretMark):
        return {SIGNATURE: SECRET_SIGNATURE, "plaintext": json.dumps(_stored(value.value))}
    if isinstance(value, Mapping):
        return {key: _stored(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_stored(inner) for inner in value]
    return value


def context_of_state(resources: Iterable[R], settings: Settings | None = None) -> RuleContext:
    return new_context(read_state(json.loads(json.dumps(state_of(resources))), "state.json"), settings)
