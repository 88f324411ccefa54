"""Lets all policies of the pack work on one reading of what the engine sends.

The SDK (pulumi-policy 1.21, `_PolicyAnalyzerServicer`) decodes every resource again for every policy, and once more for
remediations, which this pack has none of: with 42 policies that was most of what the pack cost. Here properties stay as
they came until a policy looks at them, and are then read once. `install` puts this in the place of the SDK's decoding;
`policy.readers.stack.plain` reads the result.

Two more loops of the SDK are cut short. A resource is only shown to the policies that its type concerns, and what a
stack holds is only gathered for the first policy of a request: the pack then has the `STACK` that all others read.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

import pulumi_policy.policy as sdk
from google.protobuf import json_format, struct_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import analyzer_pb2
from pulumi_policy import proxy
from pulumi_policy.deserialize import SPECIAL_SECRET_SIG, SPECIAL_SIG_KEY, deserialize_properties
from pulumi_policy.version import VERSION

from policy.inventory.resource import HIDDEN
from secret_authority.core.claims.locations import Unknown

# `pulumi policy analyze` puts this text in place of what it cannot decrypt, whatever its type was.
REDACTED = "[secret]"
_UNKNOWN = frozenset(value for name, value in vars(proxy).items() if name.startswith("UNKNOWN_"))
# The SDK whose private names are known here. With another one nothing is replaced: slower, with the same verdicts.
KNOWN = "1.21.0"
# The names in the SDK that are replaced; a test holds that it still has and uses them.
REPLACED = ("json_format", "deserialize_properties", "unknown_checking_proxy")
METHODS = ("Analyze", "AnalyzeStack", "Remediate")
HELPERS = ("_get_resource_options", "_get_provider_resource")
LEVEL = "_get_enforcement_level"
# The key under which a request has its stack, as one list for all policies.
STACK = "stack"


class SharedProperties:
    """The properties of one resource as the engine sent them, read on first use."""

    def __init__(self, message: struct_pb2.Struct) -> None:
        self._message = message
        self._read: dict[str, dict[str, Any]] = {}

    def plain(self, owner: str) -> dict[str, Any]:
        """Plain mappings and lists, with `Unknown("<field> of <owner>")` where the engine knows no value yet."""
        if owner not in self._read:
            fields = self._message.fields
            self._read[owner] = {key: _value(fields[key], key, owner) for key in fields}
        return self._read[owner]


def _value(value: struct_pb2.Value, where: str, owner: str) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        text = value.string_value
        if text in _UNKNOWN:
            return Unknown(f"{where} of {owner}")
        return HIDDEN if text == REDACTED else text
    if kind == "struct_value":
        fields = value.struct_value.fields
        if SPECIAL_SIG_KEY in fields:
            return _special(value.struct_value, where, owner)
        return {key: _value(fields[key], f"{where}.{key}", owner) for key in fields}
    if kind == "list_value":
        listed = value.list_value.values
        return [_value(inner, f"{where}[{index}]", owner) for index, inner in enumerate(listed)]
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    return value.bool_value if kind == "bool_value" else None


def _special(struct: struct_pb2.Struct, where: str, owner: str) -> Any:
    """A secret is what is in it; assets and archives are as the SDK gives them."""
    if struct.fields[SPECIAL_SIG_KEY].string_value == SPECIAL_SECRET_SIG and "value" in struct.fields:
        return _value(struct.fields["value"], where, owner)
    return deserialize_properties({"value": json_format.MessageToDict(struct)})["value"]


class _Request(threading.local):
    """What was made of the request that this thread answers."""

    def __init__(self) -> None:
        self.made: dict[Any, Any] | None = None
        # The policies that the resource in question concerns; None where all are asked.
        self.concerned: frozenset[str] | None = None


_request = _Request()


def once(key: Any, make: Callable[[], Any]) -> Any:
    """What `make` gives, made once for each request. `key` has to tell it from all else that is made of a request."""
    if _request.made is None:
        return make()
    if key not in _request.made:
        _request.made[key] = make()
    return _request.made[key]


def _shared(message: Any) -> Any:
    # The message is kept, so that its id stays its own for the whole request.
    return once(("properties", id(message)), lambda: (message, SharedProperties(message)))[1]


class _JsonFormat:
    """Stands in for google.protobuf.json_format in the SDK: properties are not decoded, all else is."""

    @staticmethod
    def MessageToDict(message: Any) -> Any:
        in_request = _request.made is not None
        shares = in_request and isinstance(message, struct_pb2.Struct)
        return _shared(message) if shares else json_format.MessageToDict(message)


class _StackRequest:
    """A request about a whole stack, whose resources are gathered until a policy has made `STACK` of them."""

    def __init__(self, request: Any) -> None:
        self._request = request

    @property
    def resources(self) -> Iterable[Any]:
        return () if _request.made is not None and STACK in _request.made else self._request.resources

    def __getattr__(self, name: str) -> Any:
        return getattr(self._request, name)


def install(concerned: Callable[[str], frozenset[str]]) -> None:
    """Replace the SDK's decoding in this process, if it is the SDK that is known here.

    `concerned` gives the names of the resource policies that may have something to say of a type.
    """
    if VERSION != KNOWN:
        return
    servicer = sdk._PolicyAnalyzerServicer
    sdk.json_format = _JsonFormat
    original_read, original_proxy = sdk.deserialize_properties, sdk.unknown_checking_proxy

    def read(props: Any, proxy_secrets: bool = False) -> Any:
        return props if isinstance(props, SharedProperties) else original_read(props, proxy_secrets)

    def checked(props: Any) -> Any:
        return props if isinstance(props, SharedProperties) else original_proxy(props)

    sdk.deserialize_properties = read
    sdk.unknown_checking_proxy = checked
    servicer.Analyze = _of_resource(servicer.Analyze, concerned)
    servicer.AnalyzeStack = _of_stack(servicer.AnalyzeStack)
    for name in METHODS:
        setattr(servicer, name, _in_request(getattr(servicer, name)))
    for name in HELPERS:
        setattr(servicer, name, _kept(name, getattr(servicer, name)))
    setattr(servicer, LEVEL, _level(getattr(servicer, LEVEL)))


_Method = Callable[[Any, Any, Any], Any]


def _in_request(method: _Method) -> _Method:
    def answer(self: Any, request: Any, context: Any) -> Any:
        _request.made = {}
        try:
            return method(self, request, context)
        finally:
            _request.made = None
            _request.concerned = None

    return answer


def _of_resource(method: _Method, concerned: Callable[[str], frozenset[str]]) -> _Method:
    def answer(self: Any, request: Any, context: Any) -> Any:
        _request.concerned = concerned(request.type)
        return method(self, request, context) if _request.concerned else analyzer_pb2.AnalyzeResponse()

    return answer


def _of_stack(method: _Method) -> _Method:
    return lambda self, request, context: method(self, _StackRequest(request), context)


def _level(method: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The SDK passes over a policy that is disabled before it prepares anything for it."""

    def answer(self: Any, policy: Any) -> Any:
        unconcerned = _request.concerned is not None and policy.name not in _request.concerned
        return sdk.EnforcementLevel.DISABLED if unconcerned else method(self, policy)

    return answer


def _kept(name: str, helper: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def answer(self: Any, message: Any) -> Any:
        return once((name, id(message)), lambda: (message, helper(self, message)))[1]

    return answer
