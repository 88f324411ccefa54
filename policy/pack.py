"""The rules as CrossGuard policies: one policy for each rule, with its name, severity, level and way out.

A RESOURCE rule becomes a resource policy, which the engine runs before each step, on inputs. A STACK rule
becomes a stack policy, which the engine runs after all steps of a preview or an update. So what blocks a
conflict is the preview; `pulumi up --skip-preview` gives that away.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any

from pulumi_policy import (
    EnforcementLevel,
    Policy,
    PolicyComplianceFramework,
    PolicyConfigSchema,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
)
from pulumi_policy import Severity as PulumiSeverity

from policy.context import RuleContext
from policy.inventory.resource import Origin, Position, Resource
from policy.readers.lists import expand_lists
from policy.readers.stack import WrittenKeys, read_registration, read_stack
from policy.rules.base import Rule, Scope
from policy.rules.registry import RULES, new_context, violations
from policy.settings import Settings, parse_settings
from policy.shared_requests import STACK, once
from secret_authority.core.errors import InvalidInputError

PACK_NAME = "secret-authority"
_URL = "https://secret-authority.dev/docs/policy/rules#"
_STRINGS: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
# Every rule takes the same settings; see policy.settings.
CONFIG: dict[str, dict[str, Any]] = {
    "allowedNamespaces": _STRINGS,
    "platformNamespaces": _STRINGS,
    "phase": {"type": "integer", "minimum": 0, "maximum": 4},
    "vaultServers": {"type": "object", "additionalProperties": _STRINGS},
    "handedOver": _STRINGS,
    "exceptions": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["rule", "subject", "reason", "expires"],
            "properties": {name: {"type": "string"} for name in ("rule", "subject", "reason", "expires")},
        },
    },
}


def policies() -> list[Policy]:
    """All rules, in the order of the documentation."""
    written = WrittenKeys()
    return [_policy(rule, written) for rule in RULES]


def _policy(rule: Rule, written: WrittenKeys) -> Policy:
    common: dict[str, Any] = {
        "name": rule.id,
        "description": rule.title,
        "enforcement_level": EnforcementLevel(rule.level.value),
        "config_schema": PolicyConfigSchema(CONFIG),
        "display_name": rule.title,
        "severity": PulumiSeverity(rule.severity.value),
        "framework": PolicyComplianceFramework("RFC-SECOPS-0001", "1", rule.rfc, rule.why),
        "remediation_steps": rule.fix,
        "url": f"{_URL}{rule.id}",
    }
    if rule.scope is Scope.RESOURCE:

        def validate_resource(args: ResourceValidationArgs, report: ReportViolation) -> None:
            # What follows from the request alone is made once for all policies.
            once("remembered", lambda: written.remember(args))
            resources = once("registration", lambda: read_registration(args))
            if rule.concerns is not None and not any(rule.concerns(resource) for resource in resources):
                return
            settings, key = _settings(args.get_config(), report)
            _run(rule, once(("registration", key), lambda: new_context(resources, settings)), report)

        return ResourceValidationPolicy(validate=validate_resource, **common)

    def validate_stack(args: StackValidationArgs, report: ReportViolation) -> None:
        # `pulumi policy analyze` ends in a panic over a violation without a URN; the stack's own is always there.
        resources, stack = once(STACK, lambda: (read_stack(args.resources, written), _urn_of_stack(args)))

        def placed(message: str, urn: str | None = None) -> None:
            report(message, urn or stack)

        settings, key = _settings(args.get_config(), placed)
        _run(rule, once((STACK, key), lambda: new_context(resources, settings)), placed)

    return StackValidationPolicy(validate=validate_stack, **common)


def _urn_of_stack(args: StackValidationArgs) -> str | None:
    return next((r.urn for r in args.resources if r.resource_type == "pulumi:pulumi:Stack"), None)


class _ContentNeededError(Exception):
    """The type of a resource alone does not say whether it concerns a rule."""


@cache
def concerned(token: str) -> frozenset[str]:
    """The RESOURCE rules that may have something to say of a resource of a type, whatever is in it."""

    def content() -> Mapping[str, Any]:
        raise _ContentNeededError

    resource = Resource(token, "", Position(), Origin.STACK, content)

    def may(rule: Rule) -> bool:
        try:
            return rule.concerns is None or any(rule.concerns(each) for each in expand_lists([resource]))
        except _ContentNeededError:
            return True

    return frozenset(rule.id for rule in RULES if rule.scope is Scope.RESOURCE and may(rule))


def _settings(config: Mapping[str, Any] | None, report: ReportViolation) -> tuple[Settings, str]:
    """The settings of a policy, and a text that tells them from others. What is wrong with them is reported."""
    given = {name: value for name, value in (config or {}).items() if name in CONFIG}
    if isinstance(given.get("phase"), float):
        # Numbers cross the wire as floats.
        given["phase"] = int(given["phase"])
    key = json.dumps(given, sort_keys=True)
    settings, problem = _parsed(key)
    if problem is not None:
        report(problem, None)
    return settings, key


@lru_cache(maxsize=256)
def _parsed(given: str) -> tuple[Settings, str | None]:
    try:
        return parse_settings(json.loads(given) or None, "policy pack configuration"), None
    except InvalidInputError as error:
        return Settings(), str(error)


def _run(rule: Rule, context: RuleContext, report: ReportViolation) -> None:
    for found in violations(rule, context):
        report(found.message, found.where.urn or None)


__all__ = ["CONFIG", "PACK_NAME", "concerned", "policies"]
