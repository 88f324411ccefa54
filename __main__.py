"""Builds, and rebuilds, the secret stack of a cluster: five layers, five phases, one authority per secret.

- phase 0, root of trust: the offline age identity holds authority
- phase 1, GitOps: Git, as encrypted intent
- phase 2, bootstrap secrets: Git, materialised by Flux
- phase 3, runtime authority: Vault, secret by secret
- phase 4, consumption: Vault; Kubernetes Secrets are caches
"""

# ruff: noqa: E402
from __future__ import annotations

import gc

# What a run makes stays until its end: to look for cycles in it takes a quarter of the program's processor time.
gc.disable()

import pulumi
import pulumi_kubernetes as k8s

from components.bootstrap.bootstrap_secrets import BootstrapSecrets, BootstrapSecretsArgs
from components.consumption.consumption import Consumption, ConsumptionArgs, read_consumption
from components.demo.database import DemoDatabase, DemoDatabaseArgs, database_place
from components.demo.fingerprint import DemoWorkload, DemoWorkloadArgs, fingerprint_key
from components.demo.orders import DemoOrders, DemoOrdersArgs
from components.gitops.cluster_identity import planted_again
from components.gitops.git_credentials import read_credentials
from components.gitops.gitops import GitOps, GitOpsArgs
from components.kit.phase_record import phase_record
from components.kit.transformations import register_image_digests, register_images_on_nodes, register_transformations
from components.preflight.exported_shares import exported_shares
from components.preflight.foreign_objects import refuse_foreign_objects
from components.preflight.forgotten_state import refuse_forgotten_state
from components.preflight.left_out import check_left_out
from components.preflight.rebuild import check_rebuild, waiting
from components.preflight.stack_phase import admitted_kubeconfig, recorded_phase, stack_record
from components.preflight.vault_scale_down import refuse_fewer_replicas
from components.root_of_trust import RootOfTrust, RootOfTrustArgs
from components.rotation.rotation import Rotation, RotationArgs, check_rotators, needs_rotation
from components.runtime_authority.runtime_authority import RuntimeAuthority, RuntimeAuthorityArgs
from components.settings.stack import read_settings
from components.settings.upstream_images import upstream_images
from components.settings.vault import read_vault_settings
from components.snapshots.snapshots import UNSAVED, Snapshots, SnapshotsArgs
from components.snapshots.store_credentials import READER, WRITER, read_given
from secret_authority.access.cluster_state import UNREACHABLE, read_cluster_state
from secret_authority.core.errors import InvalidInputError, raise_if_any
from secret_authority.core.ledger.ledger import Facts, ledger, summary, vault_records
from secret_authority.core.phases import Phase, PhaseRefusedError, check_transition
from secret_authority.core.restore.rebuild import WITHOUT, Await, Proceed
from secret_authority.repository.intent.intent import read_intent
from secret_authority.repository.intent.tombstones import changed_after_handover
from secret_authority.repository.namespaces import check_namespaces
from secret_authority.repository.snapshot_settings import read_snapshot_settings, settings_file


