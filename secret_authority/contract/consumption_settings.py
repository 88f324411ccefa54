"""What the Pulumi program tells the engine of consumption: the catalogue and configuration values, nothing secret."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from secret_authority.core.catalogue.schema import Catalogue, parse_catalogue


@dataclass(frozen=True)
class SyncTarget:
    """A consumer Secret, and the Vault path that it comes from. The ExternalSecret has the Secret's name.

    `keys` are those that it reads in Vault, `binary` those among them that its ExternalSecret decodes. `restart`:
    workloads that use it are restarted when it changes, whether or not they ask for that themselves.
    """

    secret: str
    namespace: str
    name: str
    mount: str
    path: str
    keys: frozenset[str] = frozenset()
    binary: frozenset[str] = frozenset()
    restart: bool = False

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class ConsumptionSettings:
    """The program writes them with `to_json`, the engine reads them with `from_json`."""

    cluster: str
    catalogue: Catalogue
    config: Mapping[str, Mapping[str, str]]

    def to_json(self) -> str:
        return json.dumps(
            {
                "cluster": self.cluster,
                "catalogue": self.catalogue.model_dump(mode="json", by_alias=True, exclude_none=True),
                "config": {name: dict(values) for name, values in self.config.items()},
            },
            sort_keys=True,
        )

    @classmethod
    def from_json(cls, text: str) -> ConsumptionSettings:
        """Raises KeyError for a missing field, `InvalidInputError` for a catalogue that is invalid."""
        data = json.loads(text)
        return cls(data["cluster"], parse_catalogue(data["catalogue"], "catalogue"), data["config"])

    @property
    def consumers(self) -> list[SyncTarget]:
        return [
            SyncTarget(
                secret.name,
                consumer.namespace,
                consumer.secret,
                secret.vault.mount,
                secret.vault.path,
                frozenset(consumer.keys.values()),
                frozenset(consumer.keys.values()) & frozenset(secret.binary),
                consumer.reload == "restart",
            )
            for secret in self.catalogue
            for consumer in secret.consumers
        ]
