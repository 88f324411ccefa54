"""Documents of the example fleet that several tests start from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from secret_authority.core.catalogue.schema import SecretClass, parse_catalogue

EXAMPLE = Path(__file__).parents[2] / "examples/fleet/secret-authority/dev/catalogue.yaml"
DOCUMENT: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
CATALOGUE = parse_catalogue(DOCUMENT, "catalogue.yaml")
NAMES = [secret.name for secret in CATALOGUE]
BORN_IN_GIT = [secret.name for secret in CATALOGUE.of_class(SecretClass.BOOTSTRAP)]
