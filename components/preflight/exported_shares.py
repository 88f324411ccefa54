"""Whether Git has a copy of the unseal shares that open today's Vault: the cluster has the only other one."""

from __future__ import annotations

import binascii
from dataclasses import dataclass

import kubernetes

from secret_authority.access.kubeconfig import NO_CLUSTER, TIMEOUT, ClusterConnection
from secret_authority.clients.kubernetes import Object
from secret_authority.contract.names import UNSEAL_SHARES, VAULT_NAMESPACE
from secret_authority.engine.runtime_authority.seal_store import read_shares
from secret_authority.engine.runtime_authority.unseal_shares import SharesError
from secret_authority.repository.intent.intent import Intent
from secret_authority.repository.trust.share_export import compare_export, export_file


@dataclass(frozen=True)
class ExportedShares:
    """What is known of Git's copy, in words. `fits` is None when it could not be compared."""

    text: str
    fits: bool | None = None


def exported_shares(connection: ClusterConnection, intent: Intent) -> ExportedShares:
    """Compare Git's copy with the cluster's. Raises `InvalidInputError` for a copy that is damaged.

    A person who may only plan need not be able to read the shares of the cluster: then it is not known.
    """
    try:
        secret = connection.core_api().read_namespaced_secret(UNSEAL_SHARES, VAULT_NAMESPACE, _request_timeout=TIMEOUT)
        stored: Object = {"data": secret.data or {}}
        shares = read_shares(stored)
    except NO_CLUSTER:
        return ExportedShares("not compared: the cluster does not answer")
    except kubernetes.client.ApiException as error:
        if error.status == 404:
            return ExportedShares("not compared: the cluster has none")
        if error.status in (401, 403):
            return ExportedShares(f"not compared: you may not read Secret {VAULT_NAMESPACE}/{UNSEAL_SHARES}")
        raise
    except (SharesError, binascii.Error, UnicodeDecodeError):
        return ExportedShares("not compared: those of the cluster are damaged (condition VaultInService)")
    missing = compare_export(intent.root, intent.layout.cluster, shares.ciphertexts, shares.threshold)
    if missing:
        return ExportedShares(missing, False)
    count = len(shares.ciphertexts)
    return ExportedShares(f"{export_file(intent.layout.cluster)} has the {count} shares of the cluster's Vault", True)
