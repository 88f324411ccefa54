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

from components.runtime_authority.vault_objects import VaultConnection, VaultObjects
from components.runtime_authority.vault_provider_session import VaultProviderSession
from secret_authority.access.vault_session import CA_FILE, TOKEN_FILE
from secret_authority.contract.names import READER_ACCOUNT, SERVER_NAME, reader_role
from secret_authority.contract.vault_policies import reader_paths, reader_policy
from secret_authority.core.catalogue.schema import CONFIG_MOUNT, DATA_MOUNT, Catalogue


@dataclass(frozen=True)
class VaultConfigurationArgs:
    """`session` is this run's with Vault. `server` is the workload; `service` has to work before.

    `mounts`: those that a restored Vault has already; they are taken over as they are.
    """

    catalogue: Catalogue
    session: VaultProviderSession
    server: pulumi.Resource
    service: Sequence[pulumi.Resource]
    mounts: frozenset[str] = frozenset()


class VaultConfiguration(pulumi.ComponentResource):
    """Mounts, policies and roles."""

    roles: Mapping[str, str]
    # For the consumption layer, which has roles of its own.
    connection: VaultConnection

    def __init__(self, name: str, args: VaultConfigurationArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("secret-authority:vault:Configuration", name, {}, opts)
        session = args.session
        provider = vault.Provider(
            f"{name}-vault",
            address=session.address,
            ca_cert_file=f"{session.folder}/{CA_FILE}",
            tls_server_name=SERVER_NAME,
            auth_login_token_file={"filename": f"{session.folder}/{TOKEN_FILE}"},
            skip_child_token=True,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.connection = VaultConnection(provider, session.hook, args.server, args.service, args.mounts)
        objects = VaultObjects(self, self.connection)
        mounts: list[pulumi.Resource] = []
        for mount in (DATA_MOUNT, CONFIG_MOUNT):
            made = vault.Mount(
                f"{name}-{mount}",
                path=mount,
                type="kv",
                options={"version": "2"},
                opts=objects.opts(retain=True, existing=mount if mount in args.mounts else None),
            )
            settings = vault.kv.SecretBackendV2(
                f"{name}-{mount}",
                mount=made.path,
                # Who writes a secret value has to say which version it builds on.
                cas_required=mount == DATA_MOUNT,
                max_versions=10,
                opts=objects.opts(made, retain=True),
            )
            mounts += [made, settings]
        roles: dict[str, str] = {}
        for namespace, paths in reader_paths(args.catalogue).items():
            role = roles[namespace] = reader_role(namespace)
            objects.role(f"{name}-{role}", role, reader_policy(paths), READER_ACCOUNT, namespace, *mounts)
        self.roles = roles
        self.register_outputs({"roles": roles})
