"""What `.sourceignore` leaves out of what Flux gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from policy.readers.git.flux.source_ignore import read_source_ignore

# The lines, what they leave out, and what they do not.
CASES = [
    (["/*", "!/kubernetes"], ["README.yaml", "docs/a/b.yaml"], ["kubernetes/apps/a.yaml"]),
    (
        ["/clusters/**/secrets/", "!/clusters/**/secrets/kept.yaml"],
        ["clusters/a/secrets/key.yaml", "clusters/a/b/secrets/deep/key.yaml", "clusters/secrets/key.yaml"],
        ["clusters/a/secrets/kept.yaml", "clusters/a/secrets", "other/secrets/key.yaml"],
    ),
    (["*.enc.yaml", "# a remark", ""], ["a/b.enc.yaml", "c.enc.yaml"], ["a/b.yaml"]),
    (["drafts/"], ["drafts/a.yaml", "apps/drafts/a.yaml"], ["drafts", "apps/drafts.yaml"]),
    (["apps/*/old"], ["apps/a/old/x.yaml", "apps/a/old"], ["apps/a/b/old/x.yaml", "x/apps/a/old"]),
    (["[ab].yaml", "[!c]x.yaml"], ["a.yaml", "dx.yaml"], ["c.yaml", "cx.yaml"]),
]


@pytest.mark.parametrize(("lines", "out", "kept"), CASES)
def test_the_patterns(tmp_path: Path, lines: list[str], out: list[str], kept: list[str]) -> None:
    (tmp_path / ".sourceignore").write_text("\n".join(lines))
    ignore = read_source_ignore(tmp_path)
    assert [file for file in out + kept if ignore.leaves_out(file)] == out


def test_without_a_file_nothing_is_left_out(tmp_path: Path) -> None:
    assert not read_source_ignore(tmp_path).leaves_out("a.yaml")
