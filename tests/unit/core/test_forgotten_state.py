"""An empty state and a cluster: each combination of what is known of the two."""

from __future__ import annotations

import pytest

from secret_authority.core.forgotten_state import Built, why_not_begun
from secret_authority.core.phases import Phase

RECORD, VAULT = "the record of phase 4 of 2026-11-28 05:00", "Namespace vault"


@pytest.mark.parametrize("preview", [False, True])
@pytest.mark.parametrize(
    ("built", "said"),
    [
        (Built(True), ()),
        # A first run whose state is lost: nothing is on record yet.
        (Built(True, None, ("Namespace secret-authority",)), ("no phase is on its record", "secret-authority")),
        (Built(True, None, (VAULT,)), ("no phase is on its record", VAULT)),
        (Built(True, Phase.GITOPS, ("the record of phase 1",)), ("it has reached phase 1 (gitops)", "phase 1")),
        (Built(True, Phase.CONSUMPTION, (RECORD, VAULT)), ("it has reached phase 4 (consumption)", RECORD, VAULT)),
        (Built(True, Phase.CONSUMPTION), ("it has reached phase 4 (consumption)",)),
    ],
)
def test_only_an_empty_cluster_may_be_built_upon(built: Built, said: tuple[str, ...], preview: bool) -> None:
    problem = why_not_begun(built, "prod", preview=preview)
    if not said:
        assert problem is None
        return
    assert problem is not None and problem.file == "cluster prod"
    assert [text for text in said if text not in problem.message] == []
    assert "`pulumi stack import --file FILE`" in problem.fix and "docs/runbooks/rebuild.md" in problem.fix


@pytest.mark.parametrize("built", [Built(False), Built(False, Phase.BOOTSTRAP, (VAULT,))])
def test_an_unknown_cluster_may_be_planned_for_and_not_changed(built: Built) -> None:
    assert why_not_begun(built, "prod", preview=True) is None
    problem = why_not_begun(built, "prod", preview=False)
    assert problem is not None and "whether it is empty is not known" in problem.message
