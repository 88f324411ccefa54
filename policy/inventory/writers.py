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
    stands for each entry of a list, and {keys:path} for each key of a mapping, with - for _. Of paths separated by "|"
    the first that is set counts; =text is the text itself. Where `each` is a path to a list, each.path is in one entry
    of it. `namespace` is a path to the namespace, where it is not that of the object, or = with its name. `when` is a
    path that has to be true. `keys` are what is written, None for the whole object.
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
    # (kind, label, path): the names begin with what is at the path of the object that the label names.
    prefix: tuple[str, str, str] | None = None
    each: str = ""
    # More keys, each with the path that has to be true; with =text behind it, that has to be the text.
    more_keys: tuple[tuple[str, str], ...] = ()
    # A path to the keys where the object lists them: key, or from:key.
    listed_keys: str = ""

    def written(self, content: Any) -> frozenset[str] | None:
        """The keys that are written for an object, None for all."""
        if self.listed_keys:
            listed = [value for value in _values(content, self.listed_keys) if value is not None]
            if listed and all(isinstance(value, str) for value in listed):
                return frozenset(value.rpartition(":")[2] for value in listed)
        if self.keys is None:
            return None
        more = {key for path, key in self.more_keys if _holds(content, path)}
        return self.keys | more if more else self.keys


_TLS = frozenset({"tls.crt", "tls.key", "ca.crt"})
_BITWARDEN_CRD = "bitwarden-crd-operator"
_CNPG_CA = frozenset({"ca.crt", "ca.key"})
_CNPG_LEAF = frozenset({"tls.crt", "tls.key"})

