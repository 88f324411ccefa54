"""A catalogue below secret-authority/CLUSTER speaks of that cluster, and of no other."""

from __future__ import annotations

from pathlib import Path

from policy.readers.git.tree import read_tree
from policy.rules.registry import new_context
from policy.settings import Settings

CATALOGUE = """\
apiVersion: secret-authority.dev/v1
kind: SecretCatalogue
bootstrapNamespaces: [platform]
secrets:
  - name: {name}
    class: external
    owner: team
    vault: {{datasource: db, consumer: {name}}}
    consumers: []
    rotation: {{type: static}}
"""


def test_each_cluster_has_its_own(tmp_path: Path) -> None:
    for cluster in ("prod", "stage"):
        (tmp_path / "clusters" / cluster).mkdir(parents=True)
        namespace = f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {cluster}}}\n"
        (tmp_path / "clusters" / cluster / "namespace.yaml").write_text(namespace)
        (tmp_path / "secret-authority" / cluster).mkdir(parents=True)
        text = CATALOGUE.format(name=f"of-{cluster}")
        (tmp_path / "secret-authority" / cluster / "catalogue.yaml").write_text(text)
    catalogues = new_context(read_tree(tmp_path, Settings()).resources, Settings()).inventory.catalogues
    named = {cluster: [entry.name for entry in catalogue] for cluster, catalogue in catalogues.items()}
    assert named == {"prod": ["of-prod"], "stage": ["of-stage"]}
