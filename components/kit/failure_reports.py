"""When an awaited object does not become ready: says which object, which condition, which last event.

Pulumi's error hooks run in the program when an operation has failed. They only read and report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import kubernetes
import pulumi
import urllib3

from components.settings.stack import Settings
from secret_authority.core.foreign_messages import without_values

_TIMEOUT = (2.0, 10.0)  # seconds to connect, to read


def report_job(settings: Settings, namespace: str, hook: str = "report-job") -> pulumi.ErrorHook:
    """An error hook for a Job: what its pod said when it ended. Each Job gives its `hook` a name of its own."""

    def lines(args: pulumi.ErrorHookArgs) -> Iterator[str]:
        name = (args.new_inputs or {})["metadata"]["name"]
        api = settings.connection.core_api()
        pods = api.list_namespaced_pod(namespace, label_selector=f"job-name={name}", _request_timeout=_TIMEOUT).items
        for pod in pods:
            for status in pod.status.container_statuses or []:
                ended = status.state.terminated
                waiting = status.state.waiting
                if ended and ended.message:
                    # The engine's own words, which hold no value.
                    yield f"Job {namespace}/{name}: {ended.message.strip()}"
                elif waiting:
                    said = without_values(waiting.message or "", [namespace, name, status.name])
                    yield f"Job {namespace}/{name}: {status.name} waits: {waiting.reason} {said}"
        if not pods:
            yield from _events(api, namespace, name)

    return _hook(hook, lines)


def report_conditions(settings: Settings, namespace: str, group: str, plural: str) -> pulumi.ErrorHook:
    """An error hook for a custom object: its conditions that are not True, and its last warning."""

    def lines(args: pulumi.ErrorHookArgs) -> Iterator[str]:
        name = (args.new_inputs or {})["metadata"]["name"]
        api = settings.connection.core_api()
        found: dict[str, Any] = kubernetes.client.CustomObjectsApi(api.api_client).get_namespaced_custom_object(
            group, "v1", namespace, plural, name, _request_timeout=_TIMEOUT
        )
        for condition in found.get("status", {}).get("conditions", []):
            if condition["status"] != "True":
                said = without_values(condition["message"], [namespace, name])
                text = f"{condition['type']}={condition['status']}, {condition['reason']}: {said}"
                yield f"{plural} {namespace}/{name}: {text}"
        yield from _events(api, namespace, name)

    return _hook(f"report-{plural}", lines)


def _events(api: kubernetes.client.CoreV1Api, namespace: str, name: str) -> Iterator[str]:
    selector = f"involvedObject.name={name},type=Warning"
    events = api.list_namespaced_event(namespace, field_selector=selector, _request_timeout=_TIMEOUT).items
    for event in sorted(events, key=lambda e: e.last_timestamp or e.metadata.creation_timestamp)[-1:]:
        said = without_values(event.message or "", [namespace, name])
        yield f"last event of {namespace}/{name}: {event.reason}: {said}"


def _hook(name: str, lines: Callable[[pulumi.ErrorHookArgs], Iterator[str]]) -> pulumi.ErrorHook:
    def report(args: pulumi.ErrorHookArgs) -> bool:
        try:
            for line in lines(args):
                pulumi.log.error(line)
        except (urllib3.exceptions.HTTPError, kubernetes.client.ApiException) as error:
            pulumi.log.error(f"{args.name}: no more is known, the cluster does not answer ({type(error).__name__})")
        return False  # report, do not try again

    return pulumi.ErrorHook(name, report)
