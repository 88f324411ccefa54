"""The entries that consumption of a cluster was last built with, by the settings of its engine."""

from __future__ import annotations

import kubernetes

from secret_authority.access.kubeconfig import NO_CLUSTER, TIMEOUT, ClusterConnection
from secret_authority.contract.consumption_settings import ConsumptionSettings
from secret_authority.contract.names import CONSUMPTION_ACCOUNT, CONSUMPTION_FILE, ENGINE_NAMESPACE
from secret_authority.core.errors import InvalidInputError, Unavailable

SETTINGS = f"{CONSUMPTION_ACCOUNT}-{CONSUMPTION_FILE}"


def read_built(connection: ClusterConnection) -> ConsumptionSettings | None:
    """None before consumption is built. Raises `Unavailable` when it is not known."""
    try:
        api = connection.core_api()
        found = api.read_namespaced_config_map(SETTINGS, ENGINE_NAMESPACE, _request_timeout=TIMEOUT)
        return ConsumptionSettings.from_json((found.data or {})[f"{CONSUMPTION_FILE}.json"])
    except kubernetes.client.ApiException as error:
        if error.status == 404:
            return None
        reason = f"the API server answers {error.status}"
    except NO_CLUSTER:
        reason = "the cluster does not answer"
    except (KeyError, ValueError, InvalidInputError):
        reason = "it cannot be read"
    raise Unavailable(f"ConfigMap {ENGINE_NAMESPACE}/{SETTINGS}: {reason}")
