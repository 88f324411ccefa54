"""Credentials for the Git repository: given in a file for one run, written past Pulumi, never in a state.

Upstream: GitRepository, spec.secretRef (fluxcd source-controller, docs/spec/v1/gitrepositories.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pulumi
import pulumi_kubernetes as k8s
import yaml

from components.kit.planted_record import planted_record
from components.kit.planting import own_secret_exists, plant_secret
from components.settings.git import GIT_CREDENTIALS_VARIABLE
from components.settings.stack import Settings
from secret_authority.contract.names import FLUX_NAMESPACE, GIT_CREDENTIALS_SECRET, MANAGED_BY
from secret_authority.core.errors import InvalidInputError, Problem

# By the scheme of the URL, the sets of keys of which one has to be complete; known_hosts says which server is meant.
_WAYS = {
    "https": (frozenset({"username", "password"}), frozenset({"bearerToken"})),
    "ssh": (frozenset({"identity", "known_hosts"}),),
}
_OPTIONAL = {"https": frozenset[str](), "ssh": frozenset({"identity.pub", "password"})}
# The public record has the name of the Secret.
RECORD = GIT_CREDENTIALS_SECRET


def read_credentials(file: Path, url: str) -> Mapping[str, str]:
    """The mapping in a YAML file that the user names for this run.

    Raises `InvalidInputError` when it does not fit the URL. Messages name keys and never a value.
    """
    shown, scheme = str(file), url.partition("://")[0]

    def refuse(message: str, fix: str) -> InvalidInputError:
        return InvalidInputError([Problem(shown, "", message, fix)])

    ways = _WAYS.get(scheme, ())
    words = " or ".join(" and ".join(sorted(way)) for way in ways)
    fix = f"write a YAML mapping with {words} for {scheme}:// (docs/gitops.md)"
    try:
        document = yaml.safe_load(file.read_text())
    except OSError as error:
        raise refuse(f"cannot be read: {error.strerror}", f"correct {GIT_CREDENTIALS_VARIABLE}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise refuse("is not YAML", fix) from None
    if not isinstance(document, Mapping) or not all(isinstance(value, str) for value in document.values()):
        raise refuse("is not a mapping of texts", fix)
    keys = frozenset(document)
    if not any(way <= keys <= way | _OPTIONAL[scheme] for way in ways):
        raise refuse(f"holds {', '.join(sorted(map(str, keys))) or 'nothing'}", fix)
    return {str(key): str(value) for key, value in document.items()}


def credentials_record(
    name: str, settings: Settings, credentials: Mapping[str, str] | None, opts: pulumi.ResourceOptions
) -> k8s.core.v1.ConfigMap:
    """Says since when the credentials are in the cluster. Creating or changing it writes them first.

    In a run without a file (`credentials` None) it stays as it is; it cannot be created then, unless the Secret is
    there already.
    """
    metadata = {"name": RECORD, "namespace": FLUX_NAMESPACE, "labels": MANAGED_BY}
    plant, given = _planting(settings, credentials), credentials is not None
    return planted_record(name, metadata, GIT_CREDENTIALS_SECRET, "plant-git-credentials", plant, given, opts)


def _planting(settings: Settings, credentials: Mapping[str, str] | None) -> Callable[[pulumi.ResourceHookArgs], None]:
    def plant(_: pulumi.ResourceHookArgs) -> None:
        if credentials is None:
            if not own_secret_exists(settings.connection, FLUX_NAMESPACE, GIT_CREDENTIALS_SECRET):
                fix = f"run once with {GIT_CREDENTIALS_VARIABLE} set to the file (docs/gitops.md)"
                message = "has no Git credentials yet, and repositoryCredentials asks for them"
                raise InvalidInputError([Problem(f"cluster {settings.layout.cluster}", "", message, fix)])
            return
        certificate = {"ca.crt": settings.git.ca} if settings.git.ca else {}
        plant_secret(settings.connection, FLUX_NAMESPACE, GIT_CREDENTIALS_SECRET, {**credentials, **certificate})

    return plant