def build() -> None:
    register_transformations()
    settings = read_settings()
    if settings.images_on_nodes:
        register_images_on_nodes()
    else:
        register_image_digests(settings.image_digests)
        by_tag = sorted(set(upstream_images()) - set(settings.image_digests))
        if by_tag and settings.phase >= Phase.GITOPS:
            pulumi.log.warn(f"images by tag, which a registry can move: {', '.join(by_tag)}. Set imageDigests")
    intent = read_intent(settings.repository, settings.layout, leave_out=True)
    raise_if_any(check_namespaces(settings.repository, settings.namespaces_path))
    for problem in changed_after_handover(intent):
        pulumi.log.warn(str(problem))
    check_rotators(intent.catalogue, intent.layout.catalogue)
    snapshots = read_snapshot_settings(intent.root, intent.layout)
    writer, reader = read_given(WRITER), read_given(READER)
    if settings.phase >= Phase.RUNTIME_AUTHORITY and snapshots is None:
        pulumi.log.warn(f"{settings_file(intent.layout)} {UNSAVED}")
    in_cluster = settings.phase >= Phase.GITOPS
    cluster = read_cluster_state(settings.connection) if in_cluster else UNREACHABLE
    check_transition(cluster.reached, settings.phase)
    if cluster.reachable:
        refuse_foreign_objects(settings.connection, settings.phase, intent.trust, settings.layout.cluster)
    check_left_out(settings, intent, cluster)
    record_of_stack = stack_record()
    kubeconfig = admitted_kubeconfig(settings, cluster, record_of_stack)
    credentials_file = settings.git.credentials_file
    credentials = read_credentials(credentials_file, settings.git.url) if credentials_file else None
    config = read_consumption(settings, intent)
    vault = read_vault_settings(pulumi.Config(), intent.layout.cluster)
    restore, waits = pulumi.Config().get("restore") or "", False
    if settings.phase >= Phase.RUNTIME_AUTHORITY and cluster.reachable:
        refuse_fewer_replicas(settings.connection, vault.replicas)
        decision = check_rebuild(settings, intent, cluster, snapshots, restore)
        waits = isinstance(decision, Await)
        said = [decision.warning if isinstance(decision, Proceed) else waiting(restore)]
        if not waits:
            # The shares of a Vault that is to be replaced are not worth a copy; those in Git open the snapshot.
            found = exported_shares(settings.connection, intent)
            said.append(found.text if found.fits is False else "")
        for text in filter(None, said):
            pulumi.log.warn(text)

    root = RootOfTrust("root-of-trust", RootOfTrustArgs(settings, intent, cluster))
    evidence: dict[str, pulumi.Input[str]] = {"rootOfTrust": root.evidence}

    if settings.phase >= Phase.GITOPS:
        provider = k8s.Provider(
            "cluster",
            kubeconfig=kubeconfig,
            context=settings.context,
            # The cluster is known by its name: another path to it, or its rebuilt successor, replaces nothing.
            cluster_identifier=settings.layout.cluster,
            enable_server_side_apply=True,
            # Records keep their creation time when their text changes: it is the ledger's "since".
            enable_config_map_mutable=True,
        )
        hooks = refuse_forgotten_state(settings, cluster)
        here = pulumi.ResourceOptions(providers=[provider], depends_on=[root], hooks=hooks)
        recipient = intent.trust.cluster(intent.layout.cluster).recipient
        again = planted_again(settings.connection, root.identity, cluster)
        gitops = GitOps("gitops", GitOpsArgs(settings, root, recipient, credentials, again), here)
        record = phase_record(Phase.GITOPS, gitops, [gitops.namespaces])
        evidence["gitops"] = gitops.evidence

    if settings.phase >= Phase.BOOTSTRAP:
        here = pulumi.ResourceOptions(providers=[provider], depends_on=[gitops, record])
        bootstrap = BootstrapSecrets("bootstrap", BootstrapSecretsArgs(settings, intent, cluster, gitops), here)
        record = phase_record(Phase.BOOTSTRAP, bootstrap, [bootstrap.job])
        evidence["bootstrap"] = bootstrap.evidence

    if settings.phase >= Phase.RUNTIME_AUTHORITY:
        here = pulumi.ResourceOptions(providers=[provider], depends_on=[bootstrap, record])
        snapshot = "" if restore == WITHOUT else restore
        args = RuntimeAuthorityArgs(settings, intent, vault, snapshot, not waits, record_of_stack.apply(recorded_phase))
        runtime = RuntimeAuthority("runtime-authority", args, here)
        evidence["runtimeAuthority"] = runtime.evidence
        if not waits:
            record = phase_record(Phase.RUNTIME_AUTHORITY, runtime, [runtime.job])
            # Compared after the run, which may have initialised Vault.
            evidence["unsealShares"] = runtime.evidence.apply(
                lambda _: exported_shares(settings.connection, intent).text
            )
        if snapshots is not None and not waits:
            here = pulumi.ResourceOptions(providers=[provider], depends_on=[runtime])
            recipients = tuple(intent.trust.wanted(intent.layout.cluster))
            way = runtime.configuration.connection
            wanted = SnapshotsArgs(settings, snapshots, recipients, writer, reader, vault.image, way)
            Snapshots("snapshots", wanted, here)

    if settings.phase >= Phase.CONSUMPTION and not waits:
        here = pulumi.ResourceOptions(providers=[provider], depends_on=[runtime, record])
        consumption = Consumption("consumption", ConsumptionArgs(settings, intent, runtime, config), here)
        phase_record(Phase.CONSUMPTION, consumption, [consumption.job])
        evidence["consumption"] = consumption.evidence
        here = pulumi.ResourceOptions(providers=[provider], depends_on=[consumption])
        if needs_rotation(intent.catalogue):
            way = runtime.configuration.connection
            Rotation("rotation", RotationArgs(settings, intent.layout.cluster, intent.catalogue, way), here)
        demo = pulumi.Config().get_bool("demo")
        key = fingerprint_key(intent.catalogue) if demo else None
        if key:
            DemoWorkload("demo", DemoWorkloadArgs(settings.engine_image, intent.catalogue, key), here)
        place = database_place(intent.catalogue) if demo else None
        if place:
            DemoDatabase("demo-database", DemoDatabaseArgs(place, vault.storage_class), here)
            orders = DemoOrders("demo-orders", DemoOrdersArgs(settings.engine_image, place, settings.network), here)
            pulumi.export("demo", orders.logged_in)

    built = Phase.BOOTSTRAP if waits else settings.phase

    def sum_up(_: object) -> dict[str, int]:
        # Read again: the run itself may have moved authority.
        now = read_cluster_state(settings.connection) if in_cluster else UNREACHABLE
        facts = Facts(built, now.since, intent.git_facts(), vault_records(now.events), intent.config_facts())
        return summary(ledger(intent.catalogue, facts))

    pulumi.export("phase", built.value)
    pulumi.export("authority", built.authority.value)
    pulumi.export("evidence", evidence)
    pulumi.export("ledger", pulumi.Output.all(**evidence).apply(sum_up))


try:
    build()
except (InvalidInputError, PhaseRefusedError) as error:
    # One clear message instead of a traceback, before the first change.
    raise pulumi.RunError(str(error)) from None
