"""What the Pulumi program tells the engine of rotation: the catalogue, nothing secret."""

from __future__ import annotations

import json
from dataclasses import dataclass

from secret_authority.core.catalogue.schema import Catalogue, parse_catalogue


@dataclass(frozen=True)
class RotationSettings:
    """The program writes them with `to_json`, the engine reads them with `from_json`."""

    cluster: str
    catalogue: Catalogue

    def to_json(self) -> str:
        catalogue = self.catalogue.model_dump(mode="json", by_alias=True, exclude_none=True)
        return json.dumps({"cluster": self.cluster, "catalogue": catalogue}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> RotationSettings:
        """Raises KeyError for a missing field, `InvalidInputError` for a catalogue that is invalid."""
        data = json.loads(text)
        return cls(data["cluster"], parse_catalogue(data["catalogue"], "catalogue"))
