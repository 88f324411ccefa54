"""Which Secrets are bootstrap secrets, and how Git brings them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from policy.inventory.index import ResourceIndex
from policy.inventory.inventory import Inventory
from policy.inventory.resource import Origin, Position, Resource, dig, items, mapping
from secret_authority.contract.names import CLASS_LABEL
from secret_authority.core.catalogue.schema import CatalogueSecret, SecretClass
from secret_authority.core.errors import Problem

BOOTSTRAP = SecretClass.BOOTSTRAP.value
# Flux: values of the annotation with which it does not put an object back that exists.
IGNORING = frozenset({"IfNotPresent", "Ignore"})
SSA = "kustomize.toolkit.fluxcd.io/ssa"


@dataclass(frozen=True)
class BootstrapFolders:
    """What `secret-authority check` says, without a key, of the encrypted files of one cluster of this project."""

    cluster: str
    folders: tuple[str, ...]
    # Of single files; of files without an entry of the catalogue; of entries without their file.
    files: tuple[Problem, ...] = ()
    uncatalogued: tuple[Problem, ...] = ()
    missing: tuple[Problem, ...] = ()

    def holds(self, resource: Resource) -> bool:
        return any(resource.where.file.startswith(f"{folder}/") for folder in self.folders)


def judged_folders(index: ResourceIndex) -> Iterator[BootstrapFolders]:
    """What the reader of a Git tree found in the bootstrap folders of this project's own clusters."""
    for resource in index.of("secret-authority.dev", "BootstrapFolders"):
        found = resource.props.get("found")
        if isinstance(found, BootstrapFolders):
            yield found


def is_encrypted(resource: Resource) -> bool:
    """Whether a Secret of a Git tree is a SOPS file (or made of one)."""
    if resource.get("sops") is not None:
        return True
    given, data = mapping(resource.get("stringData")), mapping(resource.get("data"))
    data = {**given, **data} if given and data else given or data
    return "sops_mac" in data or any(isinstance(v, str) and v.startswith("ENC[") for v in data.values())


def catalogue_entry(inventory: Inventory, resource: Resource) -> CatalogueSecret | None:
    """The catalogue's entry whose bootstrap target is this Secret."""
    catalogue = inventory.catalogue_of(resource)
    location = (resource.namespace, resource.metadata_name)
    return inventory.bootstrap_entries[id(catalogue)].get(location) if catalogue is not None else None


def is_labelled(resource: Resource) -> bool:
    return resource.mark("labels", CLASS_LABEL) == BOOTSTRAP


def bootstrap_locations(inventory: Inventory) -> dict[tuple[str, str, str], str | Position]:
    """(cluster, namespace, name) of every bootstrap Secret in sight -> what says that it is one."""
    found: dict[tuple[str, str, str], str | Position] = {}
    for cluster, catalogue in inventory.catalogues.items():
        for entry in catalogue:
            if entry.bootstrap:
                found[cluster, entry.bootstrap.namespace, entry.bootstrap.secret] = f"catalogue entry {entry.name}"
    for resource in inventory.index.secrets:
        encrypted = resource.origin is Origin.GIT and is_encrypted(resource)
        if encrypted or is_labelled(resource):
            cluster = str(inventory.identities.cluster(resource))
            found.setdefault((cluster, str(resource.namespace), str(resource.metadata_name)), resource.where)
    return found


def releases(resource: Resource) -> bool:
    """Whether Flux will let go of a Secret once it is made: created, but not put back (ssa IfNotPresent, Ignore)."""
    return resource.mark("annotations", SSA) in IGNORING


def kustomization_releases(resource: Resource) -> bool:
    """Whether a Flux Kustomization puts that mark on all that it applies, by commonMetadata or a patch."""
    if dig(resource.get("spec", "commonMetadata", "annotations"), SSA) in IGNORING:
        return True
    for entry in items(resource.get("spec", "patches")):
        text = dig(entry, "patch")
        if isinstance(text, str) and SSA.replace("/", "~1") in text.replace(SSA, SSA.replace("/", "~1")):
            return any(mode in text for mode in IGNORING)
    return False


def decrypts(resource: Resource) -> bool:
    return bool(resource.get("spec", "decryption", "provider") == "sops")
