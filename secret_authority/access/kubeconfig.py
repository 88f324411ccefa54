"""How the cluster of a stack is reached from the machine of an operator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import kubernetes
import urllib3

from secret_authority.clients.kubernetes import Api

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
