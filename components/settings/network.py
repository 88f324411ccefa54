"""What a stack says of the network around the platform: addresses, which network policies cannot know by name."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pulumi

# Field, what is wrong with it, and the fix.
Complaint = Callable[[str, str, str], None]
_CIDRS = {"apiServer": "api_server", "git": "git", "dns": "dns"}


@dataclass(frozen=True)
class NetworkSettings:
    """The `network` object of the stack, see docs/threat-model.md.

    Addresses as CIDRs: of the API server's endpoints and of the Git server (none: any address, at their ports only),
    and of resolvers outside of namespace kube-system. `scrapers`: namespaces that may read metrics.
    """

    api_server: tuple[str, ...] = ()
    git: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    scrapers: tuple[str, ...] = ()


def read_network_settings(config: pulumi.Config, wrong: Complaint) -> NetworkSettings:
    """Read the object; `wrong` gets everything that is invalid."""
    given = config.get_object("network") or {}
    if not isinstance(given, Mapping):
        wrong("network", "is not a mapping", "write apiServer, git, dns and scrapers below it")
        return NetworkSettings()
    fields: dict[str, Any] = {}
    for key, values in given.items():
        name = str(key)
        if name not in (*_CIDRS, "scrapers") or not isinstance(values, list):
            wrong(f"network.{name}", "is unknown or no list", "use lists apiServer, git, dns (CIDRs) and scrapers")
            continue
        for value in values if name in _CIDRS else ():
            try:
                ipaddress.ip_network(str(value))
            except ValueError:
                wrong(f"network.{name}", f"{value} is not a CIDR", "write it like 10.0.0.1/32")
        fields[_CIDRS.get(name, name)] = tuple(str(value) for value in values)
    return NetworkSettings(**fields)
