"""Which resources are deleted in the background."""

from __future__ import annotations

from typing import Any, cast

import pulumi

from components.quick_deletion import ANNOTATION, in_background


def transform(kind: str, metadata: Any) -> dict[str, Any] | None:
    args = pulumi.ResourceTransformationArgs(
        cast(pulumi.Resource, None), kind, "name", {"metadata": metadata, "data": {}}, pulumi.ResourceOptions()
    )
    done = in_background(args)
    return None if done is None else dict(cast(dict[str, Any], done.props))


def test_a_kind_that_nothing_hangs_on_is_deleted_in_the_background() -> None:
    props = transform("kubernetes:core/v1:ConfigMap", {"name": "a", "annotations": {"b": "c"}})
    assert props == {"metadata": {"name": "a", "annotations": {"b": "c", ANNOTATION: "background"}}, "data": {}}
    assert transform("kubernetes:rbac.authorization.k8s.io/v1:Role", {"name": "a"}) is not None


def test_what_owns_pods_or_has_finalizers_is_awaited() -> None:
    flux = "kustomize.toolkit.fluxcd.io/v1:Kustomization"
    for kind in ("batch/v1:Job", "apps/v1:StatefulSet", "core/v1:Namespace", flux):
        assert transform(f"kubernetes:{kind}", {"name": "a"}) is None


def test_metadata_that_is_not_known_yet_is_left_alone() -> None:
    assert transform("kubernetes:core/v1:ConfigMap", None) is None
