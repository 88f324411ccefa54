"""Single authority for every pair of systems that can write one Secret, or one Vault path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import pytest

from secret_authority.core.claims.conflicts import find_conflicts
from tests.support.policy.cases import ESO, external, plain, push, store
from tests.support.policy.stacks import CANARY, R, context_of_state, k8s, secret, verdicts

Writer = Callable[[str], R]


def patch(name: str) -> R:
    return replace(plain(f"shop/{name}"), token="kubernetes:core/v1:SecretPatch", name=f"patch-{name}")


def helm(name: str) -> R:
    labelled = plain(f"shop/{name}", metadata={"labels": {"app.kubernetes.io/managed-by": "Helm"}})
    return replace(labelled, name=f"helm-{name}")


def plugin(name: str) -> R:
    return k8s("v1", "Secret", f"shop/{name}", f"avp-{name}", stringData={"password": "<path:secret/data/db#password>"})


def policy(creation: str) -> Writer:
    return lambda name: replace(external(f"shop/{creation.lower()}", "pg/x", name=name, creationPolicy=creation))


def cluster_external(name: str) -> R:
    spec = {
        "externalSecretName": "from-cluster",
        "namespaces": ["shop"],
        "externalSecretSpec": {
            "secretStoreRef": {"name": "vault", "kind": "ClusterSecretStore"},
            "target": {"name": name},
            "data": [{"secretKey": "password", "remoteRef": {"key": "pg/x"}}],
        },
    }
    return k8s(ESO, "ClusterExternalSecret", "everywhere", spec=spec)


def generator(name: str) -> R:
    data = [{"sourceRef": {"generatorRef": {"kind": "Password", "name": "p"}}}]
    return k8s(ESO, "ExternalSecret", "shop/generated", spec={"target": {"name": name}, "dataFrom": data})


def sealed(name: str) -> R:
    return k8s("bitnami.com/v1alpha1", "SealedSecret", f"shop/{name}", spec={"encryptedData": {"password": CANARY}})


def operator(kind: str) -> Writer:
    spec = {"mount": "kv", "path": "db", "type": "kv-v2"}
    return lambda name: k8s(
        "secrets.hashicorp.com/v1beta1", kind, f"shop/{kind.lower()}", spec={**spec, "destination": {"name": name}}
    )


def csi(name: str) -> R:
    objects = [{"secretName": name, "type": "Opaque", "data": [{"key": "password", "objectName": "p"}]}]
    spec = {"provider": "vault", "secretObjects": objects}
    return k8s("secrets-store.csi.x-k8s.io/v1", "SecretProviderClass", "shop/csi", spec=spec)


def mirror(name: str) -> R:
    annotations = {"replicator.v1.mittwald.de/replicate-to": "shop"}
    return k8s("v1", "Secret", f"origin/{name}", f"mirror-{name}", metadata={"annotations": annotations})


KUBERNETES_WRITERS: dict[str, Writer] = {
    "Secret": lambda name: plain(f"shop/{name}"),
    "SecretPatch": patch,
    "Helm": helm,
    "Argo CD Vault plugin": plugin,
    "ExternalSecret Owner": policy("Owner"),
    "ExternalSecret Orphan": policy("Orphan"),
    "ExternalSecret Merge": policy("Merge"),
    "ExternalSecret CreateOrMerge": policy("CreateOrMerge"),
    "ClusterExternalSecret": cluster_external,
    "generator": generator,
    "SealedSecret": sealed,
    "VaultStaticSecret": operator("VaultStaticSecret"),
    "VaultDynamicSecret": operator("VaultDynamicSecret"),
    "VaultPKISecret": operator("VaultPKISecret"),
    "CSI": csi,
    "mirror": mirror,
}


def cluster_push(path: str) -> R:
    spec = {
        "namespaceSelectors": [{"matchLabels": {"kubernetes.io/metadata.name": "shop"}}],
        "pushSecretSpec": {**push("shop/x", "seed", path).props["spec"]},
    }
    return k8s("external-secrets.io/v1alpha1", "ClusterPushSecret", "pushed", spec=spec)


def values(**props: object) -> dict[str, object]:
    return {**props, "dataJson": secret(CANARY)}


VAULT_WRITERS: dict[str, Writer] = {
    "PushSecret": lambda path: push("shop/push", "seed", path),
    "PushSecret Replace": lambda path: push("shop/replace", "seed", path, updatePolicy="Replace"),
    "ClusterPushSecret": cluster_push,
    "kv.SecretV2": lambda path: R("vault:kv/secretV2:SecretV2", "v2", values(mount="platform-data", name=path)),
    "kv.Secret": lambda path: R("vault:kv/secret:Secret", "v1", values(path=f"platform-data/{path}")),
    "generic.Secret": lambda path: R("vault:generic/secret:Secret", "generic", values(path=f"platform-data/{path}")),
    "generic.Endpoint": lambda path: R(
        "vault:generic/endpoint:Endpoint", "endpoint", values(path=f"platform-data/data/{path}")
    ),
}


def _meet(first: R, second: R) -> list[str]:
    context = context_of_state([store("shop"), first, second])
    return [str(conflict) for conflict in find_conflicts(context.claims)]


@pytest.mark.parametrize(("one", "other"), list(combinations(KUBERNETES_WRITERS, 2)))
def test_two_writers_of_one_secret_conflict(one: str, other: str) -> None:
    first, second = KUBERNETES_WRITERS[one], KUBERNETES_WRITERS[other]
    messages = _meet(first("db"), second("db"))
    assert messages
    assert all("shop/db" in message and CANARY not in message for message in messages)
    assert not _meet(first("db"), second("other"))


@pytest.mark.parametrize(("one", "other"), list(combinations(VAULT_WRITERS, 2)))
def test_two_writers_of_one_vault_path_conflict(one: str, other: str) -> None:
    first, second = VAULT_WRITERS[one], VAULT_WRITERS[other]
    messages = _meet(first("pg/orders"), second("pg/orders"))
    assert messages
    assert all("platform-data/pg/orders" in message and CANARY not in message for message in messages)
    assert not _meet(first("pg/orders"), second("pg/billing"))


@pytest.mark.parametrize("writer", KUBERNETES_WRITERS.values(), ids=KUBERNETES_WRITERS)
def test_two_resources_of_one_object_are_two_writers(writer: Writer) -> None:
    first = writer("db")
    assert f"{first.name}-again" in _meet(first, replace(first, name=f"{first.name}-again"))[0]


@pytest.mark.parametrize("writer", VAULT_WRITERS.values(), ids=VAULT_WRITERS)
def test_two_resources_of_one_vault_writer_are_two_writers(writer: Writer) -> None:
    first = writer("pg/orders")
    assert f"{first.name}-again" in _meet(first, replace(first, name=f"{first.name}-again"))[0]


@pytest.mark.parametrize("creation", ["Merge", "CreateOrMerge"])
def test_merged_keys_meet_only_in_the_same_key(creation: str) -> None:
    def merged(where: str, key: str) -> R:
        return external(where, "pg/x", [key], name="db", creationPolicy=creation)

    assert not _meet(merged("shop/a", "user"), merged("shop/b", "password"))
    assert _meet(merged("shop/a", "user"), merged("shop/b", "user"))
    assert not _meet(plain("shop/db", "password"), merged("shop/a", "user"))


def test_creation_policy_none_writes_nothing() -> None:
    assert not _meet(plain("shop/db"), policy("None")("db"))


def test_an_empty_secret_brings_no_value() -> None:
    assert not _meet(k8s("v1", "Secret", "shop/db"), external("shop/db", "pg/x"))


def test_the_namespace_of_the_provider_is_filled_in() -> None:
    provider = R("pulumi:providers:kubernetes", "named", {"kubeconfig": CANARY, "namespace": "shop"})
    bare = R(
        "kubernetes:core/v1:Secret",
        "bare",
        {"metadata": {"name": "db"}, "stringData": {"password": secret(CANARY)}},
        provider="named",
    )
    same = replace(external("shop/db", "pg/x"), provider="named")
    context = context_of_state([provider, bare, same])
    assert [c for c in find_conflicts(context.claims) if c.certain]


def test_two_store_names_on_one_mount_are_one_location() -> None:
    twice = [
        store("shop"),
        store(
            "shop",
            "again",
            vault={"server": "https://vault-active.vault.svc.cluster.local:8200/", "path": "platform-data/"},
        ),
        push("shop/a", "seed", "pg/x"),
        push("shop/b", "seed", "platform-data/data/pg/x", secretStoreRefs=[{"name": "again"}]),
    ]
    assert find_conflicts(context_of_state(twice).claims)


def test_two_servers_are_two_places_and_a_loopback_address_could_be_either() -> None:
    def stack(second: str) -> list[R]:
        return [
            store("shop"),
            store("shop", "other", vault={"server": second, "path": "platform-data"}),
            push("shop/a", "seed", "pg/x"),
            push("shop/b", "seed", "pg/x", secretStoreRefs=[{"name": "other"}]),
        ]

    assert not find_conflicts(context_of_state(stack("https://vault.other-team:8200")).claims)
    (conflict,) = find_conflicts(context_of_state(stack("https://127.0.0.1:8200")).claims)
    assert not conflict.certain
    assert "vaultServers" in str(conflict)


def test_a_store_that_is_not_in_sight_fails_closed() -> None:
    unseen = push("shop/b", "seed", "pg/x", secretStoreRefs=[{"name": "elsewhere"}])
    (conflict,) = find_conflicts(context_of_state([store("shop"), push("shop/a", "seed", "pg/x"), unseen]).claims)
    assert not conflict.certain
    assert "SecretStore shop/elsewhere, which is not in sight" in str(conflict)


def test_namespaces_are_judged_by_their_labels() -> None:
    def everywhere(team: str) -> list[R]:
        spec = {
            "namespaceSelectors": [{"matchLabels": {"team": "a"}}],
            "externalSecretSpec": {"target": {"name": "pull"}, "data": [{"secretKey": "k", "remoteRef": {"key": "x"}}]},
        }
        return [
            k8s("v1", "Namespace", "shop", metadata={"labels": {"team": team}}),
            plain("shop/pull"),
            k8s(ESO, "ClusterExternalSecret", "pull", spec=spec),
        ]

    (certain,) = find_conflicts(context_of_state(everywhere("a")).claims)
    assert certain.certain
    assert not find_conflicts(context_of_state(everywhere("b")).claims)
    (doubt,) = find_conflicts(context_of_state(everywhere("a")[1:]).claims)
    assert "the labels of Namespace shop" in str(doubt)


def test_keys_that_others_merged_into_the_live_object_are_not_the_writers() -> None:
    """Outputs of a Secret are the live object. What a resource claims is what it wrote, not what stands there."""
    mine = plain("shop/db", "password")
    both = {**mine.props, "data": {"password": secret(CANARY), "username": secret(CANARY)}}
    merged = external("shop/merge", "pg/x", ["username"], name="db", creationPolicy="Merge")
    seen = replace(mine, live=both)
    assert "single-authority" not in verdicts([store("shop"), seen, merged])
    taken = external("shop/merge", "pg/x", ["password"], name="db", creationPolicy="Merge")
    assert "single-authority" in verdicts([store("shop"), seen, taken])


def test_a_reflector_expression_is_read_by_re2_and_warns_nobody(recwarn: pytest.WarningsRecorder) -> None:
    marks = {
        "reflector.v1.k8s.emberstack.com/reflection-auto-enabled": "true",
        "reflector.v1.k8s.emberstack.com/reflection-auto-namespaces": "[[a-z]hop",
    }
    original = plain("tools/db", metadata={"annotations": marks})
    found = verdicts([original, external("shop/db", "pg/x", name="db"), external("web/db", "pg/x", name="db")])
    assert "over Secret shop/db" in str(found["single-authority"])
    marks["reflector.v1.k8s.emberstack.com/reflection-auto-namespaces"] = "(shop"
    found = verdicts([original, external("shop/db", "pg/x", name="db")])
    assert "single-authority" not in found
    assert not [warning for warning in recwarn if warning.category is FutureWarning]
