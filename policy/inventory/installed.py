"""What a reader knows of a chart that an object installs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

# Under which the charts are among what is derived of a HelmRelease or an Application.
CHART_VALUES: Final = "chart values"


@dataclass(frozen=True)
class Installed:
    """A chart with its release and all of its values. `chart` is None where its name is that of its source."""

    chart: Any
    release: Any
    namespace: Any
    values: Any
    # The cluster that it is installed in, None for that of the object.
    cluster: str | None = None
