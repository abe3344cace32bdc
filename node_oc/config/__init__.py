"""One typed configuration: TOML, --set, defaults, nearest-key errors."""

from node_oc.config.config import Config
from node_oc.config.presets import PRESETS
from node_oc.config.sections import (
    KEYS,
    DataSection,
    ExportSection,
    ProblemSection,
    SearchSection,
    SystemSection,
    TrainingSection,
)

__all__ = [
    "KEYS", "PRESETS", "Config", "DataSection", "ExportSection", "ProblemSection", "SearchSection", "SystemSection",
    "TrainingSection",
]  # fmt: skip
