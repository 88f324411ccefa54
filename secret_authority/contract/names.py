"""Names that the Pulumi program and the in-cluster engine share, each written once.

Standard library only: every floor of the project reads this file.
"""

from __future__ import annotations

# The core decides by these names, too; here they are for everybody else.
from secret_authority.core.platform_namespaces import ENGINE_NAMESPACE as ENGINE_NAMESPACE
from secret_authority.core.platform_namespaces import ESO_NAMESPACE as ESO_NAMESPACE
from secret_authority.core.platform_namespaces import FLUX_NAMESPACE as FLUX_NAMESPACE
from secret_authority.core.platform_namespaces import VAULT_NAMESPACE as VAULT_NAMESPACE

DOMAIN = "secret-authority.dev"
PART_OF = {"app.kubernetes.io/part-of": "secret-authority"}
MANAGED_BY = PART_OF
PART_LABEL = f"{DOMAIN}/part"

# Labels and annotations.
CLASS_LABEL = f"{DOMAIN}/class"
PHASE_LABEL = f"{DOMAIN}/phase"
# State of a bootstrap Secret; CONSUMED once the handover has emptied it.
STATE_LABEL = f"{DOMAIN}/state"
CONSUMED = "consumed"
RECIPIENT_ANNOTATION = f"{DOMAIN}/recipient"
HANDOVER_ID_ANNOTATION = f"{DOMAIN}/handover-id"
HANDOVER_AT_ANNOTATION = f"{DOMAIN}/handover-at"
RESTART_ON_CHANGE = f"{DOMAIN}/restart-on-change"
# On an ExternalSecret, `ID WHY`: asks for a rotation of the secret that it delivers.
ROTATE_ANNOTATION = f"{DOMAIN}/rotate"
# The engine's, on workloads: the versions of the Secrets that it was started with.
SECRET_VERSIONS = f"{DOMAIN}/secret-versions"
# The engine's, on an ExternalSecret: the version it is asked to read, what it had read before, and a plain request.
VERSION_ANNOTATION = f"{DOMAIN}/vault-version"
SYNCED_BEFORE_ANNOTATION = f"{DOMAIN}/synced-before"
RESYNC_ANNOTATION = f"{DOMAIN}/resync-requested"
# The path of the group in the API of Kubernetes.
ESO_API = "apis/external-secrets.io/v1"

# The decryption identity; name and key follow Flux's convention for SOPS with age.
IDENTITY_SECRET = "sops-age"
IDENTITY_KEY = "age.agekey"
# ConfigMap with the recipients that a root holder admitted, in the engine's namespace.
TRUST_RECORD = "root-of-trust"
# ConfigMap with the public record of the planted identity.
IDENTITY_RECORD = "cluster-identity"
# On it: when the identity was planted again, because somebody had deleted it.
PLANTED_AGAIN_ANNOTATION = f"{DOMAIN}/planted-again"
# The GitRepository of the user's repository.
SOURCE = "fleet"
# Secrets beside it: the public certificate of the Git server, credentials for it, public keys of who signs commits.
GIT_CA_SECRET = "git-ca"
GIT_CREDENTIALS_SECRET = "git-credentials"
GIT_SIGNERS_SECRET = "git-signers"

# ConfigMaps in which the engines publish what they know; the audit trail is split over several.
STATUS_PART = "status"
STATUS_LABELS = {**PART_OF, PART_LABEL: STATUS_PART}
STATUS_SELECTOR = f"{PART_LABEL}={STATUS_PART}"
HANDOVER_STATUS = "runtime-authority-status"
CONSUMPTION_STATUS = "consumption-status"
ROTATION_STATUS = "rotation-status"
SNAPSHOT_STATUS = "snapshot-status"
AUDIT_TRAIL = "audit-trail"
# The condition by which the engine vouches for the published trail.
TRAIL_WHOLE = "AuditTrailWhole"
# Jobs and ConfigMaps of the evidence that a phase is reached.
BOOTSTRAP_EVIDENCE = "bootstrap-evidence"
HANDOVER_EVIDENCE = "handover-evidence"
CONSUMPTION_EVIDENCE = "consumption-evidence"

# Vault's workload and its certificates.
VAULT = "vault"
INTERNAL_SERVICE = "vault-internal"
VAULT_PORT = 8200
CLUSTER_PORT = 8201
SERVER_NAME = f"{VAULT}.{VAULT_NAMESPACE}.svc"
VAULT_ADDRESS = f"https://{SERVER_NAME}:{VAULT_PORT}"
# ConfigMap with the CA certificates that clients trust, in Vault's and in the engine's namespace.
CA_CONFIG = "vault-ca-bundle"
CA_KEY = "ca.crt"
CA_SECRET = "vault-ca"
TLS_SECRET = "vault-tls"
# Records of Vault's initialisation, beside Vault: the marker, and the sealed unseal shares.
INITIALISATION = "vault-initialisation"
UNSEAL_SHARES = "vault-unseal-shares"
# The record of a restore from a snapshot, beside them: while it is open, nothing is handed over.
RESTORE_RECORD = "vault-restore"
SHARES_TYPE = f"{DOMAIN}/sealed-shares"
# On stored shares that a command wrote: whom the API server knew as its caller, and what they did.
SHARES_PERSON = f"{DOMAIN}/stored-by"
SHARES_CHANGE = f"{DOMAIN}/stored-because"
# On the empty Secret that a cleared Vault leaves in the place of its shares: who cleared it, and when.
CLEARED_BY = f"{DOMAIN}/cleared-by"
CLEARED_AT = f"{DOMAIN}/cleared-at"
SEAL_LABELS = {"app.kubernetes.io/managed-by": "secret-authority", PART_LABEL: "seal"}
CERTIFICATE_LABELS = {**PART_OF, PART_LABEL: TLS_SECRET}