WRITERS: Final = (
    Writer(
        "cert-manager.io",
        "Certificate",
        "cert-manager",
        ("{spec.secretName}",),
        keys=_TLS,
        more_keys=(
            ("spec.keystores.jks.create", "keystore.jks"),
            ("spec.keystores.jks.create", "truststore.jks"),
            ("spec.keystores.pkcs12.create", "keystore.p12"),
            ("spec.keystores.pkcs12.create", "truststore.p12"),
            ("spec.additionalOutputFormats[].type=CombinedPEM", "tls-combined.pem"),
            ("spec.additionalOutputFormats[].type=DER", "key.der"),
        ),
    ),
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
    # A standby has the passwords of the cluster that it follows; its owner copies them.
    Writer(
        "acid.zalan.do",
        "postgresql",
        "Zalando Postgres operator",
        (
            "postgres.{metadata.name}.credentials.postgresql.acid.zalan.do",
            "standby.{metadata.name}.credentials.postgresql.acid.zalan.do",
        ),
        unless="spec.standby",
    ),
    Writer(
        "acid.zalan.do",
        "postgresql",
        "Zalando Postgres operator",
        ("pooler.{metadata.name}.credentials.postgresql.acid.zalan.do",),
        when="spec.enableConnectionPooler|spec.enableReplicaConnectionPooler",
    ),
    # As the operator names them for databases with default users; it writes _ of a name as -.
    Writer(
        "acid.zalan.do",
        "postgresql",
        "Zalando Postgres operator",
        tuple(
            f"{{keys:spec.preparedDatabases}}-{role}-user.{{metadata.name}}.credentials.postgresql.acid.zalan.do"
            for role in ("owner", "reader", "writer")
        ),
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
    Writer(
        "k8s.mariadb.com",
        "MariaDB",
        "MariaDB operator",
        ("{spec.passwordSecretKeyRef.name}",),
        when="spec.passwordSecretKeyRef.generate",
    ),
    Writer("k8s.mariadb.com", "MariaDB", "MariaDB operator", ("{spec.connection.secretName}",)),
    Writer("k8s.mariadb.com", "Connection", "MariaDB operator", ("{spec.secretName|metadata.name}",)),
    # Passwords of users that name no Secret.
    Writer(
        "psmdb.percona.com",
        "PerconaServerMongoDB",
        "Percona operator",
        ("{metadata.name}-custom-user-secret",),
        each="spec.users",
        unless="each.passwordSecretRef.name",
    ),
    Writer(
        "pgv2.percona.com",
        "PerconaPGCluster",
        "Percona operator",
        ("{metadata.name}-pguser-{spec.users[].name|metadata.name}",),
        input_label="postgres-operator.crunchydata.com/pguser",
    ),
    Writer("argoproj.io", "ArgoCD", "Argo CD operator", ("{metadata.name}-cluster",)),
    Writer(
        "iam.cnrm.cloud.google.com",
        "IAMServiceAccountKey",
        "Config Connector",
        ("{metadata.name}",),
    ),
    Writer("rabbitmq.com", "RabbitmqCluster", "RabbitMQ operator", ("{metadata.name}-default-user",)),
    # With importCredentialsSecret too: what is imported is copied.
    Writer("rabbitmq.com", "User", "RabbitMQ operator", ("{metadata.name}-user-credentials",)),
    Writer(
        "mongodbcommunity.mongodb.com",
        "MongoDBCommunity",
        "MongoDB operator",
        ("{each.connectionStringSecretName}",),
        each="spec.users",
        namespace="each.connectionStringSecretNamespace",
    ),
    Writer(
        "mongodbcommunity.mongodb.com",
        "MongoDBCommunity",
        "MongoDB operator",
        ("{metadata.name}-{each.db|=admin}-{each.name}",),
        each="spec.users",
        namespace="each.connectionStringSecretNamespace",
        unless="each.connectionStringSecretName",
    ),
    Writer(
        "mongodbcommunity.mongodb.com",
        "MongoDBCommunity",
        "MongoDB operator",
        ("{each.scramCredentialsSecretName}-scram-credentials",),
        each="spec.users",
    ),
    Writer(
        "grafana.integreatly.org",
        "Grafana",
        "Grafana operator",
        ("{metadata.name}-admin-credentials",),
        unless="spec.disableDefaultAdminSecret|spec.external",
    ),
    Writer(
        "infra.contrib.fluxcd.io",
        "Terraform",
        "Tofu Controller",
        ("{spec.writeOutputsToSecret.name}",),
        listed_keys="spec.writeOutputsToSecret.outputs[]",
    ),
    # The unseal keys and the root token, unless a service of a cloud holds them.
    Writer(
        "vault.banzaicloud.com",
        "Vault",
        "Bank-Vaults",
        ("{spec.unsealConfig.kubernetes.secretName}",),
        namespace="spec.unsealConfig.kubernetes.secretNamespace",
    ),
    Writer(
        "vault.banzaicloud.com",
        "Vault",
        "Bank-Vaults",
        ("{metadata.name}-unseal-keys",),
        namespace="spec.unsealConfig.kubernetes.secretNamespace",
        unless="spec.unsealConfig.kubernetes.secretName|spec.unsealConfig.google|spec.unsealConfig.alibaba"
        "|spec.unsealConfig.azure|spec.unsealConfig.aws|spec.unsealConfig.oci|spec.unsealConfig.vault"
        "|spec.unsealConfig.hsm",
    ),
    Writer("elasticsearch.k8s.elastic.co", "Elasticsearch", "Elastic operator", ("{metadata.name}-es-elastic-user",)),
    Writer(
        "kafka.strimzi.io",
        "KafkaUser",
        "Strimzi",
        ("{metadata.name}",),
        prefix=("Kafka", "strimzi.io/cluster", "spec.entityOperator.userOperator.secretPrefix"),
    ),
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
    # External Secrets before it was an operator of its own.
    Writer(
        "kubernetes-client.io",
        "ExternalSecret",
        "Kubernetes External Secrets",
        ("{metadata.name}",),
        store="its backend",
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
    *(
        Writer(
            "lerentis.uploadfilter24.eu",
            kind,
            _BITWARDEN_CRD,
            ("{spec.name}",),
            namespace="spec.namespace",
            store="Bitwarden",
        )
        for kind in ("BitwardenSecret", "BitwardenTemplate", "RegistryCredential")
    ),
    Writer(
        "bitwarden-secret-operator.io",
        "BitwardenSecret",
        "bitwarden-secret-operator",
        ("{spec.name|metadata.name}",),
        namespace="spec.namespace",
        store="Bitwarden",
    ),
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


# What makes one Secret for each Ingress and Gateway that names it.
CERTIFICATE = "cert-manager, a Certificate"


def sharing_maker(resource: Resource) -> str | None:
    """Who makes one Secret for all objects that name it; None where each object gets its own."""
    if resource.is_a("networking.k8s.io", "Ingress") or resource.is_a("gateway.networking.k8s.io", "Gateway"):
        # cert-manager makes one Certificate for all that name its Secret.
        return CERTIFICATE
    return resource.group if any(writer.shared for writer in writers_of(resource)) else None


def asks_for_given(resource: Resource) -> str:
    """What an object would say of a Secret that something else makes; empty where its controller would write it too."""
    return next((writer.asks for writer in writers_of(resource) if writer.asks), "")


def targets(writer: Writer, resource: Resource) -> Iterator[tuple[Part, Part | None]]:
    """(name, namespace) of each Secret that is made for an object; the namespace is None for the object's own."""
    whole = resource.props
    if not writer.each:
        yield from _targets(writer, resource, whole)
        return
    for entry in items(dig(whole, *writer.each.split("."))):
        yield from _targets(writer, resource, {**mapping(whole), "each": entry})


def _targets(writer: Writer, resource: Resource, content: Any) -> Iterator[tuple[Part, Part | None]]:
    if writer.when and not _truth(content, writer.when):
        return
    if writer.unless and _truth(content, writer.unless):
        return
    fixed = writer.namespace.removeprefix("=") if writer.namespace.startswith("=") else None
    given = [dig(content, *path.split(".")) for path in writer.given.split("|") if path]
    spaces = list(_values(content, writer.namespace)) if writer.namespace and fixed is None else []
    for text in writer.names:
        for number, name in enumerate(_texts(text, content, resource)):
            if name in given:
                continue
            space = spaces[number] if number < len(spaces) else fixed
            yield name, (part(space, f"{writer.namespace} of {resource.label}") if space else None)


def _truth(content: Any, paths: str) -> bool:
    return any(bool(dig(content, *path.split("."))) for path in paths.split("|"))


def _holds(content: Any, path: str) -> bool:
    path, equals, text = path.partition("=")
    return any(value == text if equals else bool(value) for value in _values(content, path))


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
        found = [joined(joined(one, literal), _known(v, place[1], resource)) for one in found for v in values]
        at = place.end()
    rest = text[at:]
    yield from (joined(one, rest) for one in found)


def _known(value: Any, path: str, resource: Resource) -> Part:
    return part(value, f"{path.removeprefix('keys:')} of {resource.label}")


def joined(left: Part, right: Part) -> Part:
    """Two parts of a name, one after the other."""
    if isinstance(left, str) and isinstance(right, str):
        return left + right
    unknown = left if isinstance(left, Unknown) else right
    shapes = [p if isinstance(p, str) else p.shape or "*" for p in (left, right)]
    same = [p if isinstance(p, str) else p.same for p in (left, right)]
    told = "".join(str(s) for s in same) if None not in same else None
    return Unknown(unknown.field if isinstance(unknown, Unknown) else "", shape="".join(shapes), same=told)


def _values(content: Any, path: str) -> Iterator[Any]:
    """The values at a path; [] after a step stands for each entry of its list."""
    if path.startswith("="):
        yield path[1:]
        return
    if path.startswith("keys:"):
        for key in mapping(dig(content, *path.removeprefix("keys:").split("."))):
            yield str(key).replace("_", "-")
        return
    first, found, rest = path.partition("[]")
    value = dig(content, *first.strip(".").split(".")) if first.strip(".") else content
    if not found:
        yield value
        return
    for entry in items(value):
        yield from _values(entry, rest.strip(".")) if rest.strip(".") else (entry,)
