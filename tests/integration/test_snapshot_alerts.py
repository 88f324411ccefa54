"""The alert rules speak of metrics that the engine of snapshots really has, and fire when they should."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from secret_authority.core.snapshots.verification import VERIFIED_AT_MOST
from secret_authority.engine.snapshots import controller
from toolchain.prometheus import promtool

RULES = Path(__file__).parents[2] / "docs" / "snapshot-alerts.yaml"
(GROUP,) = yaml.safe_load(RULES.read_text())["groups"]
ALERTS = {rule["alert"]: rule for rule in GROUP["rules"]}
UNVERIFIED, NEVER = "VaultSnapshotUnverified", "VaultSnapshotNeverVerified"
FAILED, VERIFIED, UNKNOWN = (
    "snapshot_verification_failed",
    "snapshot_last_verified_timestamp_seconds",
    "snapshot_unverified",
)
LIMIT = int(VERIFIED_AT_MOST.total_seconds()) // 60


def test_every_rule_has_its_metric_a_severity_and_words() -> None:
    known = set(re.findall(r'status\.number\("([a-z_]+)"', Path(controller.__file__).read_text()))
    for rule in ALERTS.values():
        named = set(re.findall(r"secret_authority_([a-z_]+)", rule["expr"]))
        assert named and named <= known, rule["alert"]
        assert rule["labels"]["severity"] in ("warning", "critical") and rule["annotations"]["summary"]


@pytest.mark.parametrize(
    ("alert", "series", "minute", "fires"),
    [
        # Verified at the epoch, where promtool begins: good for 32 hours, and five minutes of grace.
        (UNVERIFIED, {FAILED: "0x3000", VERIFIED: "0x3000", UNKNOWN: "0x3000"}, LIMIT + 4, False),
        (UNVERIFIED, {FAILED: "0x3000", VERIFIED: "0x3000", UNKNOWN: "1x3000"}, LIMIT + 7, True),
        # A failure is told at once, whether or not an older one is verified.
        (UNVERIFIED, {FAILED: "1x60", VERIFIED: "0x60", UNKNOWN: "1x60"}, 4, False),
        (UNVERIFIED, {FAILED: "1x60", VERIFIED: "0x60", UNKNOWN: "1x60"}, 6, True),
        (UNVERIFIED, {FAILED: "1x60", UNKNOWN: "1x60"}, 6, True),
        (UNVERIFIED, {FAILED: "0x60", UNKNOWN: "1x60"}, 30, False),
        # A new cluster has until its first verification.
        (NEVER, {FAILED: "0x900", UNKNOWN: "1x900"}, 470, False),
        (NEVER, {FAILED: "0x900", UNKNOWN: "1x900"}, 490, True),
        (NEVER, {FAILED: "0x900", UNKNOWN: "1x900", VERIFIED: "0x900"}, 490, False),
        (NEVER, {FAILED: "0x900", UNKNOWN: "0x900", VERIFIED: "0x900"}, 490, False),
    ],
)
def test_what_is_not_proved_is_told(
    tmp_path: Path, alert: str, series: dict[str, str], minute: int, fires: bool
) -> None:
    rule = ALERTS[alert]
    said = {"exp_labels": rule["labels"], "exp_annotations": rule["annotations"]}
    test = {
        "interval": "1m",
        "input_series": [{"series": f"secret_authority_{name}", "values": values} for name, values in series.items()],
        "alert_rule_test": [{"eval_time": f"{minute}m", "alertname": alert, "exp_alerts": [said] if fires else []}],
    }
    file = tmp_path / "cases.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [test]}))
    done = subprocess.run([promtool(), "test", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
