"""Keys and certificates of a node, made with the openssl command line.

Three authorities: the cluster's, etcd's and the Git server's. A client certificate of one is worth nothing
with another. Private keys are readable by root alone.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from toolchain.node.errors import NodeError
from toolchain.node.layout import CLUSTER_DOMAIN, GIT_HOST, Node

CA_DAYS = 3650
LEAF_DAYS = 365
RENEW_AFTER_DAYS = 300


@dataclass(frozen=True)
class Leaf:
    """One certificate: file name, authority, subject, purpose and names."""

    name: str
    authority: str
    common_name: str
    organisation: str = ""
    client: bool = True
    server: bool = False
    names: tuple[str, ...] = field(default=())


def leaves(node: Node) -> list[Leaf]:
    """Every certificate of the node, apart from the authorities' own."""
    return [
        Leaf(
            "apiserver",
            "cluster-ca",
            "kube-apiserver",
            client=False,
            server=True,
            names=(
                "DNS:kubernetes",
                "DNS:kubernetes.default",
                "DNS:kubernetes.default.svc",
                f"DNS:kubernetes.default.svc.{CLUSTER_DOMAIN}",
                "DNS:localhost",
                f"IP:{node.api_service}",
                f"IP:{node.address}",
                "IP:127.0.0.1",
            ),
        ),
        Leaf("apiserver-kubelet-client", "cluster-ca", "kube-apiserver-kubelet-client"),
        Leaf("apiserver-etcd-client", "etcd-ca", "kube-apiserver-etcd-client"),
        Leaf("admin", "cluster-ca", "secret-authority:admin", "system:masters"),
        Leaf("controller-manager", "cluster-ca", "system:kube-controller-manager"),
        Leaf("scheduler", "cluster-ca", "system:kube-scheduler"),
        Leaf("proxy", "cluster-ca", "system:kube-proxy"),
        Leaf("kubelet-client", "cluster-ca", f"system:node:{node.name}", "system:nodes"),
        Leaf(
            "kubelet-server",
            "cluster-ca",
            f"system:node:{node.name}",
            "system:nodes",
            client=False,
            server=True,
            names=(f"DNS:{node.name}", f"IP:{node.address}"),
        ),
        Leaf("etcd-server", "etcd-ca", "etcd", server=True, names=("DNS:localhost", "IP:127.0.0.1")),
        Leaf(
            "git-server",
            "git-ca",
            GIT_HOST,
            client=False,
            server=True,
            names=(f"DNS:{GIT_HOST}", f"IP:{node.host_address}"),
        ),
    ]


AUTHORITIES = ("cluster-ca", "etcd-ca", "git-ca")


def ensure(node: Node) -> None:
    """Make what is missing or too old. Raises NodeError with openssl's message."""
    node.pki.mkdir(parents=True, exist_ok=True, mode=0o700)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: _ensure_authority(node.pki, name), AUTHORITIES))
        list(pool.map(lambda leaf: _ensure_leaf(node.pki, leaf), leaves(node)))
    _ensure_service_account_key(node.pki)


def _fresh(certificate: Path, key: Path, max_age_days: int) -> bool:
    try:
        age = time.time() - certificate.stat().st_mtime
    except OSError:
        return False
    return key.exists() and 0 <= age < max_age_days * 86400


def _ensure_authority(pki: Path, name: str) -> None:
    if not _fresh(pki / f"{name}.crt", pki / f"{name}.key", CA_DAYS):
        extensions = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign,digitalSignature\n"
        make_certificate(pki, name, f"/CN={name}", extensions + "subjectKeyIdentifier=hash\n", CA_DAYS, None)


def _ensure_leaf(pki: Path, leaf: Leaf) -> None:
    certificate = pki / f"{leaf.name}.crt"
    newest_authority = (pki / f"{leaf.authority}.crt").stat().st_mtime
    if _fresh(certificate, pki / f"{leaf.name}.key", RENEW_AFTER_DAYS) and (
        certificate.stat().st_mtime >= newest_authority
    ):
        return
    usages = [usage for usage, wanted in (("clientAuth", leaf.client), ("serverAuth", leaf.server)) if wanted]
    extensions = (
        "basicConstraints=critical,CA:FALSE\n"
        "keyUsage=critical,digitalSignature\n"
        f"extendedKeyUsage={','.join(usages)}\n"
        "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
    )
    if leaf.names:
        extensions += f"subjectAltName={','.join(leaf.names)}\n"
    subject = (f"/O={leaf.organisation}" if leaf.organisation else "") + f"/CN={leaf.common_name}"
    make_certificate(pki, leaf.name, subject, extensions, LEAF_DAYS, leaf.authority)


def make_certificate(pki: Path, name: str, subject: str, extensions: str, days: int, authority: str | None) -> None:
    """Write NAME.crt and NAME.key. The new pair replaces an old one only when it is complete."""
    with tempfile.TemporaryDirectory(dir=pki) as scratch:
        config = Path(scratch, "config")
        config.write_text(
            f"[req]\ndistinguished_name=subject\nx509_extensions=extensions\n[subject]\n[extensions]\n{extensions}"
        )
        command = ["openssl", "req", "-x509", "-config", str(config), "-subj", subject, "-days", str(days)]
        command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-sha256"]
        command += ["-keyout", f"{scratch}/key", "-out", f"{scratch}/crt"]
        if authority is not None:
            command += ["-CA", str(pki / f"{authority}.crt"), "-CAkey", str(pki / f"{authority}.key")]
        _openssl(command, name)
        Path(scratch, "key").chmod(0o600)
        Path(scratch, "key").replace(pki / f"{name}.key")
        Path(scratch, "crt").replace(pki / f"{name}.crt")


def _ensure_service_account_key(pki: Path) -> None:
    """The pair that signs and verifies service account tokens."""
    private, public = pki / "service-account.key", pki / "service-account.pub"
    if not private.exists():
        partial = pki / "service-account.key.new"
        command = ["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]
        _openssl([*command, "-out", str(partial)], "service-account")
        partial.chmod(0o600)
        partial.replace(private)
        public.unlink(missing_ok=True)
    if not public.exists():
        partial = pki / "service-account.pub.new"
        _openssl(["openssl", "pkey", "-in", str(private), "-pubout", "-out", str(partial)], "service-account")
        partial.replace(public)


def _openssl(command: list[str], name: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NodeError(f"certificate {name}: openssl failed: {done.stderr.strip()[-600:]}")
