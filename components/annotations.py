"""An annotation on an object that a stack transformation sees before Pulumi does."""

from __future__ import annotations

from collections.abc import Mapping

import pulumi


def annotated(props: pulumi.Inputs, name: str, value: str) -> pulumi.Inputs | None:
    """The properties with one more annotation. None when the metadata or its annotations are not known yet."""
    metadata = props.get("metadata")
    if not isinstance(metadata, Mapping):
        return None
    annotations = metadata.get("annotations") or {}
    if not isinstance(annotations, Mapping):
        return None
    return {**props, "metadata": {**metadata, "annotations": {**annotations, name: value}}}
