"""How much of a tree was read: each file about secrets, and why it was read or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from policy.inventory.coverage import Coverage, Entry
from policy.inventory.resource import walk
from policy.readers.git.files.hidden import hidden_folder, is_of_a_tool
from policy.readers.git.files.manifests import read_text
from policy.readers.git.files.secret_kinds import about_secrets, in_template
from policy.readers.git.files.unused import is_archived, is_not_applied, is_template
from policy.readers.git.files.ytt import TEMPLATE_OF_YTT, is_ytt
from policy.readers.git.reading import Reading


class CoverageReader:
    """Says for the files of a tree whether a cluster gets them.

    `excluded` are files that the settings leave out, `ignored` those that Git does, `hidden` those in hidden folders
    that nothing refers to.
    """

    def __init__(
        self, reading: Reading, excluded: Sequence[str], ignored: Sequence[str], hidden: Sequence[str] = ()
    ) -> None:
        self._reading = reading
        self._excluded = excluded
        self._ignored = tuple(ignored)
        self._hidden = hidden
        self._kinds: dict[str, str | None] = {}

    def found(self, entries: tuple[Entry, ...], left_out_appliers: Mapping[str, str]) -> Coverage:
        reading = self._reading
        renderer = reading.renderer
        inputs = self._inputs()
        read: list[str] = []
        unread: dict[str, str] = {}
        left_out: dict[str, str] = {}
        skipped = list(self._excluded)
        behind = self._behind_left_out(left_out_appliers)
        for file in renderer.files:
            if file in inputs and file not in reading.reached:
                continue
            kind = self._kind_of(file)
            if kind is None:
                continue
            if file in reading.reached:
                read.append(file)
            elif (by := behind.get(file) or self._left_out(file)) is not None:
                left_out[file] = by
            elif is_not_applied(file) or is_archived(file):
                skipped.append(file)
            else:
                ytt = is_ytt(renderer.root, file)
                unread[file] = TEMPLATE_OF_YTT if ytt else f"holds {kind}, and no entry of a cluster leads to it"
        for file in self._hidden:
            if file in reading.reached:
                # A kustomization may name a file of any name.
                read += [file] if self._kind_of(file) else []
            elif not is_of_a_tool(file) and (kind := self._kind_of(file)) is not None:
                if (by := self._left_out(file)) is not None:
                    left_out[file] = by
                elif is_not_applied(file) or is_archived(file) or is_template(file):
                    skipped.append(file)
                else:
                    unread[file] = f"holds {kind}, and nothing refers to the hidden folder {hidden_folder(file)}"
        for chart, files in renderer.charts.items():
            for file in files:
                found = in_template(read_text(renderer.root, file)[0])
                if found is None:
                    continue
                if file in reading.reached:
                    read.append(file)
                elif is_not_applied(file) or is_archived(file):
                    skipped.append(file)
                else:
                    unread[file] = f"is a template for {found} of the chart {chart}, which was not rendered"
        return Coverage(
            entries,
            tuple(read),
            unread,
            left_out,
            tuple(skipped),
            tuple(reading.remote),
            tuple(reading.unexpanded),
            {file: tuple(who) for file, who in sorted(reading.reached.items())},
            tuple(file for file in reading.hand_read if file in read),
            self._ignored,
        )

    def _kind_of(self, file: str) -> str | None:
        """The kind about secrets that a file holds."""
        if file not in self._kinds:
            documents = self._reading.renderer.documents(file)
            self._kinds[file] = next((found for d in documents if (found := about_secrets(d.content))), None)
        return self._kinds[file]

    def _inputs(self) -> set[str]:
        """What a patch or a generator reads is not a manifest of its own."""
        found: set[str] = set()
        for folder in self._reading.renderer.kustomized():
            content = self._reading.renderer.kustomization(folder)
            rest = {key: value for key, value in content.items() if key not in ("resources", "bases", "components")}
            # A generator writes key=file.
            texts = {t.rpartition("=")[2] for _, t in walk(rest) if isinstance(t, str) and "\n" not in t}
            targets = {self._reading.renderer.inside(folder, text) for text in texts}
            found |= {target for target in targets if target in self._reading.renderer.known}
        return found

    def _behind_left_out(self, left_out: Mapping[str, str]) -> dict[str, str]:
        """Files that only appliers would bring which are left out themselves."""
        found = dict(left_out)
        reached = self._reading.reached
        for applier in self._reading.appliers.all:
            if (by := left_out.get(applier.document.file)) is None or applier.document.file in reached:
                continue
            why = f"{applier.label} applies it, and {by.replace(' it', f' {applier.document.file}')}"
            for file in applier.files:
                if file not in reached:
                    found.setdefault(file, why)
        return found

    def _left_out(self, file: str) -> str | None:
        renderer, built = self._reading.renderer, self._reading.built
        parents = ["/".join(file.split("/")[:end]) for end in range(file.count("/"), 0, -1)]
        component = next((f for f in parents if renderer.is_kustomized(f) and renderer.is_component(f)), None)
        if component is not None and component not in built:
            return f"no kustomization takes in the component {component}"
        return self._reading.appliers.left_out_by(file, built)
