"""One run, one YAML file: what it may say (`sections`) and how it is read (`reading`)."""

from genunlearn.config.reading import build_config, find_config, list_configs, load_config, parse_config, place_of
from genunlearn.config.sections import (
    RUNS,
    AuditConfig,
    ConceptConfig,
    FactConfig,
    ItemConfig,
    MethodConfig,
    ModelConfig,
    ParametersConfig,
    RunConfig,
    TrainConfig,
    UnlearnConfig,
)

__all__ = [
    "RUNS",
    "AuditConfig",
    "ConceptConfig",
    "FactConfig",
    "ItemConfig",
    "MethodConfig",
    "ModelConfig",
    "ParametersConfig",
    "RunConfig",
    "TrainConfig",
    "UnlearnConfig",
    "build_config",
    "find_config",
    "list_configs",
    "load_config",
    "parse_config",
    "place_of",
]
