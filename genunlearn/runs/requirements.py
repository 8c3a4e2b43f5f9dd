"""What this machine must have for a configuration: packages of extras, and the device."""

from __future__ import annotations

from genunlearn.config import RunConfig, UnlearnConfig
from genunlearn.contracts import Domain
from genunlearn.domains.pretrained import find_device
from genunlearn.registry import DOMAINS, require


def check_requirements(config: RunConfig) -> None:
    """Refuse, before any work, what cannot be carried out here.

    Raises:
        NeedNotMet: A package is not installed.
        ConfigError: There is no such device.
    """
    domain: type[Domain] = DOMAINS.get(config.domain, config.family)
    for package in domain.packages:
        require(package, f"domain = {config.domain!r}")
    if config.model.quantize == "nf4":
        require("bitsandbytes", "model.quantize = 'nf4'")
    if isinstance(config, UnlearnConfig) and config.train.optimizer == "adamw_8bit":
        require("bitsandbytes", "train.optimizer = 'adamw_8bit'")
    find_device(config.model.device)
