"""The alert rules speak of metrics that the engine of snapshots really has, and of no other."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from secret_authority.engine.snapshots import controller

RULES = Path(__file__).parents[3] / "docs" / "snapshot-alerts.yaml"


def test_every_rule_has_its_metric_a_severity_and_words() -> None:
    known = set(re.findall(r'status\.number\("([a-z_]+)"', Path(controller.__file__).read_text()))
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    for rule in group["rules"]:
        named = set(re.findall(r"secret_authority_([a-z_]+)", rule["expr"]))
        assert named and named <= known, rule["alert"]
        assert rule["labels"]["severity"] in ("warning", "critical") and rule["annotations"]["summary"]
