"""Vault's configuration by pulumi-vault: the platform mounts, and one policy and role for each consumer namespace.

The provider's token is that of a role which manages these and nothing else (see contract/vault_policies.py); it
reads no secret value. Values never pass by Pulumi: `SecretV2` is not used (RFC-SECOPS-0001 §3.3, Kubernetes and the
Pulumi state are no authorities).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_vault as vault

from components.runtime_authority.vault_provider_session import VaultAccess
from components.runtime_authority.vault_roles import InsideVault, VaultWay
from secret_authority.access.vault_session import CA_FILE, TOKEN_FILE
from secret_authority.contract.names import READER_ACCOUNT, SERVER_NAME, reader_role
from secret_authority.contract.vault_policies import reader_paths, reader_policy
from secret_authority.core.catalogue.schema import CONFIG_MOUNT, DATA_MOUNT, Catalogue


@dataclass(frozen=True)
class VaultConfigurationArgs:
    """`access` is this run's. `server` is what everything lies in; `service` has to work before."""

    catalogue: Catalogue
    access: VaultAccess
    server: pulumi.Resource
    service: Sequence[pulumi.Resource]


class VaultConfiguration(pulumi.ComponentResource):
    """Mounts, policies and roles."""

    roles: Mapping[str, str]
    # For the layer above, which has roles of its own.
    way: VaultWay

    def __init__(self, name: str, args: VaultConfigurationArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("secret-authority:vault:Configuration", name, {}, opts)
        access = args.access
        provider = vault.Provider(
            f"{name}-vault",
            address=access.address,
            ca_cert_file=f"{access.folder}/{CA_FILE}",
            tls_server_name=SERVER_NAME,
            auth_login_token_file={"filename": f"{access.folder}/{TOKEN_FILE}"},
            skip_child_token=True,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.way = VaultWay(provider, access.hook, args.server, args.service)
        inside = InsideVault(self, self.way)
        mounts: list[pulumi.Resource] = []
        for mount in (DATA_MOUNT, CONFIG_MOUNT):
            made = vault.Mount(
                f"{name}-{mount}", path=mount, type="kv", options={"version": "2"}, opts=inside.opts(keep=True)
            )
            settings = vault.kv.SecretBackendV2(
                f"{name}-{mount}",
                mount=made.path,
                # Who writes a secret value has to say which version it builds on.
                cas_required=mount == DATA_MOUNT,
                max_versions=10,
                opts=inside.opts(made, keep=True),
            )
            mounts += [made, settings]
        roles: dict[str, str] = {}
        for namespace, paths in reader_paths(args.catalogue).items():
            role = roles[namespace] = reader_role(namespace)
            inside.role(f"{name}-{role}", role, reader_policy(paths), READER_ACCOUNT, namespace, *mounts)
        self.roles = roles
        self.register_outputs({"roles": roles})