# Vault's Kubernetes auth: audience of tokens, service accounts, roles.
AUDIENCE = "vault"
ENGINE_ACCOUNT = "secret-authority-engine"
CONFIGURATOR_ACCOUNT = "secret-authority-configurator"
AUDITOR_ACCOUNT = "secret-authority-auditor"
CONSUMPTION_ACCOUNT = "secret-authority-consumption"
# What the file of its settings is called, and the end of the name of the ConfigMap that has it.
CONSUMPTION_FILE = "task"
ENTRY_ACCOUNT = "secret-authority-entry"
ROTATION_ACCOUNT = "secret-authority-rotation"
# The identity of `secret-authority rotate`: it files requests and reads no value.
REQUESTS_ACCOUNT = "secret-authority-rotation-requests"
# The identity that takes snapshots, and can do nothing else.
SNAPSHOT_ACCOUNT = "secret-authority-snapshot"
# The identity without any right as which snapshots are verified in the cluster.
SNAPSHOT_VERIFIER = "secret-authority-snapshot-verifier"
# The containers of a verification that leave a report, and the key of the published status that they read.
PREPARE_CONTAINER, VERIFY_CONTAINER = "prepare-server", "restore-and-compare"
SEAL_KEY = "seal"
# The identity of the receiver of events: it files requests and reads the keys of its senders.
EVENTS_ACCOUNT = "secret-authority-events"
EVENTS_PORT = 8081
# The engines' leases are named like their accounts.
ENGINE_LEASE, CONSUMPTION_LEASE, ROTATION_LEASE = ENGINE_ACCOUNT, CONSUMPTION_ACCOUNT, ROTATION_ACCOUNT
SNAPSHOT_LEASE = SNAPSHOT_ACCOUNT
# The Secrets with the credentials of who writes to the store of snapshots and of who reads it, in the engine's
# namespace, and their keys.
SNAPSHOT_WRITER, SNAPSHOT_READER = "snapshot-writer", "snapshot-reader"
ACCESS_KEY_ID, SECRET_ACCESS_KEY = "accessKeyId", "secretAccessKey"
# The account in a consumer's namespace as which External Secrets reads that namespace's secrets.
READER_ACCOUNT = "secret-authority-reader"
# pulumi-vault manages only policies and auth roles with this prefix.
CONSUMER_PREFIX = "consumer-"
# A dot cannot be part of a namespace's name, so these can never be the role of a consumer.
CONSUMPTION_ROLE = f"{CONSUMER_PREFIX}system.consumption"
# The engine of consumption again, as which it reads the newest versions.
VERSIONS_ROLE = f"{CONSUMER_PREFIX}system.versions"
ENTRY_ROLE = f"{CONSUMER_PREFIX}system.entry"
ROTATION_ROLE = f"{CONSUMER_PREFIX}system.rotation"
# The engine of rotation again, as which it looks at every secret.
ROTATION_LOOKS_ROLE = f"{CONSUMER_PREFIX}system.rotation-looks"
REQUESTS_ROLE = f"{CONSUMER_PREFIX}system.rotation-requests"
EVENTS_ROLE = f"{CONSUMER_PREFIX}system.events"
SNAPSHOT_ROLE = f"{CONSUMER_PREFIX}system.snapshot"

# KV v2 mount of the engine: its keys, the notes of handovers, and the audit trail.
AUTHORITY_MOUNT = "platform-authority"
DIGEST_KEY_PATH = f"{AUTHORITY_MOUNT}/data/digest-key"
# The key of the consumption engine's digests: with the first one it could test guesses of bootstrap secrets.
CONSUMPTION_DIGEST_KEY_PATH = f"{AUTHORITY_MOUNT}/data/consumption-digest-key"
# The seed of the key that signs the published audit trail.
TRAIL_KEY_PATH = f"{AUTHORITY_MOUNT}/data/trail-key"
EVENTS = "events"
# KV v2 mount of rotations: documents with pending values, and requests.
ROTATION_MOUNT = "platform-rotation"
ROTATION_DOCUMENTS = "docs"
ROTATION_REQUESTS = "rotation-requests"
# Values that a person has entered for the next rotation, until the engine has taken them into the document.
ROTATION_GIVEN = "given-values"
# Which handover each secret has, noted before its first step.
HANDOVERS = "handovers"

# The example's database: an image that the toolchain makes and the demo runs. Its tag is PostgreSQL's version.
EXAMPLE_DATABASE_IMAGE = "localhost/secret-authority/postgresql:18.6.3-r1"


def layer_type(layer: str) -> str:
    """The type token of a layer component."""
    return f"secret-authority:layer:{layer}"


def pod_host(number: int) -> str:
    """The DNS name of one Vault pod, also while it is sealed."""
    return f"{VAULT}-{number}.{INTERNAL_SERVICE}.{VAULT_NAMESPACE}.svc"


def reader_role(namespace: str) -> str:
    """The Vault role and policy of a consumer namespace."""
    return f"{CONSUMER_PREFIX}{namespace}"
