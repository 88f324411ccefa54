"""Which resources are deleted in the background, and how long a deletion may take."""

from __future__ import annotations

from typing import Any, cast

import pulumi
import pytest

from components.kit.transformations import DELETION_POLICY, quick_deletion


def transform(
    kind: str, metadata: Any, opts: pulumi.ResourceOptions | None = None
) -> tuple[dict[str, Any], str | None] | None:
    args = pulumi.ResourceTransformationArgs(
        cast(pulumi.Resource, None), kind, "name", {"metadata": metadata, "data": {}}, opts or pulumi.ResourceOptions()
    )
    done = quick_deletion(args)
    if done is None:
        return None
    timeouts = cast(pulumi.CustomTimeouts, done.opts.custom_timeouts)
    return dict(cast(dict[str, Any], done.props)), timeouts.delete


def test_a_kind_that_nothing_hangs_on_is_deleted_in_the_background() -> None:
    found = transform("kubernetes:core/v1:ConfigMap", {"name": "a", "annotations": {"b": "c"}})
    assert found is not None
    assert found[0] == {"metadata": {"name": "a", "annotations": {"b": "c", DELETION_POLICY: "background"}}, "data": {}}
    assert found[1] == "45s"


@pytest.mark.parametrize(
    ("kind", "seconds"),
    [
        ("batch/v1:Job", "120s"),
        ("apps/v1:StatefulSet", "120s"),
        ("kustomize.toolkit.fluxcd.io/v1:Kustomization", "120s"),
        ("external-secrets.io/v1:ExternalSecret", "45s"),
        ("apiextensions.k8s.io/v1:CustomResourceDefinition", "45s"),
    ],
)
def test_what_owns_pods_or_has_finalizers_is_awaited_but_not_for_long(kind: str, seconds: str) -> None:
    found = transform(f"kubernetes:{kind}", {"name": "a"})
    assert found == ({"metadata": {"name": "a"}, "data": {}}, seconds)


def test_other_providers_and_namespaces_are_left_alone() -> None:
    assert transform("vault:index/mount:Mount", {"name": "a"}) is None
    assert transform("kubernetes:core/v1:Namespace", {"name": "a"}) is None


def test_a_timeout_that_is_given_stays() -> None:
    given = pulumi.ResourceOptions(custom_timeouts=pulumi.CustomTimeouts(delete="5m"))
    found = transform("kubernetes:core/v1:ConfigMap", {"name": "a"}, given)
    assert found is not None and found[1] == "5m"


def test_metadata_that_is_not_known_yet_is_left_alone() -> None:
    found = transform("kubernetes:core/v1:ConfigMap", None)
    assert found is not None and found[0] == {"metadata": None, "data": {}}
