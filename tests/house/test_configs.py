"""Every shipped configuration can be run as it stands, and its comments say how."""

from __future__ import annotations

import re

import pytest

from genunlearn.config import AuditConfig, SyntheticConfig, UnlearnConfig, ValueConfig, config_text, list_configs
from genunlearn.config.continual import ContinualConfig
from genunlearn.config.search import NetworkSearchConfig
from genunlearn.registry import DOMAINS, GENERATORS, LEARNERS, METHODS, VALUATIONS
from genunlearn.runs.methods import load_run

pytestmark = pytest.mark.parametrize("name", list_configs())


def test_a_config_is_accepted_and_lies_where_its_domain_says(name: str) -> None:
    domain, suite, _ = name.split("/")
    config = load_run(name)
    assert domain in (config.domain, config.task) and config.domain in DOMAINS
    assert suite
    if isinstance(config, AuditConfig):
        assert config.attacks
        return
    if isinstance(config, NetworkSearchConfig):
        return
    if isinstance(config, ValueConfig):
        assert VALUATIONS.line(config.method.name, config.family)
        return
    if isinstance(config, ContinualConfig):
        assert LEARNERS.line(config.method.name, config.family)
        return
    if isinstance(config, SyntheticConfig):
        assert GENERATORS.line(config.method.name, config.family)
        return
    assert isinstance(config, UnlearnConfig)
    method = METHODS.get(config.method.name, config.family)(**config.method.hyperparameters)
    method.check(DOMAINS.get(config.domain, config.family))


def test_the_comments_of_a_config_show_its_command(name: str) -> None:
    comments = "\n".join(re.findall(r"^#.*", config_text(name), flags=re.MULTILINE))
    assert re.search(rf"genunlearn run (configs/)?{re.escape(name)}\b", comments)
