"""One run, one YAML file: what it may say (`sections`, and a module for each family) and how it is read (`reading`)."""

from genunlearn.config.reading import (
    build_config,
    build_section,
    config_text,
    list_configs,
    load_config,
    parse_config,
    place_of,
    read_config,
)
from genunlearn.config.sections import (
    AuditConfig,
    EvaluateConfig,
    MethodConfig,
    ModelConfig,
    ParametersConfig,
    RequestConfig,
    RunConfig,
    SyntheticConfig,
    TrainConfig,
    UnlearnConfig,
    ValueConfig,
)

__all__ = [
    "AuditConfig",
    "EvaluateConfig",
    "MethodConfig",
    "ModelConfig",
    "ParametersConfig",
    "RequestConfig",
    "RunConfig",
    "SyntheticConfig",
    "TrainConfig",
    "UnlearnConfig",
    "ValueConfig",
    "build_config",
    "build_section",
    "config_text",
    "list_configs",
    "load_config",
    "parse_config",
    "place_of",
    "read_config",
]
