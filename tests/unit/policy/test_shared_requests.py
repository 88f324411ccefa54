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

from policy import shared_requests
from policy.inventory.resource import HIDDEN
from policy.pack import PACK_NAME, policies
from policy.shared_requests import HELPERS, METHODS, REPLACED, SharedProperties
from secret_authority.core.claims.locations import Unknown
from tests.support.policy.cases import deployment, external, plain, store
from tests.support.policy.stacks import UNKNOWN, R, SecretMark


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in REPLACED:
        monkeypatch.setattr(sdk, name, getattr(sdk, name))
    for name in (*METHODS, *HELPERS):
        monkeypatch.setattr(sdk._PolicyAnalyzerServicer, name, getattr(sdk._PolicyAnalyzerServicer, name))
    shared_requests.install()
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
    assert all(hasattr(sdk._PolicyAnalyzerServicer, name) for name in (*METHODS, *HELPERS))
