"""The pack in the real engine: previews against a cluster that is away, and states without any cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.policy.cases import CASES, Case, external, plain, store
from tests.support.policy.engine import TOOLS, Engine
from tests.support.policy.stacks import CANARY, UNKNOWN, R, secret

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(not (TOOLS / "pulumi").exists(), reason="the pulumi program is not built: run `make tools`"),
]
# These need a provider that is not built here, or a chart; the analysis of a state covers them.
NO_PROVIDER = {"secret-to-code-host", "opaque-release"}
TOGETHER = [case for case in CASES if not case.alone]
ALONE = [case for case in CASES if case.alone]
PREVIEWED_ALONE = {"later-phase", "layer-order", "declared-claims", "bootstrap-secret-used"}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    yield Engine(tmp_path_factory.mktemp("engine"))


def wanted_messages(case: Case, text: str) -> list[str]:
    """Parts of the message that are missing; the engine breaks lines at its own width."""
    flat = " ".join(text.split())
    return [part for part in case.says if " ".join(part.split()) not in flat]


def test_every_bad_state_is_reported_with_its_message(engine: Engine) -> None:
    run = engine.analyze([resource for case in TOGETHER for resource in case.bad])
    assert run.code != 0
    found = run.violations["mandatory"] | run.violations["advisory"]
    assert {case.rule for case in TOGETHER} <= found
    assert not [(case.rule, part) for case in TOGETHER for part in wanted_messages(case, run.text)]
    assert CANARY not in run.text


def test_every_near_twin_passes_in_a_state(engine: Engine) -> None:
    # pulumi-written-vault-value is the one rule that the twin of rotation-policy-missing breaks.
    run = engine.analyze([r for case in TOGETHER if case.rule != "rotation-policy-missing" for r in case.good])
    assert run.violations["mandatory"] == set(), run.text
    assert run.code == 0


@pytest.mark.parametrize("case", ALONE, ids=[case.rule for case in ALONE])
def test_states_of_whole_stacks(engine: Engine, case: Case) -> None:
    bad = engine.analyze(case.bad, case.config)
    assert case.rule in bad.violations["mandatory"]
    assert bad.code != 0
    assert not wanted_messages(case, bad.text)
    if case.good:
        good = engine.analyze(case.good)
        assert case.rule not in good.violations["mandatory"]


def test_preview_blocks_with_the_cluster_away(engine: Engine) -> None:
    cases = [case for case in TOGETHER if case.rule not in NO_PROVIDER]
    run = engine.preview([resource for case in cases for resource in case.bad])
    assert run.code != 0
    found = run.violations["mandatory"] | run.violations["advisory"]
    assert {case.rule for case in cases} <= found, run.text
    assert not [(case.rule, part) for case in cases for part in wanted_messages(case, run.text)]
    assert CANARY not in run.text


def test_preview_of_the_near_twins_passes(engine: Engine) -> None:
    skipped = {*NO_PROVIDER, "rotation-policy-missing"}
    run = engine.preview([r for case in TOGETHER if case.rule not in skipped for r in case.good])
    assert run.violations["mandatory"] == set(), run.text
    assert run.code == 0, run.text


@pytest.mark.parametrize("case", [c for c in ALONE if c.rule in PREVIEWED_ALONE], ids=lambda case: case.rule)
def test_previews_of_whole_stacks(engine: Engine, case: Case) -> None:
    bad = engine.preview(case.bad)
    assert case.rule in bad.violations["mandatory"], bad.text
    assert bad.code != 0
    good = engine.preview(case.good)
    assert case.rule not in good.violations["mandatory"], good.text


def test_a_name_that_no_preview_knows_fails_closed(engine: Engine) -> None:
    run = engine.preview([plain("one/db"), store("one"), external("one/db", "pg/one", name=UNKNOWN)])
    assert run.code != 0
    assert "undecided-authority" in run.violations["mandatory"]
    assert "spec.target.name of externalsecret-one-db" in " ".join(run.text.split())
    assert "can't run policy" not in run.text


def test_a_value_that_no_preview_knows_does_not_matter(engine: Engine) -> None:
    unknown_value = R(
        "kubernetes:core/v1:Secret",
        "late",
        {"metadata": {"namespace": "one", "name": "late"}, "stringData": {"password": secret(UNKNOWN)}},
    )
    run = engine.preview([unknown_value, store("one"), external("one/db", "pg/one")])
    assert not {"undecided-authority", "single-authority"} & run.violations["mandatory"], run.text


def test_data_that_the_state_hides_fails_closed(engine: Engine) -> None:
    """A state keeps the whole map as one secret: the keys are unknown then, and a Merge could take one of them."""
    hidden = R(
        "kubernetes:core/v1:Secret",
        "hidden",
        {
            "metadata": {"namespace": "one", "name": "db"},
            "data": {
                "4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270",
                "ciphertext": "v1:AAAAAAAAAAAAAAAA:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            },
        },
    )
    merge = external("one/db", "pg/one", name="db", creationPolicy="Merge")
    run = engine.analyze([hidden, store("one"), merge])
    assert "undecided-authority" in run.violations["mandatory"], run.text


def test_settings_reach_the_pack(engine: Engine, tmp_path: Path) -> None:
    case = next(case for case in CASES if case.rule == "push-overwrites")
    excuse = {
        "rule": "push-overwrites",
        "subject": "PushSecret nine/*",
        "reason": "until the move",
        "expires": "2999-01-01",
    }
    assert "push-overwrites" in engine.analyze(case.bad).violations["mandatory"]
    run = engine.analyze(case.bad, {"exceptions": [excuse]})
    assert "push-overwrites" not in run.violations["mandatory"], run.text
    wrong = engine.analyze(case.bad, {"exceptions": [{**excuse, "reason": "no"}]})
    assert wrong.code != 0
    assert "exceptions.0.reason" in wrong.text
