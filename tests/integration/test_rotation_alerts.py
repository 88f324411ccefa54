"""The alert rules: each fires when it should and is silent when it should be, by Prometheus' own promtool."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from secret_authority.engine.common.status import Status
from toolchain.prometheus import promtool

ROOT = Path(__file__).parents[2]
RULES = ROOT / "docs" / "rotation-alerts.yaml"
SOURCES = ROOT / "secret_authority" / "engine"
(GROUP,) = yaml.safe_load(RULES.read_text())["groups"]
ALERTS = {rule["alert"]: rule for rule in GROUP["rules"]}
SECRET = 'secret="orders-db"'


@dataclass(frozen=True)
class Case:
    """A series with one sample a minute, and whether the alert fires at `minute`. promtool begins at the epoch."""

    alert: str
    series: str
    values: str
    minute: int
    fires: bool
    labels: dict[str, str] = field(default_factory=lambda: {"secret": "orders-db"})
    value: str = ""


DUE, EXPIRY = f"rotation_due_timestamp_seconds{{{SECRET}}}", f"secret_expiry_timestamp_seconds{{{SECRET}}}"
RENEWAL, HELD = f"secret_renewal_due_timestamp_seconds{{{SECRET}}}", f'rotation_state{{{SECRET},state="held"}}'
CONFLICT = f'rotation_state{{{SECRET},state="conflict"}}'
IN_HELD, IN_CONFLICT = ({"secret": "orders-db", "state": state} for state in ("held", "conflict"))
CASES = [
    # Due at 10 min: an hour of grace, then ten minutes.
    Case("SecretRotationOverdue", DUE, "600x200", 79, False),
    Case("SecretRotationOverdue", DUE, "600x200", 82, True),
    # A due time that moves on, as after a rotation, ends it.
    Case("SecretRotationOverdue", DUE, "600x60 90000x60", 100, False),
    Case("SecretExpired", EXPIRY, "600x60", 9, False),
    Case("SecretExpired", EXPIRY, "600x60", 11, True),
    Case("ExternalSecretExpiresSoon", RENEWAL, "600x60", 9, False),
    Case("ExternalSecretExpiresSoon", RENEWAL, "600x60", 11, True),
    Case("SecretRotationFailing", f"rotation_failures{{{SECRET}}}", "2x60", 30, False),
    Case("SecretRotationFailing", f"rotation_failures{{{SECRET}}}", "3x60", 30, True, value="3"),
    Case("SecretRotationHeld", HELD, "1x60", 9, False, IN_HELD),
    Case("SecretRotationHeld", HELD, "1x60", 11, True, IN_HELD),
    Case("SecretRotationHeld", CONFLICT, "1x60", 11, True, IN_CONFLICT),
    Case("SecretRotationHeld", HELD, "0x60", 30, False, IN_HELD),
    Case("SecretOverlapExceeded", f"rotation_overdue{{{SECRET}}}", "0x60", 5, False),
    Case("SecretOverlapExceeded", f"rotation_overdue{{{SECRET}}}", "1x60", 5, True),
    Case("OldCredentialInUse", f"old_credential_sessions{{{SECRET}}}", "2x60", 14, False),
    Case("OldCredentialInUse", f"old_credential_sessions{{{SECRET}}}", "2x60", 16, True, value="2"),
    # They end, or nobody can count them.
    Case("OldCredentialInUse", f"old_credential_sessions{{{SECRET}}}", "2x10 0x60", 30, False),
    Case("OldCredentialInUse", f"old_credential_sessions{{{SECRET}}}", "2x10 stale", 30, False),
    Case("CredentialDrift", f"credential_accepted{{{SECRET}}}", "1x60", 5, False),
    Case("CredentialDrift", f"credential_accepted{{{SECRET}}}", "0x60", 5, True),
    # Not known is no drift: the engine takes the series away.
    Case("CredentialDrift", f"credential_accepted{{{SECRET}}}", "1x2 stale", 10, False),
    Case("VaultClockSkew", "vault_clock_agrees", "0x60", 4, False, {}),
    Case("VaultClockSkew", "vault_clock_agrees", "0x60", 6, True, {}),
    Case("VaultClockSkew", "vault_clock_agrees", "1x60", 30, False, {}),
    Case("EventReplayRefused", 'events_total{result="replayed"}', "0x5 1x30", 8, True, {"result": "replayed"}),
    Case("EventReplayRefused", 'events_total{result="replayed"}', "7x60", 30, False, {"result": "replayed"}),
    Case("EventReplayRefused", 'events_total{result="filed"}', "0+1x30", 20, False, {"result": "filed"}),
    Case("EventSenderRefused", 'events_total{result="unauthorised"}', "0+2x30", 15, True, {"result": "unauthorised"}),
    Case("EventSenderRefused", 'events_total{result="unauthorised"}', "3x60", 15, False, {"result": "unauthorised"}),
    Case("RotationEngineAbsent", "rotations_in_flight", "0x60", 30, False, {}),
    Case("RotationEngineAbsent", "rotations_in_flight", "0x2 stale", 20, True, {}),
]


def test_every_alert_is_shown_to_fire_and_to_be_silent() -> None:
    for fires in (True, False):
        assert {case.alert for case in CASES if case.fires is fires} == set(ALERTS)


def checked(rules: Path, folder: Path, cases: list[Case]) -> str:
    """What promtool has against the rules; empty when every case is as it says."""
    tests = [
        {
            "interval": "1m",
            "input_series": [{"series": f"secret_authority_{case.series}", "values": case.values}],
            "alert_rule_test": [
                {
                    "eval_time": f"{case.minute}m",
                    "alertname": case.alert,
                    "exp_alerts": [expected(case)] if case.fires else [],
                }
            ],
        }
        for case in cases
    ]
    file = folder / "cases.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": tests}))
    done = subprocess.run([promtool(), "test", "rules", file], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def expected(case: Case) -> dict[str, Any]:
    rule = ALERTS[case.alert]
    summary = rule["annotations"]["summary"].replace("{{ $value }}", case.value)
    for name, text in case.labels.items():
        summary = summary.replace(f"{{{{ $labels.{name} }}}}", text)
    assert "{{" not in summary, "a template that no label fills"
    return {"exp_labels": {**case.labels, **rule["labels"]}, "exp_annotations": {"summary": summary}}


def test_each_alert_fires_when_it_should_and_no_sooner(tmp_path: Path) -> None:
    assert checked(RULES, tmp_path, CASES) == ""


@pytest.mark.parametrize("alert", sorted(ALERTS))
def test_a_rule_that_is_turned_around_is_found(tmp_path: Path, alert: str) -> None:
    text = RULES.read_text()
    expression = ALERTS[alert]["expr"]
    turns = (("absent(", "present_over_time("), ("== 1", "== 0"), ("== 0", "== 1"), (" > ", " < "))
    turned = next(expression.replace(old, new) for old, new in turns if old in expression)
    if turned.startswith("present"):
        turned = turned.replace(")", "[1m])")
    rules = tmp_path / "rules.yaml"
    rules.write_text(text.replace(f"expr: {expression}\n", f"expr: {turned}\n"))
    assert rules.read_text() != text
    assert "FAILED" in checked(rules, tmp_path, [case for case in CASES if case.alert == alert])


def test_every_rule_has_a_metric_that_an_engine_has_a_severity_and_words() -> None:
    sources = "".join(file.read_text() for folder in ("rotation", "events") for file in (SOURCES / folder).glob("*.py"))
    known = set(re.findall(r'"f?([a-z_]+_(?:seconds|agrees|flight))"', sources))
    known |= set(re.findall(r'\.(?:number|count)\(\s*f?[\'"]([a-z_]+)', sources))
    known |= set(re.findall(r'f"([a-z_]+)\{label\}"', sources))
    for rule in GROUP["rules"]:
        named = set(re.findall(r"secret_authority_([a-z_]+)", rule["expr"]))
        assert named and named <= known, rule["alert"]
        assert rule["labels"]["severity"] in ("warning", "critical") and rule["annotations"]["summary"]


def test_a_time_is_published_to_the_second() -> None:
    """With six digits, a time of today would be off by up to an hour and a half."""
    status, moment = Status(), datetime(2026, 11, 27, 12, 34, 56, tzinfo=UTC).timestamp()
    status.number(DUE, moment)
    assert status.metrics() == f"secret_authority_{DUE} {moment:.0f}\n"
    status.number(DUE, None)
    assert status.metrics() == "\n"
