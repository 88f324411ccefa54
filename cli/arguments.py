"""Arguments that several commands share."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from secret_authority.repository.layout import Layout

if TYPE_CHECKING:
    from secret_authority.access.kubeconfig import ClusterConnection


def add_layout(parser: argparse.ArgumentParser) -> None:
    """The options that say where a cluster's intent is."""
    parser.add_argument("--repository", type=Path, default=Path(), help="a checkout (default: this folder)")
    parser.add_argument("--cluster", required=True, metavar="NAME", help="the cluster, as in root-of-trust.yaml")
    parser.add_argument("--catalogue", help="default: secret-authority/CLUSTER/catalogue.yaml")
    parser.add_argument("--bootstrap", action="append", default=[], help="default: clusters/CLUSTER/bootstrap")


def add_kubeconfig(parser: argparse.ArgumentParser) -> None:
    """The options that say how a cluster is reached."""
    parser.add_argument(
        "--kubeconfig",
        type=Path,
        metavar="FILE",
        default=Path(os.environ.get("KUBECONFIG") or "~/.kube/config"),
        help="how the cluster is reached (default: KUBECONFIG, else ~/.kube/config)",
    )
    parser.add_argument("--context", help="context of the kubeconfig (default: the current one)")


def connection(options: argparse.Namespace) -> ClusterConnection:
    """How the cluster is reached. Raises `InvalidInputError` for a kubeconfig or context that cannot be used."""
    from secret_authority.access.kubeconfig import ClusterConnection, check_kubeconfig

    found = ClusterConnection(options.kubeconfig.expanduser(), options.context)
    check_kubeconfig(found)
    return found


def layout(options: argparse.Namespace) -> Layout:
    return Layout.of(options.cluster, options.catalogue, options.bootstrap, options.repository)
