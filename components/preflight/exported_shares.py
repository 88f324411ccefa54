"""Says when Git has no copy of the unseal shares that open today's Vault: the cluster has the only other one."""

from __future__ import annotations

import binascii

import kubernetes

from secret_authority.access.kubeconfig import NO_CLUSTER, TIMEOUT, ClusterConnection
from secret_authority.clients.kubernetes import Object
from secret_authority.contract.names import UNSEAL_SHARES, VAULT_NAMESPACE
from secret_authority.engine.runtime_authority.seal_store import read_shares
from secret_authority.engine.runtime_authority.unseal_shares import SharesError
from secret_authority.repository.intent import Intent
from secret_authority.repository.share_export import compare_export


def exported_shares_warning(connection: ClusterConnection, intent: Intent) -> str | None:
    """What is missing in Git, None when nothing is or no Vault is initialised. Raises `InvalidInputError`.

    Shares that may not be read leave it open: a person who may only plan need not be able to read them.
    """
    try:
        secret = connection.core_api().read_namespaced_secret(UNSEAL_SHARES, VAULT_NAMESPACE, _request_timeout=TIMEOUT)
        stored: Object = {"data": secret.data or {}}
        shares = read_shares(stored)
    except NO_CLUSTER:
        return None
    except kubernetes.client.ApiException as error:
        if error.status in (401, 403, 404):
            return None
        raise
    except (SharesError, binascii.Error, UnicodeDecodeError):
        return None  # the engine says that in its condition
    return compare_export(intent.root, intent.layout.cluster, shares.ciphertexts, shares.threshold)
