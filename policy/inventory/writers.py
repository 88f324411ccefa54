"""Who writes Kubernetes Secrets, beside External Secrets, Flux and Vault's own operator: one line for each kind.

Each line is from the project's own API reference. A new writer is a new line in `WRITERS`; the claims, the files that
count as being about secrets, and the table of docs/policy/writers.md all follow from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from policy.inventory.resource import Resource, dig, items, mapping, part
from secret_authority.core.claims.locations import Part, Unknown

_PLACE = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class Writer:
    """A kind whose controller writes Secrets.

    `names` are texts with {paths} into the object ("{metadata.name}-app"); a path that ends in [] or passes through one
    stands for each entry of a list, and {keys:path} for each key of a mapping. Of `names` separated by "|" the first
    that is set counts. `namespace` is a path to the namespace, where it is not that of the object, or = with its name.
    `when` is a path that has to be true. `keys` are what is written, None for the whole object.
    """

    group: str
    kind: str
    project: str
    names: tuple[str, ...]
    namespace: str = ""
    when: str = ""
    unless: str = ""
    keys: frozenset[str] | None = None
    # Where the controller reads: the value then has another origin than this object.
    store: str = ""
    # Whether several objects may name one Secret: the first makes it, the others use what is there.
    shared: bool = False
    # A Secret with this label is what the controller takes the value from.
    input_label: str = ""
    # Paths of names of Secrets that are given: a Secret of such a name is not made.
    given: str = ""
    # How an object says that its Secret is given, where the controller makes one only where none is, and changes none.
    asks: str = ""


_TLS = frozenset({"tls.crt", "tls.key", "ca.crt"})
_CNPG_CA = frozenset({"ca.crt", "ca.key"})
_CNPG_LEAF = frozenset({"tls.crt", "tls.key"})

WRITERS: Final = (
    Writer("cert-manager.io", "Certificate", "cert-manager", ("{spec.secretName}",), keys=_TLS),
    Writer(
        "cert-manager.io",
        "Issuer",
        "cert-manager",
        ("{spec.acme.privateKeySecretRef.name}",),
        unless="spec.acme.disableAccountKeyGeneration",
        keys=frozenset({"tls.key"}),
        shared=True,
        asks="spec.acme.disableAccountKeyGeneration: true",
    ),
    # In the namespace that --cluster-resource-namespace names, by default its own.
    Writer(
        "cert-manager.io",
        "ClusterIssuer",
        "cert-manager",
        ("{spec.acme.privateKeySecretRef.name}",),
        namespace="=cert-manager",
        unless="spec.acme.disableAccountKeyGeneration",
        keys=frozenset({"tls.key"}),
        shared=True,
        asks="spec.acme.disableAccountKeyGeneration: true",
    ),
    Writer(
        "postgresql.cnpg.io",
        "Cluster",
        "CloudNativePG",
        ("{metadata.name}-app",),
        unless="spec.bootstrap.initdb.secret.name|spec.bootstrap.recovery|spec.bootstrap.pg_basebackup"
        "|spec.replica.enabled",
    ),
    # What is recovered has its user already, unless a database is to be made in it.
    Writer(
        "postgresql.cnpg.io",
        "Cluster",
        "CloudNativePG",
        ("{metadata.name}-app",),
        when="spec.bootstrap.recovery.database",
        unless="spec.bootstrap.recovery.secret.name|spec.replica.enabled",
    ),
    Writer(
        "postgresql.cnpg.io",
        "Cluster",
        "CloudNativePG",
        ("{metadata.name}-app",),
        when="spec.bootstrap.pg_basebackup.database",
        unless="spec.bootstrap.pg_basebackup.secret.name|spec.replica.enabled",
    ),
    Writer(
        "postgresql.cnpg.io",
        "Cluster",
        "CloudNativePG",
        ("{metadata.name}-superuser",),
        when="spec.enableSuperuserAccess",
        unless="spec.superuserSecret.name",
    ),
    # Certificates that it makes and renews, unless the Cluster names others. One CA signs for servers and clients, so
    # it is made where either has none.
    Writer(
        "postgresql.cnpg.io",
        "Cluster",
        "CloudNativePG",
        ("{metadata.name}-ca",),
        unless="spec.certificates.serverCASecret",
        keys=_CNPG_CA,
        given="spec.certificates.clientCASecret",
    ),
    Writer(
        "postgresql.cnpg.io",
        "Cluster",
        "CloudNativePG",
        ("{metadata.name}-ca",),
        when="spec.certificates.serverCASecret",
        unless="spec.certificates.clientCASecret",
        keys=_CNPG_CA,
        given="spec.certificates.serverCASecret",
    ),
    Writer(
        "postgresql.cnpg.io",
        "Cluster",
        "CloudNativePG",
        ("{metadata.name}-server",),
        unless="spec.certificates.serverTLSSecret",
        keys=_CNPG_LEAF,
    ),
    Writer(
        "postgresql.cnpg.io",
        "Cluster",
        "CloudNativePG",
        ("{metadata.name}-replication",),
        unless="spec.certificates.replicationTLSSecret",
        keys=_CNPG_LEAF,
    ),
    Writer(
        "acid.zalan.do",
        "postgresql",
        "Zalando Postgres operator",
        ("{keys:spec.users}.{metadata.name}.credentials.postgresql.acid.zalan.do",),
    ),
    Writer(
        "postgres-operator.crunchydata.com",
        "PostgresCluster",
        "Crunchy Postgres operator",
        ("{metadata.name}-pguser-{spec.users[].name|metadata.name}",),
        input_label="postgres-operator.crunchydata.com/pguser",
    ),
    Writer(
        "k8s.mariadb.com",
        "MariaDB",
        "MariaDB operator",
        ("{spec.rootPasswordSecretKeyRef.name}",),
        when="spec.rootPasswordSecretKeyRef.generate",
    ),
    Writer("rabbitmq.com", "RabbitmqCluster", "RabbitMQ operator", ("{metadata.name}-default-user",)),
    Writer("elasticsearch.k8s.elastic.co", "Elasticsearch", "Elastic operator", ("{metadata.name}-es-elastic-user",)),
    Writer("kafka.strimzi.io", "KafkaUser", "Strimzi", ("{metadata.name}",)),
    Writer(
        "kafka.strimzi.io",
        "Kafka",
        "Strimzi",
        ("{metadata.name}-cluster-ca-cert", "{metadata.name}-clients-ca-cert"),
    ),
    Writer("objectbucket.io", "ObjectBucketClaim", "Rook", ("{metadata.name}",)),
    Writer(
        "ceph.rook.io",
        "CephObjectStoreUser",
        "Rook",
        ("rook-ceph-object-user-{spec.store}-{metadata.name}",),
    ),
    Writer("k8s.keycloak.org", "Keycloak", "Keycloak operator", ("{metadata.name}-initial-admin",)),
    Writer(
        "secrets.infisical.com",
        "InfisicalSecret",
        "Infisical",
        ("{spec.managedSecretReference.secretName}",),
        namespace="spec.managedSecretReference.secretNamespace",
        store="Infisical",
    ),
    Writer(
        "secrets.infisical.com",
        "InfisicalSecret",
        "Infisical",
        ("{spec.managedKubeSecretReferences[].secretName}",),
        namespace="spec.managedKubeSecretReferences[].secretNamespace",
        store="Infisical",
    ),
    Writer(
        "secrets.infisical.com",
        "InfisicalDynamicSecret",
        "Infisical",
        ("{spec.managedSecretReference.secretName}",),
        namespace="spec.managedSecretReference.secretNamespace",
        store="Infisical",
    ),
    Writer("onepassword.com", "OnePasswordItem", "1Password operator", ("{metadata.name}",), store="1Password"),
    Writer("isindir.github.com", "SopsSecret", "SOPS Secrets operator", ("{spec.secretTemplates[].name}",)),
    Writer(
        "secrets.doppler.com",
        "DopplerSecret",
        "Doppler",
        ("{spec.managedSecret.name}",),
        namespace="spec.managedSecret.namespace",
        store="Doppler",
    ),
    Writer("k8s.bitwarden.com", "BitwardenSecret", "Bitwarden", ("{spec.secretName}",), store="Bitwarden"),
    Writer("passbolt.tagesspiegel.de", "PassboltSecret", "Passbolt operator", ("{metadata.name}",), store="Passbolt"),
    Writer("ricoberger.de", "VaultSecret", "Vault Secrets Operator (ricoberger)", ("{metadata.name}",), store="Vault"),
    Writer(
        "redhatcop.redhat.io",
        "VaultSecret",
        "Vault Config Operator",
        ("{spec.output.name}",),
        store="Vault",
    ),
    Writer("spv.no", "AzureKeyVaultSecret", "akv2k8s", ("{spec.output.secret.name}",), store="Azure Key Vault"),
    Writer("secretgenerator.mittwald.de", "StringSecret", "Kubernetes Secret Generator", ("{metadata.name}",)),
    Writer("secretgenerator.mittwald.de", "BasicAuth", "Kubernetes Secret Generator", ("{metadata.name}",)),
    Writer("secretgenerator.mittwald.de", "SSHKeyPair", "Kubernetes Secret Generator", ("{metadata.name}",)),
    Writer("secretgen.k14s.io", "Password", "secretgen-controller", ("{metadata.name}",)),
    Writer("secretgen.k14s.io", "RSAKey", "secretgen-controller", ("{metadata.name}",)),
    Writer("secretgen.k14s.io", "SSHKey", "secretgen-controller", ("{metadata.name}",)),
    Writer("secretgen.k14s.io", "Certificate", "secretgen-controller", ("{metadata.name}",)),
    Writer("secretgen.carvel.dev", "SecretImport", "secretgen-controller", ("{metadata.name}",)),
    Writer("secretgen.carvel.dev", "SecretTemplate", "secretgen-controller", ("{metadata.name}",)),
    Writer(
        "pocketid.internal",
        "PocketIDOIDCClient",
        "Pocket ID operator",
        ("{spec.secret.name}",),
        when="spec.secret.name",
    ),
    Writer(
        "pocketid.internal",
        "PocketIDOIDCClient",
        "Pocket ID operator",
        ("{metadata.name}-oidc-credentials",),
        unless="spec.secret.name",
    ),
    Writer(
        "pangolin.home-operations.com",
        "NewtSite",
        "Pangolin operator",
        ("{metadata.name}-newt-credentials",),
    ),
    # Any managed resource or claim of Crossplane.
    Writer(
        "*",
        "*",
        "Crossplane",
        ("{spec.writeConnectionSecretToRef.name}",),
        namespace="spec.writeConnectionSecretToRef.namespace",
    ),
)

BY_KIND: Final[Mapping[tuple[str, str], tuple[Writer, ...]]] = {
    key: tuple(w for w in WRITERS if (w.group, w.kind) == key) for key in {(w.group, w.kind) for w in WRITERS}
}


def writers_of(resource: Resource) -> Iterator[Writer]:
    """The lines of the table that fit a resource."""
    yield from BY_KIND.get((resource.group, resource.kind), ())
    if resource.get("spec", "writeConnectionSecretToRef"):
        yield from BY_KIND["*", "*"]


def shares_its_secret(resource: Resource) -> bool:
    """Whether others of its kind may name the Secret that is made for an object."""
    if resource.is_a("networking.k8s.io", "Ingress"):
        # cert-manager makes one Certificate for all that name its Secret.
        return True
    return any(writer.shared for writer in writers_of(resource))


def asks_for_given(resource: Resource) -> str:
    """What an object would say of a Secret that something else makes; empty where its controller would write it too."""
    return next((writer.asks for writer in writers_of(resource) if writer.asks), "")


def targets(writer: Writer, resource: Resource) -> Iterator[tuple[Part, Part | None]]:
    """(name, namespace) of each Secret that is made for an object; the namespace is None for the object's own."""
    content = resource.props
    if writer.when and not _truth(content, writer.when):
        return
    if writer.unless and _truth(content, writer.unless):
        return
    fixed = writer.namespace.removeprefix("=") if writer.namespace.startswith("=") else None
    given = {dig(content, *path.split(".")) for path in writer.given.split("|") if path}
    spaces = list(_values(content, writer.namespace)) if writer.namespace and fixed is None else []
    for text in writer.names:
        for number, name in enumerate(_texts(text, content, resource)):
            if name in given:
                continue
            space = spaces[number] if number < len(spaces) else fixed
            yield name, (part(space, f"{writer.namespace} of {resource.label}") if space else None)


