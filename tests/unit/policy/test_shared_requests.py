"""The pack reads each resource of a request once for all policies, and finds what the SDK's own decoding finds."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pulumi_policy.policy as sdk
import pytest
from google.protobuf import struct_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import analyzer_pb2 as proto
from pulumi_policy import proxy
from pulumi_policy.deserialize import SPECIAL_SECRET_SIG, SPECIAL_SIG_KEY
from pulumi_policy.version import VERSION

from policy import shared_requests
from policy.inventory.resource import HIDDEN
from policy.pack import PACK_NAME, concerned, policies
from policy.rules.base import Scope
from policy.rules.registry import RULES
from policy.shared_requests import HELPERS, LEVEL, METHODS, REPLACED, SharedProperties
from secret_authority.core.claims.locations import Unknown
from tests.support.policy.cases import deployment, external, plain, store
from tests.support.policy.stacks import UNKNOWN, R, SecretMark


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in REPLACED:
        monkeypatch.setattr(sdk, name, getattr(sdk, name))
    for name in (*METHODS, *HELPERS, LEVEL):
        monkeypatch.setattr(sdk._PolicyAnalyzerServicer, name, getattr(sdk._PolicyAnalyzerServicer, name))
    shared_requests.install(concerned)
    yield


def wire(value: Any) -> Any:
    if value is UNKNOWN:
        return proxy.UNKNOWN_STRING_VALUE
    if isinstance(value, SecretMark):
        return {SPECIAL_SIG_KEY: SPECIAL_SECRET_SIG, "value": wire(value.value)}
    if isinstance(value, dict):
        return {key: wire(inner) for key, inner in value.items()}
    return [wire(inner) for inner in value] if isinstance(value, list) else value


def struct(props: Any) -> struct_pb2.Struct:
    message = struct_pb2.Struct()
    message.update(wire(props))
    return message


RESOURCES: list[R] = [
    plain("shop/db"),
    store("shop"),
    external("shop/db", "pg/shop"),
    external("shop/other", "pg/other", name=UNKNOWN),
    deployment("shop/app", {"envFrom": [{"secretRef": {"name": "db"}}]}),
]


def stack_request() -> Any:
    listed = [proto.AnalyzerResource(type="pulumi:pulumi:Stack", urn="urn:stack", name="dev")]
    listed += [
        proto.AnalyzerResource(type=r.token, urn=f"urn:{r.name}", name=r.name, properties=struct(r.props))
        for r in RESOURCES
    ]
    return proto.AnalyzeStackRequest(resources=listed)


def servicer() -> Any:
    return sdk._PolicyAnalyzerServicer(PACK_NAME, "1", policies(), sdk.EnforcementLevel.MANDATORY)


def verdicts() -> list[tuple[str, str, str]]:
    answering = servicer()
    found = []
    for resource in RESOURCES:
        request = proto.AnalyzeRequest(
            type=resource.token, urn=f"urn:{resource.name}", name=resource.name, properties=struct(resource.props)
        )
        found += list(answering.Analyze(request, None).diagnostics)
        assert not answering.Remediate(request, None).remediations
    found += list(answering.AnalyzeStack(stack_request(), None).diagnostics)
    return [(one.policyName, one.urn, one.message) for one in found]


def test_the_verdicts_are_those_of_the_sdks_decoding(monkeypatch: pytest.MonkeyPatch, request: Any) -> None:
    before = verdicts()
    assert {"single-authority", "undecided-authority"} <= {rule for rule, _, _ in before}
    request.getfixturevalue("shared")
    assert verdicts() == before


def test_each_resource_is_read_once_for_all_policies(shared: None, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = SharedProperties.plain

    def counted(self: SharedProperties, owner: str) -> dict[str, Any]:
        read.append(owner)
        return original(self, owner)

    monkeypatch.setattr(SharedProperties, "plain", counted)
    servicer().AnalyzeStack(stack_request(), None)
    assert sorted(read) == sorted(resource.name for resource in RESOURCES)


def test_a_stack_is_gathered_once_for_all_policies(shared: None, monkeypatch: pytest.MonkeyPatch) -> None:
    gathered: list[str] = []
    original = sdk.PolicyResource

    def counted(*given: Any) -> Any:
        gathered.append(given[3])
        return original(*given)

    monkeypatch.setattr(sdk, "PolicyResource", counted)
    assert servicer().AnalyzeStack(stack_request(), None).diagnostics
    assert gathered == ["dev", *(resource.name for resource in RESOURCES)]


def test_the_next_request_gathers_its_own_stack(shared: None) -> None:
    answering = servicer()
    empty = proto.AnalyzeStackRequest(resources=stack_request().resources[:1])
    first = answering.AnalyzeStack(stack_request(), None).diagnostics
    assert first
    assert list(answering.AnalyzeStack(empty, None).diagnostics) == []
    assert list(answering.AnalyzeStack(stack_request(), None).diagnostics) == list(first)


def test_a_resource_is_shown_to_the_policies_that_it_concerns(shared: None, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    original = sdk.ResourceValidationPolicy.validate

    def counted(self: Any, args: Any, report: Any) -> Any:
        shown.append(self.name)
        return original(self, args, report)

    monkeypatch.setattr(sdk.ResourceValidationPolicy, "validate", counted)
    answering = servicer()
    for token in ("aws:s3/bucket:Bucket", "pulumi:providers:kubernetes", "shop:index:Page"):
        request = proto.AnalyzeRequest(type=token, urn="urn:x", name="x", properties=struct({"a": "b"}))
        assert not answering.Analyze(request, None).diagnostics
    assert shown == []
    answering.Analyze(proto.AnalyzeRequest(type="kubernetes:helm.sh/v3:Release", urn="urn:x", name="x"), None)
    assert set(shown) == {"opaque-release", "secret-like-config"}


def test_what_holds_any_content_concerns_the_policies_that_look_at_content() -> None:
    by_resource = {rule.id for rule in RULES if rule.scope is Scope.RESOURCE}
    assert concerned("kubernetes:core/v1:List") == by_resource
    # The keys of each Secret are remembered when it is shown: none may be passed over.
    for kind in ("Secret", "SecretPatch", "SecretList"):
        assert "pulumi-held-secret" in concerned(f"kubernetes:core/v1:{kind}")
    assert {"vault-injection", "root-token"} <= concerned("kubernetes:shop.example/v1:Anything")
    assert concerned("random:index/randomPassword:RandomPassword") == frozenset()


def test_another_sdk_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: getattr(sdk, name) for name in REPLACED}
    methods = {name: getattr(sdk._PolicyAnalyzerServicer, name) for name in (*METHODS, *HELPERS, LEVEL)}
    monkeypatch.setattr(shared_requests, "VERSION", "1.22.0")
    shared_requests.install(concerned)
    assert {name: getattr(sdk, name) for name in REPLACED} == before
    assert {name: getattr(sdk._PolicyAnalyzerServicer, name) for name in methods} == methods


def test_values_of_every_kind() -> None:
    props = {
        "text": "a",
        "whole": 3,
        "part": 1.5,
        "yes": True,
        "none": None,
        "list": [{"a": UNKNOWN}, "[secret]"],
        "secret": SecretMark({"b": "c"}),
        "unknown": UNKNOWN,
    }
    assert SharedProperties(struct(props)).plain("x") == {
        "text": "a",
        "whole": 3,
        "part": 1.5,
        "yes": True,
        "none": None,
        "list": [{"a": Unknown("list[0].a of x")}, HIDDEN],
        "secret": {"b": "c"},
        "unknown": Unknown("unknown of x"),
    }


def test_the_sdk_has_what_is_replaced() -> None:
    source = inspect.getsource(sdk._PolicyAnalyzerServicer)
    assert "deserialize_properties(json_format.MessageToDict(r.properties))" in source
    assert "unknown_checking_proxy(deserialized)" in source
    assert all(hasattr(sdk, name) for name in REPLACED)
    assert all(hasattr(sdk._PolicyAnalyzerServicer, name) for name in (*METHODS, *HELPERS, LEVEL))
    # A policy that is disabled is passed over first of all, and resources are gathered for each policy.
    for method in ("Analyze", "AnalyzeStack"):
        text = inspect.getsource(getattr(sdk._PolicyAnalyzerServicer, method))
        level = text.index("self._get_enforcement_level(policy)")
        assert level < text.index("== EnforcementLevel.DISABLED") < text.index("deserialize_properties(")
    assert "for r in request.resources:" in source and source.count("request.resources") == 1
    assert shared_requests.KNOWN == VERSION
