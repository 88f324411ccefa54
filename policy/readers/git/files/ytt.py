"""Templates of ytt are YAML with marks in comments; what comes out of them is not what they hold."""

from __future__ import annotations

import re
from pathlib import Path

from policy.readers.git.files.manifests import read_text

# #@ data.values.name, #@ load(...), #@overlay/match; a value after a mark is on the same line.
_MARK = re.compile(r"(^|\s)#@\s*(data\.|load\(|overlay/|if\b|for\b|def\b|end\b|[\w.]+\()", re.MULTILINE)
TEMPLATE_OF_YTT = "is a template of ytt"


def is_ytt(root: Path, file: str) -> bool:
    return _MARK.search(read_text(root, file)[0]) is not None