def _truth(content: Any, paths: str) -> bool:
    return any(bool(dig(content, *path.split("."))) for path in paths.split("|"))


def _texts(text: str, content: Any, resource: Resource) -> Iterator[Part]:
    """The text with its places filled in, for each value of the one that has several."""
    found: list[Part] = [""]
    at = 0
    for place in _PLACE.finditer(text):
        literal = text[at : place.start()]
        values: list[Any] = []
        for path in place[1].split("|"):
            values = [value for value in _values(content, path) if value not in (None, "")]
            if values:
                break
        found = [_joined(_joined(one, literal), _known(v, place[1], resource)) for one in found for v in values]
        at = place.end()
    rest = text[at:]
    yield from (_joined(one, rest) for one in found)


def _known(value: Any, path: str, resource: Resource) -> Part:
    return part(value, f"{path.removeprefix('keys:')} of {resource.label}")


def _joined(left: Part, right: Part) -> Part:
    if isinstance(left, str) and isinstance(right, str):
        return left + right
    unknown = left if isinstance(left, Unknown) else right
    shapes = [p if isinstance(p, str) else p.shape or "*" for p in (left, right)]
    same = [p if isinstance(p, str) else p.same for p in (left, right)]
    told = "".join(str(s) for s in same) if None not in same else None
    return Unknown(unknown.field if isinstance(unknown, Unknown) else "", shape="".join(shapes), same=told)


def _values(content: Any, path: str) -> Iterator[Any]:
    """The values at a path; [] after a step stands for each entry of its list."""
    if path.startswith("keys:"):
        yield from mapping(dig(content, *path.removeprefix("keys:").split(".")))
        return
    first, found, rest = path.partition("[]")
    value = dig(content, *first.strip(".").split(".")) if first.strip(".") else content
    if not found:
        yield value
        return
    for entry in items(value):
        yield from _values(entry, rest.strip(".")) if rest.strip(".") else (entry,)
