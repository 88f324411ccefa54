"""How the cluster of a stack is reached from the machine of an operator."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import kubernetes
import urllib3

from secret_authority.clients.kubernetes import Api
from secret_authority.core.errors import InvalidInputError, Problem
from secret_authority.repository.files.yaml_documents import read_documents

TIMEOUT = (2.0, 5.0)  # seconds to connect, to read
# What says that there is no cluster to ask: no kubeconfig, or nobody answers.
NO_CLUSTER = (urllib3.exceptions.HTTPError, kubernetes.config.ConfigException)


@dataclass(frozen=True)
class ClusterConnection:
    """A kubeconfig and the context of it that is meant, None for the current one.

    Nothing else of the process's surroundings decides where a request goes. Both clients raise what is in
    `NO_CLUSTER` when the kubeconfig cannot be used.
    """

    kubeconfig: Path
    context: str | None = None

    def core_api(self) -> kubernetes.client.CoreV1Api:
        """The official client. It tries each request once."""
        configuration = kubernetes.client.Configuration()
        kubernetes.config.load_kube_config(str(self.kubeconfig), self.context, client_configuration=configuration)
        configuration.retries = urllib3.Retry(total=0)
        return kubernetes.client.CoreV1Api(kubernetes.client.ApiClient(configuration))

    def api(self) -> Api:
        """The client of the engine, for code that both sides run."""
        return Api.from_kubeconfig(self.kubeconfig, self.context)


def check_kubeconfig(connection: ClusterConnection) -> None:
    """Raise `InvalidInputError` when there is no kubeconfig, when it is not one, or when it lacks the context.

    Several files in one path, as KUBECONFIG takes them, are read like kubectl reads them: those that are there count.
    """
    shown = str(connection.kubeconfig)
    there = [path for path in map(Path, shown.split(os.pathsep)) if path.exists()]
    if not there:
        fix = "give --kubeconfig, or set KUBECONFIG to the cluster's kubeconfig"
        raise InvalidInputError([Problem(shown, "", "does not exist", fix)])
    contexts: set[str] = set()
    current = ""
    for path in there:
        documents = read_documents(path, str(path))
        content = documents[0] if len(documents) == 1 else None
        if not isinstance(content, Mapping) or not isinstance(content.get("contexts") or [], list):
            raise InvalidInputError([Problem(str(path), "", "is not a kubeconfig", "give another --kubeconfig")])
        contexts |= {str(entry.get("name")) for entry in content.get("contexts") or [] if isinstance(entry, Mapping)}
        current = current or str(content.get("current-context") or "")
    wanted = connection.context or current
    if wanted not in contexts:
        known = ", ".join(sorted(contexts)) or "none"
        found = f"has no context {wanted}" if wanted else "has no current context"
        raise InvalidInputError([Problem(shown, "contexts", f"{found}; it has {known}", "give --context")])
