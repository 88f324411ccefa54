"""What a runbook has its reader run and write, for tests that do just that."""

from __future__ import annotations

import re

from toolchain.local_stack import CHECKOUT


def section(page: str, title: str) -> str:
    """The section of that title in docs/runbooks."""
    _, found, text = (CHECKOUT / "docs/runbooks" / page).read_text().partition(f"## {title}\n")
    assert found, f"{page} has no section {title!r}"
    return text.partition("\n## ")[0]


def commands(text: str, program: str) -> list[str]:
    """The lines that run the program, in order; one that ends with a backslash and the next are one."""
    shown = re.sub(r"\\\n\s*", "", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return [line.strip() for line in shown.splitlines() if line.lstrip().startswith(f"{program} ")]


def files(text: str) -> dict[str, str]:
    """The files that the reader writes, by name: each block of JSON has its file's name before it."""
    found = re.findall(r"`([a-z]+\.json)`:\n\n\s*```json\n(.+?)\n\s*```", text, re.DOTALL)
    return {name: content.strip() for name, content in found}
