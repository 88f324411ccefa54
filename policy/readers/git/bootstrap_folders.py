"""The bootstrap folders of this project's own clusters, read as `secret-authority check` reads them, without a key.

A cluster is this project's own when root-of-trust.yaml names it. What other trees encrypt, and how, is not judged here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from policy.inventory.bootstrap_secrets import BootstrapFolders
from policy.settings import Settings
from secret_authority.core.errors import InvalidInputError, Problem
from secret_authority.repository.bootstrap.encrypted_secrets import read_encrypted
from secret_authority.repository.catalogue.catalogue_file import read_catalogue
from secret_authority.repository.intent.checks import check_entries_and_files, check_header, check_recipients
from secret_authority.repository.layout import Layout
from secret_authority.repository.trust.root_of_trust import FILE, RootOfTrust, read_trust


def read_bootstrap_folders(root: Path, settings: Settings) -> Iterator[BootstrapFolders]:
    """One for each cluster of root-of-trust.yaml whose folders are known: from the settings, or in the usual place."""
    if not (root / FILE).is_file():
        return
    try:
        trust = read_trust(root)
    except InvalidInputError as error:
        yield BootstrapFolders("", (), error.problems)
        return
    for cluster in trust.clusters:
        given = settings.bootstrap_paths.get(cluster.name, ())
        try:
            layout = Layout.of(cluster.name, bootstrap=given, root=root)
            if given or any((root / folder).is_dir() for folder in layout.bootstrap):
                yield _judge(root, layout, trust)
        except InvalidInputError as error:
            yield BootstrapFolders(cluster.name, (), error.problems)


def _judge(root: Path, layout: Layout, trust: RootOfTrust) -> BootstrapFolders:
    reading = read_encrypted(root, layout.bootstrap)
    files, wanted = list(reading.problems), trust.wanted(layout.cluster)
    for secret in reading.found:
        for file, header in secret.parts:
            files += check_header(header, file)
        files += check_recipients(secret, wanted, trust)
    together: list[Problem] = []
    if not reading.problems and (root / layout.catalogue).is_file():
        try:
            catalogue = read_catalogue(root, layout.catalogue)
            together = list(check_entries_and_files(catalogue, reading.found, layout.catalogue))
        except InvalidInputError:
            pass  # catalogue-valid says it
    return BootstrapFolders(
        layout.cluster,
        layout.bootstrap,
        tuple(files),
        tuple(each for each in together if each.file != layout.catalogue),
        tuple(each for each in together if each.file == layout.catalogue),
    )
