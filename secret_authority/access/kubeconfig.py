"""How the cluster of a stack is reached from the machine of an operator."""

from __future__ import annotations

from pathlib import Path

import kubernetes
import urllib3

TIMEOUT = (2.0, 5.0)  # seconds to connect, to read
# What says that there is no cluster to ask: no kubeconfig, or nobody answers.
NO_CLUSTER = (urllib3.exceptions.HTTPError, kubernetes.config.ConfigException)


def core_api(kubeconfig: Path, context: str | None) -> kubernetes.client.CoreV1Api:
    """A client for the cluster, built from the kubeconfig and not from the process's surroundings."""
    configuration = kubernetes.client.Configuration()
    kubernetes.config.load_kube_config(str(kubeconfig), context, client_configuration=configuration)
    configuration.retries = urllib3.Retry(total=0)
    return kubernetes.client.CoreV1Api(kubernetes.client.ApiClient(configuration))
